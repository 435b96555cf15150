"""A worker's claims: with floors where it may, and over broken connections."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import asyncpg

from pgjobs.connection.link import BROKEN, persist
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.job.job import Row
from pgjobs.worker.floors import Floors

log = logging.getLogger("pgjobs.worker")

RETRY_LOCKED_AFTER_S = 0.1  # for a due job whose row another session has locked
SECOND_RELEASE_AFTER_S = 30.0  # until jobs held without our knowing are looked for again
PAUSE_AFTER_REFUSAL_S = 1.0  # when the server refuses a claim, for example during a failover


class Claimer:
    """Takes jobs for one worker.

    ``known_ids``: the jobs that the worker knows itself to hold. ``stopping``: no more patience
    with a broken connection. ``on_release_due``: a claim is to be made soon.
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
        on_release_due: Callable[[], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._queues = queues
        self._types = job_types
        self._lease = lease
        self._known_ids = known_ids
        self._stopping = stopping
        self._on_release_due = on_release_due
        self._may_hold_unknown = False
        self._later: asyncio.TimerHandle | None = None
        self._floors = Floors()
        self._backlog = False

    async def claim(self, free: int) -> Sequence[Row]:
        """Up to ``free`` rows; fewer only if no more are due, or if the worker stops.

        Trouble with the server must not look like emptiness: who sees that goes to sleep.
        """
        while not self._stopping():
            try:
                if self._may_hold_unknown:
                    await self._release_unknown()
                return await self._with_floors(free)
            except BROKEN as error:
                log.warning("claiming: connection lost (%r)", error)
                self.answer_lost()
                with suppress(*BROKEN):
                    await persist(self._release_unknown, "claiming", stop=self._stopping)
            except PgjobsError:
                raise
            except asyncpg.PostgresError as error:
                pause = PAUSE_AFTER_REFUSAL_S
                log.error("claiming: the server refused, again in %.0f s: %r", pause, error)
                await asyncio.sleep(pause)
        return []

    async def _with_floors(self, free: int) -> Sequence[Row]:
        floors = self._floors.known(backlog=self._backlog)
        rows = await self._once(free, floors)
        if len(rows) < free and floors and not self._floors.known(backlog=False):
            # Emptiness is believed only without floors.
            try:
                rows = [*rows, *await self._once(free - len(rows), None)]
            except (*BROKEN, asyncpg.PostgresError) as error:
                if not rows:
                    raise
                # What the first claim gave must run.
                log.warning("claiming: %r", error)
                self.answer_lost()
        self._backlog = len(rows) == free
        return rows

    async def _once(self, free: int, floors: str | None) -> Sequence[Row]:
        rows = await self._database.claim(
            self._worker, self._queues, free, self._lease, self._types, floors
        )
        self._floors.learn(rows, complete=floors is None)
        return rows

    async def _release_unknown(self) -> None:
        """A claim whose answer was lost may have been made: nobody would run those jobs."""
        try:
            await self._release(self._known_ids())
        except BROKEN:
            raise
        except asyncpg.PostgresError as error:
            # Not at once again: it may be one row that the server refuses to change.
            log.error("claiming: giving back what is not run here was refused: %r", error)
            self.answer_lost()
            self._may_hold_unknown = False

    async def _release(self, known_ids: set[int]) -> None:
        self._may_hold_unknown = False
        try:
            given_back = await self._database.release_unknown(self._worker, list(known_ids))
        except BaseException:
            self._may_hold_unknown = True
            raise
        if given_back:
            log.warning("claiming: gave back %d jobs that nobody ran here", len(given_back))

    def answer_lost(self) -> None:
        """The worker may hold jobs that it does not know: the next claim gives them back.

        Once more later, since a server that answered too late may still have been at it.
        """
        self._may_hold_unknown = True
        if self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(SECOND_RELEASE_AFTER_S, self._release_again)

    def _release_again(self) -> None:
        self._later = None
        self._may_hold_unknown = True
        self._on_release_due()

    @property
    def may_hold_unknown(self) -> bool:
        """Whether the worker may hold jobs that it does not know."""
        return self._may_hold_unknown or self._later is not None

    async def release_all(self) -> None:
        """At the end: whatever is still held, whether it had begun or was only claimed."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        try:
            await self._release(set())
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.error("jobs may still be held, which others take back: %r", error)

    async def is_due(self) -> bool:
        """Whether more is due, for others to claim."""
        seconds = await self.until_due()
        return seconds is not None and seconds <= RETRY_LOCKED_AFTER_S

    async def until_due(self) -> float | None:
        """Seconds until the next job is due; None: none is waiting."""
        try:
            due_in = await self._database.due_in(self._queues, self._types)
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.warning("asking for the next job: %r", error)
            return PAUSE_AFTER_REFUSAL_S
        if due_in is None:
            return None
        # Due, and yet the claim was empty: somebody has it locked, or it came this moment.
        return due_in.total_seconds() if due_in > timedelta(0) else RETRY_LOCKED_AFTER_S
