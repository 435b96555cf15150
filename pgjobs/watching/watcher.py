"""Waits for the ends of jobs: one connection and one look-up at a time, however many wait."""

import asyncio
import heapq
import logging
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg

from pgjobs.connection.link import BROKEN, MAX_PAUSE_S, Link
from pgjobs.connection.notifications import Notifications
from pgjobs.database import Database
from pgjobs.errors import InvalidArgument, JobGone, JobNotFound, PgjobsError
from pgjobs.job.job import Row

log = logging.getLogger("pgjobs.wait")

# Pauses before the second look at a job and the further ones. The first two are for an end that was
# under way when the job began to be watched. The others are for notifications that got lost.
LOOK_AGAIN_AFTER_S = (0.01, 0.1, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0)
DEAF_LOOK_AGAIN_AFTER_S = 1.0  # at most, where no notification can be heard
LOOK_TOGETHER_WITHIN_S = 0.1  # looks that are due within such a time share a statement
# A job may not be visible yet, because the transaction that adds it is still open.
UNSEEN_FOR_S = 2.0
LOOK_FOR_UNSEEN_EVERY_S = 0.2
RENEW_AFTER_S = 6 * 3600.0  # a watch lasts for a day
MAX_JOBS_PER_LOOK = 10_000
RETRY_REFUSED_AFTER_S = 1.0
_MAX_DIGITS = 19  # of an id
# The server drops a half-open connection after 25 s.
_SETTINGS = {
    "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
}

# What became of a job: the row of its outcome, or the error that says why there is none.
Found = Row | JobGone | JobNotFound


@dataclass(slots=True, eq=False)
class Wait:
    """A job that somebody waits for."""

    is_seen: bool  # whether the job is known to have existed
    # Whether the connection that added the job is in a transaction; None: nobody knows.
    is_open: Callable[[], bool] | None = None
    futures: set["asyncio.Future[Found]"] = field(default_factory=set)
    row: Row | None = None  # what the last look has found
    looks: int = 0
    look_at: float = 0.0
    watched_at: float = -math.inf
    unseen_since: float = math.inf


class Watcher:
    """Gives each waiter the outcome of its job. It connects when the first one waits.

    The order is: LISTEN, watch, look, wait. So an end that begins after the watch is notified, and
    an end that was committed before the look is seen. What is left is an end that began before the
    watch and is committed after the look: the look 0.01 s later finds it, or else the next one.
    After each loss of the connection it looks at all jobs.
    """

    def __init__(self, dsn: str, schema: str, *, name: str) -> None:
        self._dsn = dsn
        self._schema = schema
        self._name = f"{name} wait"
        self._can_hear = True
        self._use(Link(dsn, name=self._name, settings=_SETTINGS, private=True))
        self._waits: dict[int, Wait] = {}
        self._schedule: list[tuple[float, int]] = []  # a heap: when to look at which job
        self._heard: set[int] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _use(self, link: Link) -> None:
        self._link = link
        self._database = Database(link, self._schema)
        self._notifications = Notifications(link, on_lost=self._lost)
        self._is_listening = False

    def add(
        self, job_id: int, *, is_seen: bool, is_open: Callable[[], bool] | None = None
    ) -> "asyncio.Future[Found]":
        """Returns a future of what became of the job; give it back to ``remove``.

        That is the row of the job's outcome, or ``JobGone``, or ``JobNotFound`` if ``is_seen`` is
        false, so that nobody knows whether there ever was such a job. The future's exception is
        what refuses the wait: ``InvalidArgument`` if the job is not there, and ``is_open`` says
        that the connection that added it is in a transaction.
        """
        wait = self._waits.get(job_id)
        if wait is None:
            wait = self._waits[job_id] = Wait(is_seen)
            self._heard.add(job_id)
            self._changed.set()
        wait.is_seen |= is_seen
        wait.is_open = is_open or wait.is_open
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        wait.futures.add(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="pgjobs wait")
        return future

    def remove(self, job_id: int, future: "asyncio.Future[Found]") -> Row | None:
        """Waits no more. Returns what the last look has found, if anything."""
        if not future.cancel() and not future.cancelled():
            future.exception()  # seen, or asyncio would log it
        wait = self._waits.get(job_id)
        if wait is None or future not in wait.futures:
            return None
        wait.futures.discard(future)
        if not wait.futures:
            del self._waits[job_id]
            if not self._waits:
                self._changed.set()
        return wait.row

    async def close(self) -> None:
        """Ends all waits with an error, and disconnects."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._refuse(PgjobsError("the app was closed while somebody waited for a job"))
        await self._link.close()

    async def _run(self) -> None:
        pause_s = 0.1
        while self._waits:
            self._changed.clear()
            try:
                await self._step()
            except BROKEN as error:
                log.warning("waiting: connection lost (%r), again in %.1f s", error, pause_s)
                self._look_at_all()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
                continue
            except asyncpg.InsufficientPrivilegeError as error:
                self._refuse(PgjobsError(
                    f"{error}: to wait for jobs, let the owner run pgjobs grant ROLE reader"
                ))
                continue
            except (PgjobsError, asyncpg.SyntaxOrAccessError) as error:
                # There is no such function, for example: the next try would end alike.
                self._refuse(error)
                continue
            except asyncpg.PostgresError as error:
                log.warning("waiting: the server refused, will retry: %r", error)
                self._look_at_all()
                await asyncio.sleep(RETRY_REFUSED_AFTER_S)
                continue
            pause_s = 0.1
            if not self._heard:
                next_look = self._schedule[0][0] if self._schedule else math.inf
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(next_look if next_look < math.inf else None):
                        await self._changed.wait()

    async def _step(self) -> None:
        if self._can_hear and not self._is_listening:
            await self._listen()
        for part in _parts(self._due()):
            now = asyncio.get_running_loop().time()
            fresh = [i for i in part if self._waits[i].watched_at < now - RENEW_AFTER_S]
            if fresh:
                for job_id in await self._database.watch(fresh):
                    if job_id in self._waits:
                        self._waits[job_id].watched_at = now
            self._take(part, await self._database.outcomes(part))

    async def _listen(self) -> None:
        try:
            channel = await self._database.channel("jobs_done")
            await self._notifications.listen({channel: self._on_notify})
        except InvalidArgument as error:
            log.info("waiting by looking every %.0f s: %s", DEAF_LOOK_AGAIN_AFTER_S, error)
            self._can_hear = False
            self._use(Link(self._dsn, name=self._name))
            return
        self._is_listening = True
        self._look_at_all()

    def _due(self) -> list[int]:
        """The jobs to look at now."""
        due, self._heard = self._heard & self._waits.keys(), set()
        now = asyncio.get_running_loop().time()
        while self._schedule and self._schedule[0][0] <= now:
            look_at, job_id = heapq.heappop(self._schedule)
            wait = self._waits.get(job_id)
            if wait is not None and wait.look_at == look_at:
                due.add(job_id)
        return list(due)

    def _take(self, job_ids: Sequence[int], rows: Collection[Row]) -> None:
        """Tells what a look has found to those who wait for it."""
        found = {row["job_id"]: row for row in rows}
        for job_id in job_ids:
            wait, row = self._waits.get(job_id), found.get(job_id)
            if wait is None:
                continue
            if row is None:
                self._miss(job_id, wait)
                continue
            wait.is_seen, wait.row = True, row
            if row["finished_at"] is None:
                pause_s = LOOK_AGAIN_AFTER_S[min(wait.looks, len(LOOK_AGAIN_AFTER_S) - 1)]
                if not self._can_hear:
                    pause_s = min(pause_s, DEAF_LOOK_AGAIN_AFTER_S)
                wait.looks += 1
                self._look_after(pause_s, job_id, wait)
                continue
            del self._waits[job_id]
            for future in wait.futures:
                if not future.done():
                    future.set_result(row)

    def _miss(self, job_id: int, wait: Wait) -> None:
        """Ends a wait for a job that has no row, unless the job may yet be committed."""
        now = asyncio.get_running_loop().time()
        wait.unseen_since = min(wait.unseen_since, now)
        is_open = not wait.is_seen and wait.is_open is not None and wait.is_open()
        if not is_open and not wait.is_seen and now < wait.unseen_since + UNSEEN_FOR_S:
            self._look_after(LOOK_FOR_UNSEEN_EVERY_S, job_id, wait)
            return
        del self._waits[job_id]
        for future in wait.futures:
            if future.done():
                continue
            if is_open:
                future.set_exception(_uncommitted(job_id))
            else:
                future.set_result(_gone(job_id) if wait.is_seen else _unknown(job_id))

    def _look_after(self, pause_s: float, job_id: int, wait: Wait) -> None:
        now = asyncio.get_running_loop().time()
        grid = LOOK_TOGETHER_WITHIN_S if pause_s > LOOK_TOGETHER_WITHIN_S else 0.01
        wait.look_at = math.ceil((now + pause_s) / grid) * grid
        heapq.heappush(self._schedule, (wait.look_at, job_id))

    def _look_at_all(self) -> None:
        self._heard.update(self._waits)

    def _refuse(self, error: BaseException) -> None:
        """Ends all waits with this error."""
        waits, self._waits = self._waits, {}
        for future in [future for wait in waits.values() for future in wait.futures]:
            if not future.done():
                future.set_exception(error)

    def _lost(self) -> None:
        self._is_listening = False
        self._changed.set()

    def _on_notify(self, payload: str) -> None:
        # Any session may notify anything.
        for text in payload.split(","):
            if len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit():
                job_id = int(text)
                if job_id in self._waits:
                    self._heard.add(job_id)
                    self._changed.set()


def _parts(job_ids: list[int]) -> Iterator[list[int]]:
    for place in range(0, len(job_ids), MAX_JOBS_PER_LOOK):
        yield job_ids[place : place + MAX_JOBS_PER_LOOK]


def _gone(job_id: int) -> JobGone:
    return JobGone(
        f"job {job_id} is gone, and nobody knows its outcome: its row was deleted. Where workers"
        " delete completed jobs, enqueue with watch=True"
    )


def _unknown(job_id: int) -> JobNotFound:
    return JobNotFound(
        f"there is no job {job_id}, or the transaction that adds it is still open: commit it before"
        " you wait"
    )


def _uncommitted(job_id: int) -> InvalidArgument:
    return InvalidArgument(
        f"job {job_id} is not committed yet: commit the transaction that adds it before you wait"
        " for it"
    )
