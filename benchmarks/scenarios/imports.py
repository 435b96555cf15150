"""How long a program waits before its first own line, and a person for ``pgjobs --help``."""

import asyncio
import sys
import time

from ..bench import Bench

PGJOBS, DEPENDENCIES, HELP = "import pgjobs", "import asyncpg, pydantic", "pgjobs --help"
COMMANDS = {
    "an empty program": ["-c", ""],
    DEPENDENCIES: ["-c", DEPENDENCIES],
    PGJOBS: ["-c", PGJOBS],
    HELP: ["-m", "pgjobs", "--help"],
}
REPEATS = 11  # of each command in turn, in each run


async def imports(bench: Bench) -> None:
    """Whole processes, with the files in the cache of the operating system."""
    for _ in range(bench.options.runs):
        for _ in range(REPEATS):
            for name, arguments in COMMANDS.items():
                began = time.perf_counter()
                process = await asyncio.create_subprocess_exec(
                    sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL
                )
                assert await process.wait() == 0
                bench.table.add("pgjobs", name, (time.perf_counter() - began) * 1000, "ms")
    bench.table.ratio(
        f"{PGJOBS} against {DEPENDENCIES}", ("pgjobs", PGJOBS, ""), ("pgjobs", DEPENDENCIES, "")
    )
