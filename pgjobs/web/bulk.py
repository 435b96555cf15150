"""What can be done with many jobs at once, and which jobs each of that takes."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgjobs.database import Database
from pgjobs.database.manage import Filters
from pgjobs.job.job import JobStatus


@dataclass(frozen=True)
class Kind:
    """``action``: its name among ``ACTIONS``. ``statuses``: of the jobs that it takes.

    ``done``: what became of the jobs. ``why_left``: why a job that matches may stay as it is.
    ``change``: takes one step, and returns how many jobs it has changed. It takes jobs that were
    there at the given moment, and none that it has changed already.
    """

    action: str
    verb: str
    statuses: Sequence[str]
    done: str
    why_left: str
    change: Callable[[Database, Sequence[str], datetime, Filters], Awaitable[int]]
    is_final: bool = False  # it cannot be undone, and wants a word


async def _retry(
    database: Database, statuses: Sequence[str], as_of: datetime, filters: Filters
) -> int:
    return await database.retry_many(as_of, **filters)


async def _cancel(
    database: Database, statuses: Sequence[str], as_of: datetime, filters: Filters
) -> int:
    return await database.cancel_many(None, statuses, **filters)


async def _run(
    database: Database, statuses: Sequence[str], as_of: datetime, filters: Filters
) -> int:
    return await database.edit_many(
        set_run_at=as_of, due_after=as_of, statuses=statuses, **filters
    )


async def _delete(
    database: Database, statuses: Sequence[str], as_of: datetime, filters: Filters
) -> int:
    return await database.delete_many(statuses, as_of, **filters)


KINDS = {
    "retry": Kind(
        "retry many", "Retry", [JobStatus.FAILED], "made pending again",
        "another job holds its unique key, or another session has it locked", _retry,
    ),
    "cancel": Kind(
        "cancel many", "Cancel", [JobStatus.PENDING, JobStatus.BLOCKED, JobStatus.PROCESSING],
        "cancelled, or asked to stop", "another session has it locked", _cancel, is_final=True,
    ),
    "run": Kind(
        "run many now", "Run now", [JobStatus.PENDING, JobStatus.BLOCKED], "made due",
        "another session has it locked", _run,
    ),
    "delete": Kind(
        "delete many", "Delete", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED],
        "deleted", "a job that has not ended needs it, or another session has it locked", _delete,
        is_final=True,
    ),
}
