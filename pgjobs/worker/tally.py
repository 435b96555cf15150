"""The sign of life in the log: how the runs of the last minute ended."""

import asyncio
import logging
import time
from collections import Counter

from pgjobs.worker.held import Held

log = logging.getLogger("pgjobs.worker")

TELL_EVERY_S = 60.0


class Tally:
    """Counts ends as they are written, and tells the log of them once a minute.

    Tells nothing of a minute in which the worker had no job.
    """

    def __init__(self, worker: str, held: Held) -> None:
        self._worker = worker
        self._held = held
        self._counts: Counter[str] = Counter()
        self._told_at = time.monotonic()

    def add(self, outcome: str, jobs: int = 1) -> None:
        """Counts jobs that ended in this way."""
        self._counts[outcome] += jobs

    async def run(self) -> None:
        """Tells once a minute; never returns."""
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            self.tell(self._held.running)

    def tell(self, running: int = 0) -> None:
        """Tells what has ended since the last time, and how many jobs are running; if any."""
        now = time.monotonic()
        ended = ", ".join(f"{jobs} {outcome}" for outcome, jobs in self._counts.items() if jobs)
        if ended or running:
            log.info(
                "worker %s: %s in the last %.0f s%s", self._worker, ended or "none ended",
                now - self._told_at, f"; {running} running" if running else "",
            )
        self._counts.clear()
        self._told_at = now
