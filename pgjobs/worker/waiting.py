"""How a worker waits between two claims, in one of two modes.

listening: NOTIFY wakes it. From about two hundred jobs per second on it changes to polling.
polling: it claims every few milliseconds, and producers send no NOTIFY because of it. After
``LISTEN_AFTER_IDLE_S`` without a job, or without a free slot, it changes to listening.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg

from pgjobs.connection.link import BROKEN
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.listener import Listener

log = logging.getLogger("pgjobs.worker")

POLL_INTERVAL_S = 0.003
LISTEN_AFTER_IDLE_S = 0.1
MAX_HANDOVERS = 3  # of one turn, between workers without a free slot

# From about 200 jobs per second on, polling costs less than NOTIFY. The bound must not be much
# higher: where each NOTIFY waits for a slow disk, producers reach only about 200 per second, so
# workers would never poll.
RATE_WINDOW_S = 0.05
JOBS_PER_WINDOW_TO_POLL = 10


class Waiting:
    """Waits until ``wake`` is set, by a notification, by an ended job or by the clock.

    ``pass_on``: tells other workers of these queues to claim, with this many handovers left.
    """

    def __init__(
        self,
        wake: asyncio.Event,
        listener: Listener,
        claimer: Claimer,
        *,
        pass_on: Callable[[int], Awaitable[None]],
    ) -> None:
        self._wake = wake
        self._listener = listener
        self._claimer = claimer
        self._pass_on = pass_on
        self._rate = Rate()
        self._handovers_left = 0  # of the turn that this worker was given last

    def count(self, jobs: int) -> None:
        """Counts the jobs of one claim."""
        self._rate.count(jobs)

    def on_turn(self, handovers_left: int) -> None:
        """Wakes the worker: a signal picked it."""
        # Any session may notify any number.
        self._handovers_left = min(handovers_left, MAX_HANDOVERS)
        self._wake.set()

    async def for_a_slot(self, *, first: bool) -> None:
        """Waits for a free slot; offers due jobs to other workers."""
        handovers = MAX_HANDOVERS if first else self._handovers_left - 1
        self._handovers_left = 0
        if self._rate.is_high and self._listener.is_listening:
            await self._or_log(self._listener.start_polling)
        elif handovers > 0:
            await self._or_log(lambda: self._offer(handovers))
        polling = not self._listener.is_listening
        woken = await self._wait(LISTEN_AFTER_IDLE_S if polling else None)
        if not woken and await self._or_log(self._listener.start_listening):
            # Producers were silent because this worker was polling.
            await self._or_log(lambda: self._offer(MAX_HANDOVERS))

    async def for_jobs(self) -> None:
        """Waits for due jobs."""
        if self._listener.is_listening and not self._rate.is_high:
            # Let the jobs that were just claimed begin before the database is asked.
            await asyncio.sleep(0)
            await self._wait(await self._claimer.until_due())
        elif self._listener.is_listening:
            await self._or_log(self._listener.start_polling)
        elif self._rate.idle_for < LISTEN_AFTER_IDLE_S or not await self._or_log(
            self._listener.start_listening
        ):
            # Listening is refused while a producer's transaction is open: ask less and less often.
            pause = max(POLL_INTERVAL_S, self._rate.idle_for / 20)
            await self._wait(min(pause, LISTEN_AFTER_IDLE_S))

    async def _offer(self, handovers: int) -> None:
        if self._listener.peers and await self._claimer.is_due():
            await self._pass_on(handovers)

    async def _wait(self, seconds: float | None) -> bool:
        """Waits for the flag; False on timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                return True
        return False

    async def _or_log(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """Runs a statement; logs an error, because the listener reconnects."""
        try:
            return await action()
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.warning("changing mode or waking other workers: %r", error)
            await asyncio.sleep(LISTEN_AFTER_IDLE_S)
            return None


class Rate:
    """How quickly jobs come in."""

    def __init__(self) -> None:
        self._window_began = 0.0
        self._in_window = 0
        self._in_window_before = 0
        self._last_job = 0.0

    def count(self, jobs: int) -> None:
        """Counts the jobs of one claim."""
        now = time.monotonic()
        age = now - self._window_began
        if age >= RATE_WINDOW_S:
            self._in_window_before = self._in_window if age < 2 * RATE_WINDOW_S else 0
            self._window_began, self._in_window = now, 0
        self._in_window += jobs
        if jobs:
            self._last_job = now

    @property
    def is_high(self) -> bool:
        """Whether this window or the last one was full, and a job has just come."""
        most = max(self._in_window, self._in_window_before)
        return most >= JOBS_PER_WINDOW_TO_POLL and self.idle_for < 2 * RATE_WINDOW_S

    @property
    def idle_for(self) -> float:
        """Seconds since a claim gave a job."""
        return time.monotonic() - self._last_job
