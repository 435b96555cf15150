"""How a worker waits between two claims: at rest or awake, for a job or for a slot."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg

from .claimer import Claimer
from .link import BROKEN
from .listener import Listener
from .pace import Pace

log = logging.getLogger("pgjobs.worker")

POLL = 0.003  # seconds between claims while awake: producers are silent then
HOPS = 3  # times that workers without a free slot hand on the news of a job
LINGER = 0.1  # seconds without a job, or without a slot, until a worker that is awake rests


class Waiting:
    """Waits until ``wake`` is set; at rest a NOTIFY sets it, awake the worker looks by itself.

    ``pass_on``: tells other workers of these queues to look, so many times from one to the next.
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
        self._pace = Pace()
        self._turn = 0  # how often the turn that this worker was given may still be passed on

    def count(self, jobs: int) -> None:
        """Takes what one claim gave."""
        self._pace.count(jobs)

    def hear_turn(self, hops: int) -> None:
        """It is this worker's turn to look."""
        self._turn = min(hops, HOPS)  # anybody may notify, and say any number
        self._wake.set()

    async def for_a_slot(self, *, first: bool) -> None:
        """Waits with all slots taken; what is due meanwhile is for others."""
        hops, self._turn = HOPS if first else self._turn - 1, 0
        if self._pace.is_busy and self._listener.resting:
            await self._quietly(self._listener.rise)
        elif hops > 0:
            await self._quietly(lambda: self._offer(hops))
        awake = not self._listener.resting
        if not await self._wait(LINGER if awake else None) and await self._quietly(
            self._listener.rest
        ):
            # Producers have been silent because this worker was awake.
            await self._quietly(lambda: self._offer(HOPS))

    async def for_jobs(self) -> None:
        """Waits with slots free: by NOTIFY at rest, by polling as long as jobs come in quickly."""
        if self._listener.resting and not self._pace.is_busy:
            await asyncio.sleep(0)  # what has just been claimed begins before this is asked
            await self._wait(await self._claimer.until_due())
        elif self._listener.resting:
            await self._quietly(self._listener.rise)
        elif self._pace.idle_for < LINGER or not await self._quietly(self._listener.rest):
            # Refused while a producer's transaction is open: the longer, the less often asked.
            await self._wait(min(max(POLL, self._pace.idle_for / 20), LINGER))

    async def _offer(self, hops: int) -> None:
        if self._listener.peers and await self._claimer.is_due():
            await self._pass_on(hops)

    async def _wait(self, seconds: float | None) -> bool:
        """Waits for the flag; False: in vain."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                return True
        return False

    async def _quietly(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """Something that may fail with its connection, which is not this loop's to mend."""
        try:
            return await action()
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.warning("resting or waking others: %r", error)
            await asyncio.sleep(LINGER)
            return None
