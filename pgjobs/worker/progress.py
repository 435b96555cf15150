"""What handlers report while they run: one statement a second at most, for all jobs of a worker."""

import asyncio
import logging
import threading
from contextlib import suppress

import asyncpg

from pgjobs.connection.link import BROKEN, Link
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.handler.run import Key, Run

log = logging.getLogger("pgjobs.worker")

BETWEEN_STATEMENTS_S = 1.0


class Progress:
    """Writes the latest report of each run that has one. Handlers in threads report, too."""

    def __init__(self, link: Link, schema: str, worker: str) -> None:
        self._database = Database(link, schema)
        self._worker = worker
        self._reported: dict[Key, Run] = {}
        self._lock = threading.Lock()
        self._has_news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def take(self, run: Run) -> None:
        """Notes that the run has reported; from any thread."""
        with self._lock:
            is_first = not self._reported
            self._reported[run.key] = run
        if is_first and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and the function runs on
                self._loop.call_soon_threadsafe(self._has_news.set)

    async def run(self) -> None:
        """Writes reports; never returns."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            with self._lock:
                reported, self._reported = self._reported, {}
            await self._send(list(reported.values()))
            await asyncio.sleep(BETWEEN_STATEMENTS_S)

    async def _send(self, runs: list[Run]) -> None:
        try:
            await self._database.progress(
                self._worker, [run.key[0] for run in runs], [run.key[1] for run in runs],
                [run.progress for run in runs],
            )
        except (*BROKEN, asyncpg.PostgresError, PgjobsError) as error:
            # The next report of each job says more than this one.
            log.debug("what handlers report was not written: %r", error)
