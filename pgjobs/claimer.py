"""A worker's claims: with floors where it may, and over broken connections."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

import asyncpg

from .database import Database
from .errors import PgjobsError
from .floors import Floors
from .link import BROKEN, persist
from .models import Row

log = logging.getLogger("pgjobs.worker")

LOCKED = 0.1  # seconds to wait for a due job that somebody else has locked
REFUSED = 1.0  # seconds to wait after the server refused a claim, for example while it fails over


class Claimer:
    """Takes jobs for one worker.

    ``known_ids``: the jobs that the worker knows itself to hold. ``stopping``: no more patience
    with a broken connection.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        *,
        queues: Sequence[str],
        job_types: Sequence[str],
        lease: timedelta,
        known_ids: Callable[[], set[int]],
        stopping: Callable[[], bool],
    ) -> None:
        self._database = database
        self._worker = worker
        self._queues = queues
        self._types = job_types
        self._lease = lease
        self._known_ids = known_ids
        self._stopping = stopping
        self._floors = Floors()
        self._backlog = False

    async def claim(self, free: int) -> Sequence[Row]:
        """Up to ``free`` rows; fewer only if no more are due, or after trouble with the server."""
        try:
            floors = self._floors.known(backlog=self._backlog)
            rows = await self._once(free, floors)
            if len(rows) < free and floors and not self._floors.known(backlog=False):
                # Emptiness is believed only without floors.
                rows = [*rows, *await self._once(free - len(rows), None)]
            self._backlog = len(rows) == free
            return rows
        except BROKEN as error:
            log.warning("claiming: connection lost (%r)", error)
            await persist(self._give_back_unknown, "claiming", stop=self._stopping)
        except PgjobsError:
            raise
        except asyncpg.PostgresError as error:
            log.error("claiming: the server refused, again in %.0f s: %r", REFUSED, error)
            await asyncio.sleep(REFUSED)
        return []

    async def _once(self, free: int, floors: str | None) -> Sequence[Row]:
        rows = await self._database.claim(
            self._worker, self._queues, free, self._lease, self._types, floors
        )
        self._floors.learn(rows, complete=floors is None)
        return rows

    async def _give_back_unknown(self) -> None:
        """A claim whose answer was lost may have been made: nobody would run those jobs."""
        await self._database.release_unknown(self._worker, list(self._known_ids()))

    async def is_due(self) -> bool:
        """Whether more is due, for others to claim."""
        seconds = await self.until_due()
        return seconds is not None and seconds <= LOCKED

    async def until_due(self) -> float | None:
        """Seconds until the next job is due; None: none is waiting."""
        try:
            due_in = await self._database.due_in(self._queues, self._types)
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.warning("asking for the next job: %r", error)
            return REFUSED
        if due_in is None:
            return None
        # Due, and yet the claim was empty: somebody has it locked, or it came this moment.
        return due_in.total_seconds() if due_in > timedelta(0) else LOCKED
