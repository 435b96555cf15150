"""Claims jobs, and again when an answer was lost or refused."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from pgjobs.connection.link import BROKEN, Link
from pgjobs.database import Database
from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.job.job import Row
from pgjobs.worker.description import head, message, storable
from pgjobs.worker.floors import Floors
from pgjobs.worker.flows import Flows
from pgjobs.worker.held import Held
from pgjobs.worker.outage import Outage
from pgjobs.worker.places import Places
from pgjobs.worker.wake import Wake

log = logging.getLogger("pgjobs.worker")

PART = "claiming"
RETRY_LOCKED_AFTER_S = 0.1  # for a due job whose row another session has locked
RETRY_REFUSED_AFTER_S = 0.4  # also the longest pause between two tries to connect
RECONCILE_AGAIN_AFTER_S = 0.2
SHRINK = 4  # the factor of the next claim after one whose answer did not arrive in time


class Claimer:
    """Claims for one worker.

    A claim whose answer is lost may have been made. So the worker names all that it holds, and the
    server gives back the rest, until the process that served the claim is gone.
    """

    def __init__(
        self,
        link: Link,
        schema: str,
        worker: str,
        held: Held,
        wake: Wake,
        outage: Outage,
        *,
        queues: Sequence[str],
        job_types: Sequence[str],
        places: Sequence[Places] = (),
        lease: timedelta,
    ) -> None:
        self._link = link
        self._database = Database(link, schema)
        self._worker = worker
        self._held = held
        self._wake = wake
        self._outage = outage
        self._queues = queues
        self._types = job_types
        self._places = places
        self._turn_of_others = False  # of the types that need no places, or have more of them
        self._lease = lease
        self.floors = Floors(queues)
        self._max_jobs: int | None = None  # None: no claim has been too large for the line
        self._lost_backend: int | None = None
        self._unsettled_until: float | None = None
        self._stopping = False
        # By time.monotonic(): the last claim that was answered, and the first that was not since.
        self.claimed_at: float | None = None
        self.failing_since: float | None = None
        self.was_full = False  # whether the last claim filled the slots
        # Whether the last claim passed over some types, because all their places were taken.
        self.is_short_of_places = False

    def stop(self) -> None:
        """Lets ``claim`` return at once from now on."""
        self._stopping = True

    @property
    def is_settled(self) -> bool:
        """Whether the worker knows all that it holds."""
        return self._unsettled_until is None

    async def finish_flows(self) -> bool:
        """Counts the ends of jobs that others wait for; whether there was anything to count."""
        try:
            return await Flows.finish(self._database)
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.warning("claiming: the flows are not counted: %r", error)
            return True  # the next claim finds out what is wrong

    async def claim(self, room: int) -> Sequence[Row]:
        """Claims up to ``room`` jobs; fewer only if no more are due, or if the worker stops.

        Never returns [] for an error: the loop would believe the queue empty, and sleep.
        """
        pause = RETRY_LOCKED_AFTER_S
        while not self._stopping:
            try:
                if not self.is_settled:
                    await self._reconcile()
                    self._outage.end(PART)
                if not room:
                    break
                rows = await self._claim(room)
                self._outage.end(PART)
                return rows
            except PgjobsError:
                raise
            except BROKEN as error:
                self._outage.tell(PART, error, pause)
            except asyncpg.PostgresError as error:
                log.warning("claiming failed, again in %.1f s: %r", pause, error)
                if self.failing_since is None:
                    self.failing_since = time.monotonic()
            await asyncio.sleep(pause)
            pause = RETRY_REFUSED_AFTER_S
        self.was_full = True
        return ()

    async def _claim(self, room: int) -> Sequence[Row]:
        count, types = self._wanted(room)
        if not types:
            self.was_full = False
            return ()
        leaves_out = len(types) < len(self._types)
        free = self._held.free_slots
        lowered = self.floors.lowered
        clock = asyncio.get_running_loop().time
        sent_at = clock()
        try:
            rows = await self._database.claim(
                self._worker, self._queues, count, self._lease, types,
                self.floors.for_claim(), suspects=free > 0, free=free,
            )
        except asyncpg.QueryCanceledError:
            self._answer_too_slow(count)
            raise
        except asyncio.CancelledError:
            self._answer_lost()
            raise
        except BROKEN as error:
            self._answer_lost()
            if isinstance(error, TimeoutError):
                self._answer_too_slow(count)
            raise
        except Exception as error:
            if not _may_be_about_a_row(error):
                raise
            try:
                rows = await self._claim_unread(count, types, error)
            except BaseException:
                self._answer_lost()
                raise
        self.claimed_at, self.failing_since = time.monotonic(), None
        if self._max_jobs is not None:
            self._max_jobs = 2 * count if count < 2**16 else None
            self._link.answered_within(clock() - sent_at)
        if not leaves_out:
            self.floors.claimed(rows, lowered)
        # A queue with limits gives no more than can begin at once.
        self.was_full = len(rows) >= min(count, free)
        self._follow(is_filled=len(rows) == count < room)
        return rows

    def _follow(self, *, is_filled: bool) -> None:
        """Asks for the next claim, if this one was made smaller than the room or left types out.

        Claims of many jobs and claims for types with few places take turns.
        """
        if is_filled or self._turn_of_others:
            self._wake.set()
        self._turn_of_others = is_filled and not self._turn_of_others and bool(self._places)

    def _wanted(self, room: int) -> tuple[int, Sequence[str]]:
        """How many jobs to ask for, and of which types."""
        count = min(room, self._max_jobs or room)
        if not self._places:
            return count, self._types
        types = self._types_with_places()
        self.is_short_of_places = len(types) < len(self._types)
        few = [one for one in self._places if 0 < one.room < count]
        if self._turn_of_others:
            others = [t for t in types if not any(t in one.types for one in few)]
            if others:
                return count, others
            self._turn_of_others = False
        # Each of the jobs may need such a place; the next claim goes out at once if all came.
        return min([count, *(one.room for one in few)]), types

    def _types_with_places(self) -> Sequence[str]:
        """The types of which a job could begin."""
        taken = [one.types for one in self._places if not one.room]
        if not taken:
            return self._types
        return [job_type for job_type in self._types if not any(job_type in t for t in taken)]

    async def _claim_unread(
        self, count: int, types: Sequence[str], error: Exception
    ) -> Sequence[Row]:
        """Claims without reading, then reads the jobs one by one; fails those that it cannot read.

        A row may hold what the server cannot send or the driver cannot decode. In a claim of
        several jobs it would keep all of them from running, in every worker, again and again.
        """
        log.warning("claiming: a job cannot be read, reading one by one: %r", error)
        # If the driver refused the answer, the server has made the claim.
        await self.release_unnamed()
        rows: list[Row] = []
        for claimed in await self._database.claim_unread(
            self._worker, self._queues, count, self._lease, types
        ):
            job_id, attempt = claimed["id"], claimed["attempt"]
            try:
                row = await self._database.claimed(self._worker, job_id, attempt)
                rows += [] if row is None else [row]
            except BROKEN:
                raise
            except Exception as unreadable:
                if not _may_be_about_a_row(unreadable):
                    raise
                # The driver's own errors say little without their names.
                is_told = isinstance(unreadable, (asyncpg.PostgresError, PgjobsError))
                why = message(unreadable) if is_told else head(unreadable)
                text = storable(f"the job cannot be read: {why}")
                log.error("job %s %s", job_id, text)
                await self._database.fail_many(
                    self._worker, [job_id], [attempt], [text], [False], [None]
                )
        return rows

    def _answer_too_slow(self, count: int) -> None:
        """Asks for less next time: perhaps the jobs are too large for the line."""
        if count == 1:
            self._link.be_more_patient()
        self._max_jobs = max(1, count // SHRINK)

    def _answer_lost(self) -> None:
        self._lost_backend = self._link.last_backend
        now = asyncio.get_running_loop().time()
        self._unsettled_until = now + self._link.statement_timeout_s
        self._held.doubt(4 * self._link.timeout_s + self._lease.total_seconds())

    async def _reconcile(self) -> None:
        await self.release_unnamed()
        if not self.is_settled:
            asyncio.get_running_loop().call_later(RECONCILE_AGAIN_AFTER_S, self._wake.set)

    async def release_unnamed(self) -> None:
        """Gives back the jobs that the worker holds without knowing: it would never run them."""
        ids, attempts = self._held.keys
        row = await self._database.reconcile(
            self._worker, ids, attempts, self._lost_backend, self._held.registration
        )
        if row["released"] and not self._stopping:
            log.warning(
                "claiming: gave back jobs that had not begun to run here: %d", row["released"]
            )
        if self._unsettled_until is not None:
            # At that time the server has cancelled the abandoned claim.
            is_over = asyncio.get_running_loop().time() > self._unsettled_until
            if row["is_settled"] or is_over:
                self._unsettled_until = None

    async def release_all(self) -> None:
        """Gives back all that the worker still holds; waits a second for a claim under way."""
        await self.release_unnamed()
        for _ in range(10):
            if self.is_settled:
                return
            await asyncio.sleep(0.1)
            await self.release_unnamed()

    async def look(self) -> float | None:
        """Seconds until the next job is due; None: none is waiting."""
        lowered = self.floors.lowered
        types = self._types_with_places()
        if not types:
            return None
        try:
            due, now = await self._database.look(self._queues, types, self.floors.for_look())
        except BROKEN as error:
            self._outage.tell(PART, error, RETRY_REFUSED_AFTER_S)
            return RETRY_REFUSED_AFTER_S
        except asyncpg.PostgresError as error:
            log.warning("asking for a due time: %r", error)
            return RETRY_REFUSED_AFTER_S
        if len(types) == len(self._types):
            self.floors.looked(due, now, lowered)
        if due is not None and due <= now:
            return 0.0
        return None if due is None else (due - now).total_seconds()

    def may_be_due_from(self, run_at: datetime) -> None:
        """Jobs were found due, from that run_at on: the next claim must read them."""
        self.floors.lower(run_at)
        self._wake.set()


def _may_be_about_a_row(error: Exception) -> bool:
    """Whether a claim may have failed for what one of its rows holds."""
    if isinstance(error, PgjobsError):
        return isinstance(error, InvalidArgument)
    if isinstance(error, asyncpg.PostgresError):
        # Data, a limit of the server, a row that is damaged on the disk.
        return str(error.sqlstate)[:2] in ("22", "54", "XX")
    return True  # the driver's own
