"""What a program does with jobs that exist: look at them, change, end and wait for them."""

import asyncio
import builtins
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload
from uuid import UUID

from pgjobs.connection.executor import Executor
from pgjobs.database import Database, Moment
from pgjobs.errors import InvalidArgument, JobNotFound, PgjobsError
from pgjobs.flows import Flows
from pgjobs.handler.slots import warn_if_none_is_left
from pgjobs.job.attempt import Attempt
from pgjobs.job.job import Job, JobStatus, Row
from pgjobs.job.outcome import GONE, UNKNOWN, Outcome
from pgjobs.job.payload import NO_PAYLOAD, encode
from pgjobs.job.reason import Reason
from pgjobs.producer.arguments import (
    EnqueueOptions,
    ManyOptions,
    edit_arguments,
    names,
    reference_columns,
)
from pgjobs.producer.new_job import NewJob
from pgjobs.producer.uncommitted import Uncommitted
from pgjobs.watching.watcher import Found, Watcher

if TYPE_CHECKING:
    from pgjobs.connection.blocking import SyncConn
    from pgjobs.connection.executor import Conn

Names = str | Iterable[str] | None
# A type checker finds a misspelled one; a plain string is also refused when the call runs.
Status = (
    JobStatus
    | Literal["pending", "processing", "completed", "failed", "cancelled", "blocked"]
)


class ListOptions(TypedDict, total=False):
    """Which jobs ``list`` returns. None stands for the default."""

    status: Status | Iterable[Status] | None
    job_type: Names
    queue: Names
    reference: tuple[str, int | str | UUID] | None
    limit: int | None
    before: int | None
    group_key: str | None


DEFAULT_LIMIT_JOBS = 100


class Verbs(Flows, ABC):
    """The methods of an app for jobs. With ``conn`` they act in its transaction."""

    @abstractmethod
    async def _database(self, conn: "Conn | None") -> Database: ...

    @abstractmethod
    def _watcher(self) -> Watcher: ...

    @abstractmethod
    def sync_executor(
        self, conn: "SyncConn | None", *, adds: bool = False, reads: bool = False
    ) -> Executor:
        """What runs the statements of one sync call that adds jobs, or only reads, or neither."""

    @abstractmethod
    def close_sync(self) -> None:
        """Closes the connections of the sync calls without ``conn``."""

    @abstractmethod
    async def enqueue(
        self,
        job_type: str,
        payload: object = NO_PAYLOAD,
        *,
        conn: "Conn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Job[Any, Any]:
        """Adds a job."""

    @overload
    async def enqueue_many(
        self,
        job_type: str,
        payloads: Iterable[object],
        *,
        conn: "Conn | None" = None,
        **options: Unpack[ManyOptions],
    ) -> list[int]: ...
    @overload
    async def enqueue_many(
        self, job_type: Iterable[NewJob[Any]], /, *, conn: "Conn | None" = None
    ) -> list[int]: ...
    @abstractmethod
    async def enqueue_many(
        self,
        job_type: str | Iterable[NewJob[Any]],
        payloads: Iterable[object] | None = None,
        *,
        conn: "Conn | None" = None,
        **options: Unpack[ManyOptions],
    ) -> list[int]:
        """Adds many jobs."""

    async def get(self, job_id: int, *, conn: "Conn | None" = None) -> Job[Any, Any]:
        """Returns the job with that id; raises ``JobNotFound``."""
        job = await (await self._database(conn)).get(_number("job_id", job_id))
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job

    async def history(self, job_id: int, *, conn: "Conn | None" = None) -> "list[Attempt]":
        """Returns the last 20 attempts of a job that failed or were lost, the first ones first."""
        rows = await (await self._database(conn)).history(_number("job_id", job_id))
        return [Attempt.from_row(row) for row in rows]

    async def cancel(
        self,
        job_id: int,
        reason: str | None = None,
        *,
        downstream: bool = False,
        conn: "Conn | None" = None,
    ) -> Job[Any, Any]:
        """Cancels a job that waits; asks the worker of a running one to stop it.

        ``downstream``: also cancels all jobs that wait for it, directly or not.
        A running job is returned as it is: it ends cancelled soon after. Raises ``JobNotFound``,
        and ``JobNotHeld`` if the job has finished otherwise.
        """
        if reason is not None and not isinstance(reason, str):
            raise InvalidArgument(f"reason must be a string, not {reason!r}")
        return await (await self._database(conn)).cancel(
            _number("job_id", job_id), reason, downstream=bool(downstream)
        )

    async def retry(self, job_id: int, *, conn: "Conn | None" = None) -> Job[Any, Any]:
        """Makes a finished job pending now, with its counts at 0.

        Raises ``JobNotFound``, ``JobNotHeld`` if the job has not finished, and ``DuplicateJob`` if
        another job holds its unique key.
        """
        return await (await self._database(conn)).retry(_number("job_id", job_id))

    async def wait(
        self,
        jobs: Iterable[Job[Any] | int],
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - a timedelta, as everywhere here
    ) -> "list[Outcome]":
        """Waits until all these jobs, or jobs with these ids, have ended.

        Returns what became of each, in the same order. It raises for none of them, whatever its
        outcome: after ``timeout`` a job has the status that was seen last. Raises
        ``InvalidArgument`` if the transaction that adds a job is not committed.
        """
        given = [*jobs]
        seconds = _seconds(timeout)
        ids = [job.id if isinstance(job, Job) else _id(job) for job in given]
        warn_if_none_is_left({job.queue if isinstance(job, Job) else None for job in given})
        watcher = self._watcher()
        waits = {
            job_id: _add(watcher, job) if isinstance(job, Job)
            else watcher.add(job_id, is_seen=False)
            for job_id, job in dict(zip(ids, given, strict=True)).items()
        }
        seen: dict[int, Row | None] = {}
        try:
            if waits:
                # An exception refuses the wait, and does not wait for the other jobs.
                await asyncio.wait(
                    waits.values(), timeout=seconds, return_when=asyncio.FIRST_EXCEPTION
                )
        finally:
            ended = {job_id: future for job_id, future in waits.items() if future.done()}
            for job_id, future in waits.items():
                seen[job_id] = watcher.remove(job_id, future)
        outcomes = {job_id: _outcome(job_id, ended.get(job_id), seen[job_id]) for job_id in waits}
        return [outcomes[job_id] for job_id in ids]

    async def end_of(self, job: Job[Any], within: timedelta | None) -> Row:
        """Waits for one job, and returns the row of its outcome, for ``Job.wait``."""
        seconds = _seconds(within)
        warn_if_none_is_left({job.queue})
        watcher = self._watcher()
        future = _add(watcher, job)
        try:
            done, _ = await asyncio.wait([future], timeout=seconds)
            if not done:
                raise TimeoutError(f"job {job.id} has not ended within {within}")
            found = future.result()
            if isinstance(found, PgjobsError):
                raise found
            return found
        finally:
            watcher.remove(job.id, future)

    async def edit(
        self,
        job_id: int,
        *,
        payload: object = None,
        priority: int | None = None,
        queue: str | None = None,
        run_at: Moment = None,
        delay: timedelta | None = None,
        conn: "Conn | None" = None,
    ) -> Job[Any]:
        """Changes what is given of a job that waits. ``delay=timedelta(0)``: it may start now.

        The payload replaces the old one as a whole. Raises ``JobNotFound``, and ``JobNotHeld`` if
        the job runs or has finished.
        """
        given = edit_arguments(priority, queue, run_at, delay)
        text = None if payload is None else encode(payload, "payload")
        database = await self._database(conn)
        return await database.edit(_number("job_id", job_id), text, **given)

    async def copy(
        self, job_id: int, payload: object = None, *, conn: "Conn | None" = None
    ) -> Job[Any]:
        """Adds a new job like this one, due now, with its payload or with another one.

        The copy has no unique key, and no result. Raises ``JobNotFound``.
        """
        text = None if payload is None else encode(payload, "payload")
        return await (await self._database(conn)).copy(_number("job_id", job_id), text)

    # Quoted: within this class, list is the method below.
    async def why(self, job_id: int, *, conn: "Conn | None" = None) -> "builtins.list[Reason]":
        """Tells why a job does not run, the worst reason first; raises ``JobNotFound``.

        There is always a reason: of a job that nothing holds back, ``due``, and of one that has
        ended, its status.
        """
        return await (await self._database(conn)).why(_number("job_id", job_id))

    async def list(
        self, *, conn: "Conn | None" = None, **options: Unpack[ListOptions]
    ) -> list[Job[Any, Any]]:
        """Returns jobs, the newest first; ``before``: the id of the last job of the page before.

        Jobs that have ended come in another order, those first that ended last, and pending jobs
        as claims take them, queue by queue, and in a queue group by group; where ``status`` allows
        others too, the newest first.
        ``status``, ``job_type``, ``queue``: one name or several. ``reference``: type and id or key
        of an entity. ``limit``: 100 jobs if left out. ``group_key``: with statuses of jobs that
        have not ended, an index finds the jobs of the group; else this walks over all jobs.
        """
        if unknown := options.keys() - ListOptions.__annotations__:
            raise TypeError(
                f"unknown option {', '.join(map(repr, sorted(unknown)))}: not in"
                f" {', '.join(ListOptions.__annotations__)}"
            )
        statuses = names("status", options.get("status"))
        if unknown := set(statuses or ()) - {*JobStatus}:
            raise InvalidArgument(
                f"there is no status {', '.join(sorted(unknown))}: choose of {', '.join(JobStatus)}"
            )
        limit = options.get("limit")
        limit = DEFAULT_LIMIT_JOBS if limit is None else _number("limit", limit)
        if limit < 1:
            raise InvalidArgument(f"limit must be 1 or more, not {limit!r}")
        before = options.get("before")
        reference = options.get("reference")
        return await (await self._database(conn)).find(
            statuses, names("job_type", options.get("job_type")),
            names("queue", options.get("queue")), limit,
            None if before is None else _number("before", before),
            group_key=options.get("group_key"),
            **({} if reference is None else reference_columns(reference)),
        )


def _add(watcher: Watcher, job: Job[Any]) -> "asyncio.Future[Found]":
    """Begins to wait for a job that was read, or added."""
    if isinstance(job._source, Uncommitted):
        return watcher.add(job.id, is_seen=False, is_open=job._source.is_open)
    return watcher.add(job.id, is_seen=True)


def _id(given: int) -> int:
    job_id = _number("job_id", given)
    if not 0 <= job_id < 2**63:
        raise InvalidArgument(f"job_id must be the id of a job, not {given!r}")
    return job_id


def _seconds(timeout: timedelta | None) -> float | None:
    if timeout is None:
        return None
    if not isinstance(timeout, timedelta) or timeout < timedelta(0):
        raise InvalidArgument(f"timeout must be a timedelta of 0 or more, not {timeout!r}")
    return timeout.total_seconds()


def _outcome(
    job_id: int, future: "asyncio.Future[Found] | None", seen: Row | None
) -> Outcome:
    found = seen if future is None else future.result()
    if found is None:
        return Outcome(job_id, UNKNOWN)
    return Outcome(job_id, GONE) if isinstance(found, PgjobsError) else Outcome.from_row(found)


def _number(what: str, given: int) -> int:
    # Here, because not every driver tells a number from a string of digits.
    try:
        return operator.index(given)
    except TypeError:
        raise InvalidArgument(f"{what} must be a whole number, not {given!r}") from None
