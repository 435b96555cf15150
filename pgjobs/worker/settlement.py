"""Writes the ends of runs: one at once, those that come meanwhile in one batch."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from pgjobs.connection.link import BROKEN
from pgjobs.database import Database
from pgjobs.errors import PgjobsError, SchemaMismatch
from pgjobs.handler.run import Key
from pgjobs.worker.description import one_line
from pgjobs.worker.ends import Ends
from pgjobs.worker.held import Held
from pgjobs.worker.outage import Outage
from pgjobs.worker.outcome import End, Outcome
from pgjobs.worker.report import Ended, became_of, log_failure, log_unwritten
from pgjobs.worker.tally import Tally

log = logging.getLogger("pgjobs.worker")

Write = Callable[[Sequence[Ended]], Awaitable[list[int]]]

# Few jobs per statement cost the server and the worker more per job. So after a batch of several
# jobs the next one waits for a moment, unless many have ended already.
GATHER_S = 0.004
GATHER_AFTER_JOBS = 3
GATHER_UP_TO_JOBS = 100

# A statement for this many jobs is quick; if it is refused, ten halvings find the job.
MAX_BATCH_JOBS = 1_000
MAX_UNWRITTEN_JOBS = 4_000
# The server closes the connection on a message over 1 GB: bound the sum of the results.
MAX_BATCH_CHARACTERS = 32 * 2**20

# The next try may succeed after one of these: deadlock, no disk space or memory, lock timeout,
# cancelled statement, a function that an upgrade has just replaced.
TRANSIENT_SQLSTATES = ("40", "53", "55", "57", "XX")
RETRY_PAUSES_S = (0.2, 0.8, 3.0)  # before each further try, in one batch
MAX_TRIES_WHILE_CLOSING = 3
GIVEN_BACK_AFTER_S = 120.0  # at most, by a heartbeat
RETRY_LOCKED_AFTER_S = 0.5  # each try holds up the other ends for up to 0.2 s


class Settlement:
    """The ends of jobs that wait to be written, and the one connection that writes them.

    An end that cannot be written is forgotten, too: the next heartbeat does not name its job, so
    that the server gives the job back.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        held: Held,
        tally: Tally,
        ends: Ends,
        outage: Outage,
        *,
        keep_completed: bool,
    ) -> None:
        self._database = database
        self._worker = worker
        self._held = held
        self._tally = tally
        self._ends = ends
        self._outage = outage
        self._keep_completed = keep_completed
        self._waiting: list[Ended] = []
        self._deferred: list[Ended] = []  # their rows are locked
        self._retries_deferred = False
        self._has_work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._throttling = True
        self._closing = False
        self._closed = asyncio.Event()

    def add(self, key: Key, outcome: Outcome) -> None:
        """Takes the end of a run; it is written soon."""
        self._waiting.append((*key, outcome))
        if len(self._waiting) >= MAX_UNWRITTEN_JOBS and self._throttling:
            self._room.clear()
        self._has_work.set()

    def stop_throttling(self) -> None:
        """Makes ``wait_for_room`` return at once from now on; for a worker that stops."""
        self._throttling = False
        self._room.set()

    async def wait_for_room(self) -> None:
        """Waits while too many ends are unwritten: a crash would repeat those runs."""
        await self._room.wait()

    def close(self) -> None:
        """Lets ``run`` return once everything is written, without waiting for a lost connection."""
        self._closing = True
        self._closed.set()
        self._retry_deferred()

    async def run(self) -> None:
        """Writes until closed and empty."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._waiting:
                # Removed only when written: a heartbeat names all that is held.
                batch = self._next_batch()
                await self._write(batch)
                del self._waiting[: len(batch)]
                self._held.forget(batch, but=self._deferred)
                if self._deferred and not self._retries_deferred:
                    self._retries_deferred = True
                    loop = asyncio.get_running_loop()
                    loop.call_later(RETRY_LOCKED_AFTER_S, self._retry_deferred)
                self._room.set()
                await self._gather(len(batch))
            if self._closing:
                return

    async def _gather(self, written: int) -> None:
        few_wait = len(self._waiting) < GATHER_UP_TO_JOBS
        if written >= GATHER_AFTER_JOBS and few_wait and not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._closed.wait()

    def _next_batch(self) -> Sequence[Ended]:
        characters = 0
        for count, (_, _, outcome) in enumerate(self._waiting[:MAX_BATCH_JOBS]):
            characters += len(outcome.result or "") + len(outcome.error)
            if count > 0 and characters > MAX_BATCH_CHARACTERS:
                return self._waiting[:count]
        return self._waiting[:MAX_BATCH_JOBS]

    async def _write(self, batch: Sequence[Ended]) -> None:
        # A look-up by a member of an enum would cost each completed job a hundredth of its time.
        completed = End.COMPLETED
        others = [ended for ended in batch if ended[2].end is not completed]
        kinds: dict[End, Sequence[Ended]] = {completed: batch}
        if others:
            kinds[completed] = [ended for ended in batch if ended[2].end is completed]
            for end in {ended[2].end for ended in others}:
                kinds[end] = [ended for ended in others if ended[2].end is end]
        writes: dict[End, Write] = {
            End.COMPLETED: self._complete,
            End.FAILED: self._fail,
            End.RELEASED: self._release,
            End.CANCELLED: self._cancel,
            End.CRASHED: self._crash,
        }
        pauses = iter(RETRY_PAUSES_S)
        for end, write in writes.items():
            if group := kinds.get(end):
                await self._write_group(write, group, pauses)

    async def _write_group(
        self, write: Write, group: Sequence[Ended], pauses: Iterator[float]
    ) -> None:
        """Writes a group; halves a refused group to find the refused job."""
        try:
            written = await self._persist(write, group)
        except BROKEN as error:
            # Only while closing: another worker runs these jobs again.
            self._give_up()
            log.error("ends that could not be written: %d: %s", len(group), one_line(str(error)))
            log_unwritten(group, "could not be written: the job runs again")
        except (asyncpg.PostgresError, PgjobsError) as error:
            if len(group) > 1:
                await self._halve(write, group, pauses)
            elif isinstance(error, asyncpg.LockNotAvailableError):
                self._defer(group[0])
            elif _is_transient(error) and (pause := next(pauses, None)) is not None:
                log.warning("settling jobs: refused, again in %.1f s: %r", pause, error)
                await asyncio.sleep(pause)
                await self._write_group(write, group, pauses)
            else:
                await self._fail_refused(group[0], error)
        else:
            if len(written) < len(group):
                lost = [ended for ended in group if ended[0] not in set(written)]
                log_unwritten(lost, "is discarded: the job is not held")

    def _persist(self, write: Write, group: Sequence[Ended]) -> Awaitable[list[int]]:
        """Writes over lost connections; gives up after a few tries while closing."""
        tries = itertools.count(1)

        def stop() -> bool:
            return next(tries) > MAX_TRIES_WHILE_CLOSING and self._closing

        return self._outage.persist(lambda: write(group), "settling jobs", stop=stop)

    async def _halve(self, write: Write, group: Sequence[Ended], pauses: Iterator[float]) -> None:
        half = len(group) // 2
        await self._write_group(write, group[:half], pauses)
        await self._write_group(write, group[half:], pauses)

    def _give_up(self) -> None:
        """The server holds a job that the register forgets: a heartbeat has to tell it so."""
        self._held.doubt(GIVEN_BACK_AFTER_S)

    def _retry_deferred(self) -> None:
        self._retries_deferred = False
        self._waiting += self._deferred
        self._deferred = []
        self._has_work.set()

    def _defer(self, ended: Ended) -> None:
        """Writes the end of a job whose row is locked later."""
        if self._closing:
            self._give_up()
            log.error("job %s: its row is locked, its end could not be written", ended[0])
        else:
            self._deferred.append(ended)

    async def _fail_refused(self, ended: Ended, error: Exception) -> None:
        """Fails a job whose end the server refused; the refusal is the job's error."""
        job_id, attempt, outcome = ended
        log.error("job %s: its end (%s) was refused: %s", job_id, outcome.end.value,
                  one_line(str(error)))
        failed = Outcome(
            End.FAILED,
            error=f"its end ({outcome.end.value}) could not be stored: {error}"[:1_000],
            retry=outcome.end is not End.COMPLETED and outcome.retry,
        )
        try:
            await self._persist(self._fail, [(job_id, attempt, failed)])
        except asyncpg.LockNotAvailableError:
            self._defer(ended)
        except (*BROKEN, asyncpg.PostgresError, PgjobsError) as again:
            # The server gives the job back, so it runs again.
            self._give_up()
            log.error("job %s: failing it was refused: %s", job_id, one_line(str(again)))

    async def _complete(self, group: Sequence[Ended]) -> list[int]:
        ids, attempts, outcomes = zip(*group, strict=True)
        results = [outcome.result for outcome in outcomes]
        given = (self._worker, ids, attempts, results, self._keep_completed)
        try:
            done = await self._database.complete_uncounted(*given)
        except (SchemaMismatch, asyncpg.InsufficientPrivilegeError):
            # The schema, or what the role was granted, is of an earlier release. The work is done.
            done = await self._database.complete_many(*given)
            self._tally.add("completed", len(done))
            return done
        self._tally.add("completed", len(done))
        if len(done) < len(group):
            written = set(done)
            group = [ended for ended in group if ended[0] in written]
        self._ends.add(self._held.find_all(group), "completed")
        return done

    async def _fail(self, group: Sequence[Ended], *, crashed: bool = False) -> list[int]:
        ids, attempts, outcomes = zip(*group, strict=True)
        errors, retries = [o.error for o in outcomes], [o.retry for o in outcomes]
        delays = [o.after for o in outcomes]
        rows = await self._database.end_attempts(
            self._worker, ids, attempts, errors, retries, delays, crashed,
            [o.error_kind for o in outcomes],
        )
        became = {row["id"]: row for row in rows}
        for job_id, attempt, outcome in group:
            run = self._held.find((job_id, attempt))
            if job_id in became:
                what = became_of(became[job_id], outcome)
                self._tally.add(what)
                self._ends.add([run], "lost" if what == "crashed" else what)
                if run is not None:
                    log_failure(run, outcome, became[job_id])
        return list(became)

    async def _release(self, group: Sequence[Ended]) -> list[int]:
        ids, attempts, outcomes = zip(*group, strict=True)
        done = await self._database.release_many(
            self._worker, ids, attempts, [o.after for o in outcomes]
        )
        self._tally.add("given back", len(done))
        return done

    async def _crash(self, group: Sequence[Ended]) -> list[int]:
        return await self._fail(group, crashed=True)

    async def _cancel(self, group: Sequence[Ended]) -> list[int]:
        done: list[Any] = []
        for job_id, attempt, outcome in group:
            try:
                await self._database.cancel(job_id, outcome.error or None, self._worker, attempt)
                self._tally.add("cancelled")
                done.append(job_id)
            except PgjobsError as error:
                log.debug("job %s was not cancelled: %s", job_id, error)
        return done


def _is_transient(error: Exception) -> bool:
    sqlstate = str(getattr(error, "sqlstate", None))
    return isinstance(error, SchemaMismatch) or sqlstate[:2] in TRANSIENT_SQLSTATES
