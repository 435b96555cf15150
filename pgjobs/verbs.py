"""What a program does with jobs that exist: look at them, cancel them, retry them."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack
from uuid import UUID

from pgjobs.connection.executor import Executor
from pgjobs.database import Database
from pgjobs.errors import InvalidArgument, JobNotFound
from pgjobs.job.job import Job, JobStatus
from pgjobs.job.payload import NO_PAYLOAD
from pgjobs.producer.arguments import BatchOptions, EnqueueOptions, reference_columns

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


class Verbs(ABC):
    """The methods of an app for jobs. With ``conn`` they act in its transaction."""

    @abstractmethod
    async def _database(self, conn: "Conn | None") -> Database: ...

    @abstractmethod
    def sync_executor(
        self, conn: "SyncConn | None", *, adds: bool = False, reads: bool = False
    ) -> Executor:
        """What runs the statements of one sync call that adds jobs, or only reads, or neither."""

    @abstractmethod
    def close_sync(self) -> None:
        """Closes the connection of the sync calls without ``conn``."""

    @abstractmethod
    async def enqueue(
        self,
        job_type: str,
        payload: object = NO_PAYLOAD,
        *,
        conn: "Conn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Job[Any]:
        """Adds a job."""

    @abstractmethod
    async def enqueue_many(
        self,
        job_type: str,
        payloads: Iterable[object],
        *,
        conn: "Conn | None" = None,
        **options: Unpack[BatchOptions],
    ) -> list[int]:
        """Adds many jobs."""

    async def get(self, job_id: int, *, conn: "Conn | None" = None) -> Job[Any]:
        """Returns the job with that id; raises ``JobNotFound``."""
        job = await (await self._database(conn)).get(_number("job_id", job_id))
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job

    async def cancel(
        self, job_id: int, reason: str | None = None, *, conn: "Conn | None" = None
    ) -> Job[Any]:
        """Cancels a pending job; asks the worker of a running one to stop it.

        A running job is returned as it is: it ends cancelled soon after. Raises ``JobNotFound``,
        and ``JobNotHeld`` if the job has finished otherwise.
        """
        if reason is not None and not isinstance(reason, str):
            raise InvalidArgument(f"reason must be a string, not {reason!r}")
        return await (await self._database(conn)).cancel(_number("job_id", job_id), reason)

    async def retry(self, job_id: int, *, conn: "Conn | None" = None) -> Job[Any]:
        """Makes a finished job pending now, with its counts at 0.

        Raises ``JobNotFound``, ``JobNotHeld`` if the job has not finished, and ``DuplicateJob`` if
        another job holds its unique key.
        """
        return await (await self._database(conn)).retry(_number("job_id", job_id))

    async def list(
        self, *, conn: "Conn | None" = None, **options: Unpack[ListOptions]
    ) -> list[Job[Any]]:
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
        statuses = _names("status", options.get("status"))
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
            statuses, _names("job_type", options.get("job_type")),
            _names("queue", options.get("queue")), limit,
            None if before is None else _number("before", before),
            group_key=options.get("group_key"),
            **({} if reference is None else reference_columns(reference)),
        )


def _number(what: str, given: int) -> int:
    # Here, because not every driver tells a number from a string of digits.
    try:
        return operator.index(given)
    except TypeError:
        raise InvalidArgument(f"{what} must be a whole number, not {given!r}") from None


def _names(what: str, given: Names) -> "list[str] | None":
    if given is None:
        return None
    names = [given] if isinstance(given, str) else [*given]
    if not all(isinstance(name, str) for name in names):
        raise InvalidArgument(f"{what} must be a name or a list of names, not {given!r}")
    return [str(name) for name in names]
