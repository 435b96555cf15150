"""A worker's claims: with floors where it may, and over broken connections."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import asyncpg

from .database import Database
from .errors import PgjobsError
from .floors import Floors
from .link import BROKEN, persist
from .models import Row

log = logging.getLogger("pgjobs.worker")

LOCKED = 0.1  # seconds to wait for a due job that somebody else has locked
AGAIN = 30.0  # seconds until the second look for jobs that are held and not known
REFUSED = 1.0  # seconds to wait after the server refused a claim, for example while it fails over


class Claimer:
    """Takes jobs for one worker.

    ``known_ids``: the jobs that the worker knows itself to hold. ``stopping``: no more patience
    with a broken connection. ``on_doubt``: a claim is to be made soon.
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
        on_doubt: Callable[[], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._queues = queues
        self._types = job_types
        self._lease = lease
        self._known_ids = known_ids
        self._stopping = stopping
        self._on_doubt = on_doubt
        self._doubtful = False
        self._later: asyncio.TimerHandle | None = None
        self._floors = Floors()
        self._backlog = False

    async def claim(self, free: int) -> Sequence[Row]:
        """Up to ``free`` rows; fewer only if no more are due, or if the worker stops.

        Trouble with the server must not look like emptiness: who sees that goes to sleep.
        """
        while not self._stopping():
            try:
                if self._doubtful:
                    await self._give_back_quietly()
                return await self._with_floors(free)
            except BROKEN as error:
                log.warning("claiming: connection lost (%r)", error)
                self.doubt()
                with suppress(*BROKEN):
                    await persist(self._give_back_quietly, "claiming", stop=self._stopping)
            except PgjobsError:
                raise
            except asyncpg.PostgresError as error:
                log.error("claiming: the server refused, again in %.0f s: %r", REFUSED, error)
                await asyncio.sleep(REFUSED)
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
                self.doubt()
        self._backlog = len(rows) == free
        return rows

    async def _once(self, free: int, floors: str | None) -> Sequence[Row]:
        rows = await self._database.claim(
            self._worker, self._queues, free, self._lease, self._types, floors
        )
        self._floors.learn(rows, complete=floors is None)
        return rows

    async def _give_back_quietly(self) -> None:
        """A claim whose answer was lost may have been made: nobody would run those jobs."""
        try:
            await self._give_back(self._known_ids())
        except BROKEN:
            raise
        except asyncpg.PostgresError as error:
            # Not at once again: it may be one row that the server refuses to change.
            log.error("claiming: giving back what is not run here was refused: %r", error)
            self.doubt()
            self._doubtful = False

    async def _give_back(self, known_ids: set[int]) -> None:
        self._doubtful = False
        try:
            given_back = await self._database.release_unknown(self._worker, list(known_ids))
        except BaseException:
            self._doubtful = True
            raise
        if given_back:
            log.warning("claiming: gave back %d jobs that nobody ran here", len(given_back))

    def doubt(self) -> None:
        """The worker may hold jobs that it does not know: the next claim gives them back.

        Once more later, since a server that answered too late may still have been at it.
        """
        self._doubtful = True
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(AGAIN, self._doubt_again)

    def _doubt_again(self) -> None:
        self._later = None
        self._doubtful = True
        self._on_doubt()

    @property
    def is_doubtful(self) -> bool:
        """Whether the worker may hold jobs that it does not know."""
        return self._doubtful or self._later is not None

    async def give_back_all(self) -> None:
        """At the end: whatever is still held, whether it had begun or was only claimed."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        try:
            await self._give_back(set())
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.error("jobs may still be held, which others take back: %r", error)

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
