"""How long a program waits before its first own line, and a person for ``pgjobs --help``."""

import asyncio
import os
import sys
import time

from ..bench import Bench

PGJOBS, HELP = "import pgjobs", "pgjobs --help"
# `import pydantic` alone loads little of it: the rest comes with the first model.
BARE_DEPENDENCIES = "import asyncpg, pydantic"
DEPENDENCIES = "import asyncpg; from pydantic import BaseModel"
COMMANDS = {
    "an empty program": ["-c", ""],
    BARE_DEPENDENCIES: ["-c", BARE_DEPENDENCIES],
    DEPENDENCIES: ["-c", DEPENDENCIES],
    PGJOBS: ["-c", PGJOBS],
    HELP: ["-m", "pgjobs", "--help"],
}
REPEATS = 11  # of each command in turn, in each run


async def imports(bench: Bench) -> None:
    """Whole processes, whose files are compiled and in the cache of the operating system."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(bench.options.runs):
        for _ in range(REPEATS):
            for name, arguments in COMMANDS.items():
                began = time.perf_counter()
                process = await asyncio.create_subprocess_exec(
                    sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL,
                    env=environment,
                )
                assert await process.wait() == 0
                bench.table.add("pgjobs", name, (time.perf_counter() - began) * 1000, "ms")
    for measure, under in (("with models", DEPENDENCIES), ("without", BARE_DEPENDENCIES)):
        bench.table.ratio(
            f"{PGJOBS} against asyncpg and pydantic {measure}",
            ("pgjobs", PGJOBS, ""), ("pgjobs", under, ""),
        )
