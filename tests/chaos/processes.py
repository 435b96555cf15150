"""Workers as real processes. The tests wait for them: rows cannot be aged instead."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from pgjobs.embedded import EmbeddedPostgres

Serve = Callable[..., EmbeddedPostgres]

FOLDER = Path(__file__).parent


class Process(subprocess.Popen[bytes]):
    """The process of a worker, with the worker's name and log."""

    def __init__(
        self, arguments: list[str], *, name: str, dsn: str, log: Path, code: Path
    ) -> None:
        self.name = name
        self._log = log
        path = os.pathsep.join([str(code), str(FOLDER.parent)])
        with log.open("wb") as stderr:
            super().__init__(
                [sys.executable, *arguments], stderr=stderr,
                env={**os.environ, "PGJOBS_DSN": dsn, "PYTHONPATH": path},
            )

    @property
    def said(self) -> str:
        """What the process has logged."""
        return self._log.read_text(errors="replace")


class Processes:
    """Starts workers, and kills those that still run when the test ends."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn = dsn
        self._folder = folder
        self._started: list[Process] = []

    def start(
        self, *, dsn: str | None = None, name: str | None = None, wrong_by: float | None = None,
        script: str = "workload.py", code: Path = FOLDER.parents[1], **options: float | str,
    ) -> Process:
        """One worker. ``wrong_by``: seconds that its clock is ahead; options of the script.

        ``code``: the folder that has the package pgjobs, another release perhaps.
        """
        name = name or f"worker-{len(self._started)}"
        script = script if wrong_by is None else "skewed.py"
        arguments = [str(FOLDER / script), *([] if wrong_by is None else [str(wrong_by)])]
        arguments += [f"--name={name}", *(f"--{key}={value}" for key, value in options.items())]
        return self._begin(arguments, name, dsn, code)

    def supervise(self, processes: int, concurrency: int) -> Process:
        """``pgjobs worker --processes``, which restarts a process that dies."""
        arguments = ["-m", "pgjobs", "worker", "chaos.workload:app",
                     f"--processes={processes}", f"--concurrency={concurrency}"]
        return self._begin(arguments, "supervisor", None)

    def _begin(
        self, arguments: list[str], name: str, dsn: str | None, code: Path = FOLDER.parents[1]
    ) -> Process:
        log = self._folder / f"{len(self._started)}.log"
        process = Process(arguments, name=name, dsn=dsn or self._dsn, log=log, code=code)
        self._started.append(process)
        return self._started[-1]

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()


async def eventually(
    condition: Callable[[], Awaitable[object]], what: str, seconds: float = 60
) -> float:
    """Waits until the condition holds; returns the seconds that it took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)
    return time.monotonic() - began
