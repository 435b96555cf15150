"""Claims jobs, with floors or without, and again after a lost connection."""

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
SECOND_RELEASE_AFTER_S = 30.0  # an abandoned claim may still commit on the server until then
PAUSE_AFTER_REFUSAL_S = 1.0  # when the server refuses a claim, for example during a failover


class Claimer:
    """Claims for one worker.

    ``known_ids`` gives the jobs that the worker knows it holds. Once ``stopping`` gives True, a
    broken connection is given up. ``on_release_due``: a claim must release jobs again.
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
        self._second_release: asyncio.TimerHandle | None = None
        self._floors = Floors()
        self._last_was_full = False

    async def claim(self, free: int) -> Sequence[Row]:
        """Claims up to ``free`` jobs; fewer only if no more are due, or if the worker stops.

        Never returns [] for an error: the loop would believe the queue empty, and sleep.
        """
        while not self._stopping():
            try:
                if self._may_hold_unknown:
                    await self._release_unknown()
                return await self._with_floors(free)
            except BROKEN as error:
                log.warning("claiming: connection lost (%r)", error)
                self.release_at_next_claim()
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
        floors = self._floors.for_claim(backlog=self._last_was_full)
        rows = await self._claim_once(free, floors)
        if len(rows) < free and floors and not self._floors.for_claim(backlog=False):
            # Only a full claim proves that the queue is empty.
            try:
                rows = [*rows, *await self._claim_once(free - len(rows), None)]
            except (*BROKEN, asyncpg.PostgresError) as error:
                if not rows:
                    raise
                # The jobs of the first claim must run.
                log.warning("claiming: %r", error)
                self.release_at_next_claim()
        self._last_was_full = len(rows) == free
        return rows

    async def _claim_once(self, free: int, floors: str | None) -> Sequence[Row]:
        rows = await self._database.claim(
            self._worker, self._queues, free, self._lease, self._types, floors
        )
        self._floors.learn(rows, full=floors is None)
        return rows

    async def _release_unknown(self) -> None:
        """Gives back the jobs that the worker holds without knowing: it would never run them."""
        try:
            await self._release(self._known_ids())
        except BROKEN:
            raise
        except asyncpg.PostgresError as error:
            # Wait before the next try: the server may refuse to change one of the rows.
            log.error("claiming: the server refused to take jobs back: %r", error)
            self.release_at_next_claim()
            self._may_hold_unknown = False

    async def _release(self, known_ids: set[int]) -> None:
        self._may_hold_unknown = False
        try:
            given_back = await self._database.release_unknown(self._worker, list(known_ids))
        except BaseException:
            self._may_hold_unknown = True
            raise
        if given_back:
            log.warning("claiming: gave back %d jobs that did not run here", len(given_back))

    def release_at_next_claim(self) -> None:
        """Notes that the worker may hold jobs that it does not know.

        The next claim gives those jobs back. A later claim does so again, because the server may
        still commit the abandoned claim.
        """
        self._may_hold_unknown = True
        if self._second_release is None:
            loop = asyncio.get_running_loop()
            self._second_release = loop.call_later(SECOND_RELEASE_AFTER_S, self._release_again)

    def _release_again(self) -> None:
        self._second_release = None
        self._may_hold_unknown = True
        self._on_release_due()

    @property
    def may_hold_unknown(self) -> bool:
        """Whether the worker may hold jobs that it does not know."""
        return self._may_hold_unknown or self._second_release is not None

    async def release_all(self) -> None:
        """Gives back all jobs that this worker still holds, begun or only claimed."""
        if self._second_release is not None:
            self._second_release.cancel()
            self._second_release = None
        try:
            await self._release(set())
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.error("this worker may still hold jobs, other workers take them back: %r", error)

    async def is_due(self) -> bool:
        """Whether jobs are due that other workers could claim."""
        seconds = await self.until_due()
        return seconds is not None and seconds <= RETRY_LOCKED_AFTER_S

    async def until_due(self) -> float | None:
        """Seconds until the next job is due; None: none is waiting."""
        try:
            due_in = await self._database.due_in(self._queues, self._types)
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.warning("asking for a due time: %r", error)
            return PAUSE_AFTER_REFUSAL_S
        if due_in is None:
            return None
        # Due, but not claimed: another session has locked the row, or the job has just come.
        return due_in.total_seconds() if due_in > timedelta(0) else RETRY_LOCKED_AFTER_S
