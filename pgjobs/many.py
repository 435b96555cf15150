"""What a program does with many jobs at once, chosen by filters."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypedDict, Unpack
from uuid import UUID

from pgjobs.database import Database, Moment
from pgjobs.database.manage import Filters
from pgjobs.database.statements import as_list
from pgjobs.errors import InvalidArgument
from pgjobs.producer.arguments import edit_arguments, names, reference_columns

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn

# A batch of this size ends soon; a larger one would not be faster.
BATCH_JOBS = 10_000


class Which(TypedDict, total=False):
    """Which jobs are meant: those that pass all that is given. None stands for left out."""

    job_ids: Iterable[int] | None
    job_type: str | Iterable[str] | None
    queue: str | Iterable[str] | None
    group_key: str | Iterable[str] | None
    reference: tuple[str, int | str | UUID] | None
    batch_id: int | None
    created_before: Moment
    failed_since: Moment


class Many(ABC):
    """The methods of an app for many jobs at once.

    Each takes at least one filter, and returns how many jobs it has changed. It goes on in batches
    until none is left, each in a transaction of its own; with ``conn`` all act in that one.
    """

    @abstractmethod
    async def _database(self, conn: "Conn | None") -> Database: ...

    async def cancel_many(
        self, reason: str | None = None, *, conn: "Conn | None" = None, **which: Unpack[Which]
    ) -> int:
        """Cancels jobs that wait, and asks the workers of running ones to stop them."""
        if reason is not None and not isinstance(reason, str):
            raise InvalidArgument(f"reason must be a string, not {reason!r}")
        return await self._until_none_is_left(
            which, conn, lambda database, filters: database.cancel_many(reason, **filters)
        )

    async def retry_many(self, *, conn: "Conn | None" = None, **which: Unpack[Which]) -> int:
        """Makes failed jobs pending now; without a filter all. Skips those whose key is taken."""
        # A job that fails again meanwhile is not retried again.
        began = await (await self._database(conn)).moment(timedelta(0))
        return await self._until_none_is_left(
            which, conn, lambda database, filters: database.retry_many(began, **filters)
        )

    async def edit_many(
        self,
        *,
        set_priority: int | None = None,
        set_queue: str | None = None,
        set_run_at: Moment = None,
        conn: "Conn | None" = None,
        **which: Unpack[Which],
    ) -> int:
        """Changes what is given of jobs that wait; a timedelta is counted from now."""
        given = edit_arguments(set_priority, set_queue, set_run_at, None)
        run_at: datetime | None = await (await self._database(conn)).moment(given.get("run_at"))
        return await self._until_none_is_left(
            which, conn,
            lambda database, filters: database.edit_many(
                given.get("priority"), given.get("queue"), run_at, **filters
            ),
        )

    async def delete_many(self, *, conn: "Conn | None" = None, **which: Unpack[Which]) -> int:
        """Deletes jobs that have ended."""
        return await self._until_none_is_left(
            which, conn, lambda database, filters: database.delete_many(**filters)
        )

    async def _until_none_is_left(
        self,
        which: Which,
        conn: "Conn | None",
        change: Callable[[Database, Filters], Awaitable[int]],
    ) -> int:
        if unknown := which.keys() - Which.__annotations__.keys():
            raise TypeError(f"unknown filters: {', '.join(sorted(unknown))}")
        reference = which.get("reference")
        database = await self._database(conn)
        filters: Filters = {
            "job_ids": as_list("job_ids", which.get("job_ids")),
            "job_types": names("job_type", which.get("job_type")),
            "queues": names("queue", which.get("queue")),
            "group_keys": names("group_key", which.get("group_key")),
            "batch_id": which.get("batch_id"),
            "created_before": which.get("created_before"),
            "failed_since": which.get("failed_since"),
        }
        if reference is not None:
            columns = reference_columns(reference)
            filters["reference_type"] = columns["reference_type"]
            filters["reference_id"] = columns.get("reference_id")
            filters["reference_key"] = columns.get("reference_key")
        filters = {**await as_of_now(database, filters), "max_jobs": BATCH_JOBS}
        total = 0
        # A batch may hold jobs that it does not change: of two with one key only one is retried.
        while count := await change(await self._database(conn), filters):
            total += count
        return total


async def as_of_now(database: Database, filters: Filters) -> Filters:
    """The filters for all batches of a call: the same moments, and no job that comes meanwhile.

    Filters of which none is given stay as they are, since they mean no job.
    """
    if not any(value is not None for value in filters.values()):
        return filters
    created_before = filters.get("created_before")
    return {
        **filters,
        "created_before": await database.moment(
            timedelta(0) if created_before is None else created_before),
        "failed_since": await database.moment(filters.get("failed_since")),
    }
