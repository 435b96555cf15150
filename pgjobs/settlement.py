"""Tells the database how jobs ended: at once when idle, else whatever has gathered meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from .database import Database
from .errors import PgjobsError, SchemaMismatch
from .execution import End, Outcome
from .link import BROKEN, persist

log = logging.getLogger("pgjobs.worker")

Ended = tuple[int, int, Outcome]  # job id, attempt, how
Write = Callable[[Sequence[Ended]], Awaitable[list[int]]]

# A statement this large is quick, and a broken one is halved at most ten times.
BATCH = 1_000
# The server hangs up on a message of more than 1 GB; results that are fine alone must not be one.
BATCH_CHARACTERS = 32 * 2**20

# Classes of SQLSTATE that may be gone at the next try: a deadlock, no room or memory, a lock that
# was waited for too long, a cancelled statement, a function that an upgrade replaced just now.
PASSING = ("40", "53", "55", "57", "XX")
PAUSES = (0.2, 0.8, 3.0)  # seconds before a next try, in one batch


class Settlement:
    """The ends of jobs that wait to be written, and the one connection that writes them."""

    def __init__(
        self,
        database: Database,
        worker: str,
        *,
        keep_completed: bool,
        on_empty: Callable[[], None],
        on_given_up: Callable[[], None],
    ) -> None:
        self._database = database
        self._worker = worker
        self._keep = keep_completed
        self._on_empty = on_empty
        self._on_given_up = on_given_up
        self._waiting: list[Ended] = []
        self._pauses: list[float] = []
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False
        self._closing = False

    def add(self, job_id: int, attempt: int, outcome: Outcome) -> None:
        """Takes the end of a run; it is written soon."""
        self._waiting.append((job_id, attempt, outcome))
        if len(self._waiting) >= 2 * BATCH and not self._stopping:
            self._room.clear()
        self._work.set()

    def make_room(self) -> None:
        """Lets nobody wait for the database any more: the worker stops."""
        self._stopping = True
        self._room.set()

    async def room(self) -> None:
        """Waits until the database has caught up, so that a crash costs only so many re-runs."""
        await self._room.wait()

    @property
    def has_room(self) -> bool:
        """Whether ``room`` would not have to wait."""
        return self._room.is_set()

    @property
    def keys(self) -> set[tuple[int, int]]:
        """Id and attempt of the jobs that have ended and are not written yet."""
        return {(job_id, attempt) for job_id, attempt, _ in self._waiting}

    @property
    def is_empty(self) -> bool:
        """Whether all is written."""
        return not self._waiting

    def close(self) -> None:
        """Lets ``run`` return once all is written; broken connections are then not waited for."""
        self._closing = True
        self._work.set()

    async def run(self) -> None:
        """Writes until closed and empty."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                # Taken off the list only when written: is_empty must not be early.
                batch = self._next_batch()
                await self._write(batch)
                del self._waiting[: len(batch)]
                self._room.set()
            if self._closing:
                return
            self._on_empty()

    def _next_batch(self) -> Sequence[Ended]:
        characters = 0
        for count, (_, _, outcome) in enumerate(self._waiting[:BATCH]):
            characters += len(outcome.result or "") + len(outcome.error)
            if count > 0 and characters > BATCH_CHARACTERS:
                return self._waiting[:count]
        return self._waiting[:BATCH]

    async def _write(self, batch: Sequence[Ended]) -> None:
        self._pauses = list(PAUSES)
        kinds: dict[End, list[Ended]] = {}
        for ended in batch:
            kinds.setdefault(ended[2].end, []).append(ended)
        writes: dict[End, Write] = {
            End.COMPLETED: self._complete,
            End.FAILED: self._fail,
            End.RELEASED: self._release,
            End.CANCELLED: self._cancel,
        }
        for end, write in writes.items():
            if group := kinds.get(end):
                await self._persist(write, group)

    async def _persist(self, write: Write, group: Sequence[Ended]) -> None:
        """Writes a group; halves it to find the one that the server refuses."""
        tries = 0

        def stop() -> bool:
            nonlocal tries
            tries += 1
            return self._closing and tries > 3

        try:
            done: list[int] = await persist(lambda: write(group), "settling jobs", stop=stop)
        except BROKEN as error:
            # Only while closing: somebody else runs them again.
            self._on_given_up()
            log.error("%d ended jobs could not be written: %s", len(group), error)
            return
        except (asyncpg.PostgresError, PgjobsError) as error:
            if len(group) == 1 and isinstance(error, asyncpg.LockNotAvailableError):
                self._put_off(group[0])
                return
            if len(group) > 1:
                half = len(group) // 2
                await self._persist(write, group[:half])
                await self._persist(write, group[half:])
                return
            if self._pauses and _may_pass(error):
                log.warning("settling jobs: refused, again in a moment: %r", error)
                await asyncio.sleep(self._pauses.pop(0))
                await self._persist(write, group)
                return
            await self._refused(group[0], error)
            return
        if len(done) < len(group):
            changed = set(done)
            for job_id, attempt, outcome in group:
                if job_id not in changed:
                    log.warning(
                        "job %s was not held in attempt %s any more: its end (%s) is void",
                        job_id, attempt, outcome.end.value,
                        extra={"job_id": job_id, "attempt": attempt},
                    )  # fmt: skip

    def _put_off(self, ended: Ended) -> None:
        """Somebody else has that row locked: the others first."""
        if self._closing:
            self._on_given_up()
            log.error("job %s: its row is locked, its end could not be written", ended[0])
        else:
            self._waiting.append(ended)

    async def _refused(self, ended: Ended, error: Exception) -> None:
        """The server does not take what this job ended with: it fails with that as its error."""
        job_id, attempt, outcome = ended
        log.error("job %s: its end (%s) was refused: %s", job_id, outcome.end.value, error)
        failed = Outcome(
            End.FAILED,
            error=f"its end ({outcome.end.value}) could not be stored: {error}"[:1_000],
            retry=outcome.end is not End.COMPLETED and outcome.retry,
        )
        if outcome.error != failed.error:
            try:
                await persist(lambda: self._fail([(job_id, attempt, failed)]), "settling jobs")
            except asyncpg.LockNotAvailableError:
                self._put_off(ended)
            except (asyncpg.PostgresError, PgjobsError) as again:
                # It is given back and run again: not lost, and not silent.
                self._on_given_up()
                log.error("job %s could not even be failed: %s", job_id, again)

    async def _complete(self, group: Sequence[Ended]) -> list[int]:
        return await self._database.complete_many(
            self._worker, [e[0] for e in group], [e[1] for e in group],
            [e[2].result for e in group], self._keep,
        )  # fmt: skip

    async def _fail(self, group: Sequence[Ended]) -> list[int]:
        return await self._database.fail_many(
            self._worker, [e[0] for e in group], [e[1] for e in group],
            [e[2].error for e in group], [e[2].retry for e in group], [e[2].after for e in group],
        )  # fmt: skip

    async def _release(self, group: Sequence[Ended]) -> list[int]:
        return await self._database.release_many(
            self._worker, [e[0] for e in group], [e[1] for e in group],
            [e[2].after for e in group],
        )  # fmt: skip

    async def _cancel(self, group: Sequence[Ended]) -> list[int]:
        done: list[Any] = []
        for job_id, attempt, outcome in group:
            try:
                await self._database.cancel(job_id, outcome.error or None, self._worker, attempt)
                done.append(job_id)
            except PgjobsError as error:
                log.debug("job %s was not cancelled: %s", job_id, error)
        return done


def _may_pass(error: Exception) -> bool:
    sqlstate = str(getattr(error, "sqlstate", None))
    return isinstance(error, SchemaMismatch) or sqlstate[:2] in PASSING
