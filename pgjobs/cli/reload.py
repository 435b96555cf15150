"""``pgjobs worker --reload``: a new worker whenever a Python file changes, for development."""

import asyncio
import logging
import os
import signal
from collections.abc import Iterable, Iterator

from pgjobs.cli.processes import send, start_worker

log = logging.getLogger("pgjobs.reload")

_LOOK_EVERY_S = 0.3
# Installed packages do not change while somebody writes an app, and are many files.
_NOT_OF_THE_APP = {"__pycache__", "node_modules", "site-packages"}

# The time of the last change and the size of each file.
Files = dict[str, tuple[int, int]]


def work_and_reload(arguments: list[str], folders: set[str]) -> int:
    """Runs a worker until SIGTERM or SIGINT, and a new one after each change; returns 0.

    ``arguments``: those of the command ``pgjobs worker``. ``folders``: those of the app.
    """
    return asyncio.run(_Reloader(arguments, folders).run())


class _Reloader:
    """Stops the worker as a deploy would, and starts it again with the changed files.

    The app is imported by the worker only: a file that cannot be imported ends the worker, and the
    next change starts another one.
    """

    def __init__(self, arguments: list[str], folders: set[str]) -> None:
        self._arguments = arguments
        self._folders = folders
        self._child: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._restarting = False

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        log.info("watching the Python files in %s", ", ".join(sorted(self._folders)))
        while not self._stopping.is_set():
            # Taken before the worker imports the files, so that no change is missed.
            files = await self._files()
            # Python takes a compiled file for current if its source was saved again within the
            # same second and has the same size. So a worker here compiles for itself (-B).
            self._child = await start_worker(self._arguments, "-B")
            if self._stopping.is_set():
                send(self._child, signal.SIGTERM)
            self._restarting = False
            ending = asyncio.create_task(self._ended(self._child))
            changed = await self._change(files)
            if changed:
                log.info("%s: restarting the worker", changed)
                self._restarting = True
                send(self._child, signal.SIGTERM)
            await ending
        return 0

    def _on_signal(self, number: signal.Signals) -> None:
        self._stopping.set()
        if self._child is not None:
            send(self._child, number)

    async def _ended(self, child: asyncio.subprocess.Process) -> None:
        status = await child.wait()
        if not (self._restarting or self._stopping.is_set()):
            log.warning("the worker ended with status %d: the next change starts it again", status)

    async def _change(self, before: Files) -> str:
        """Waits until files have changed, and no more change; returns what; "" at a signal."""
        now = before
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._stopping.wait()
            except TimeoutError:
                seen, now = now, await self._files()
                if now == seen and now != before:
                    return _difference(before, now)
        return ""

    async def _files(self) -> Files:
        return await asyncio.to_thread(lambda: dict(_python_files(self._folders)))


def _difference(before: Files, now: Files) -> str:
    paths = sorted(
        os.path.relpath(path)
        for path in before.keys() | now.keys() if before.get(path) != now.get(path)
    )
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more} changed"


def _python_files(folders: Iterable[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    for folder in folders:
        for path, inner, names in os.walk(folder):
            inner[:] = [
                name for name in inner
                if name not in _NOT_OF_THE_APP and not name.startswith(".")
                and not os.path.exists(os.path.join(path, name, "pyvenv.cfg"))
            ]
            for name in names:
                if name.endswith(".py"):
                    file = os.path.join(path, name)
                    try:
                        found = os.stat(file)
                    except OSError:  # an editor replaces the file
                        continue
                    yield file, (found.st_mtime_ns, found.st_size)
