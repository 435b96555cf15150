"""A job queue inside PostgreSQL, for Python."""

from typing import TYPE_CHECKING, Any

from pgjobs.app import App, CallNext, Lifespan, RunningJob, close, enqueue, sync
from pgjobs.database.acting import acting
from pgjobs.errors import (
    ConnectionLost,
    DuplicateJob,
    InvalidArgument,
    JobCancelled,
    JobFailed,
    JobGone,
    JobNotFound,
    JobNotHeld,
    PgjobsError,
    SchemaMismatch,
    WorkerNameTaken,
)
from pgjobs.flows import OpenBatch
from pgjobs.handler.signals import Cancel, Fail, Retry, Snooze
from pgjobs.handler.task import Task
from pgjobs.job.attempt import Attempt
from pgjobs.job.backoff import Backoff
from pgjobs.job.flow import Batch, Parent
from pgjobs.job.job import Job, JobStatus, JobType
from pgjobs.job.outcome import Outcome
from pgjobs.job.rate import Rate
from pgjobs.producer.middleware import EnqueueRequest
from pgjobs.producer.new_job import NewJob
from pgjobs.service import JobService

if TYPE_CHECKING:
    from pgjobs.schema.migrate import migrate
    from pgjobs.worker.worker import Worker

__all__ = [
    "App",
    "Attempt",
    "Backoff",
    "Batch",
    "CallNext",
    "Cancel",
    "ConnectionLost",
    "DuplicateJob",
    "EnqueueRequest",
    "Fail",
    "InvalidArgument",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobGone",
    "JobNotFound",
    "JobNotHeld",
    "JobService",
    "JobStatus",
    "JobType",
    "Lifespan",
    "NewJob",
    "OpenBatch",
    "Outcome",
    "Parent",
    "PgjobsError",
    "Rate",
    "Retry",
    "RunningJob",
    "SchemaMismatch",
    "Snooze",
    "Task",
    "Worker",
    "WorkerNameTaken",
    "acting",
    "close",
    "enqueue",
    "migrate",
    "sync",
]


def __getattr__(name: str) -> Any:
    # Only who installs needs psycopg and yoyo. To load them takes as long as all the rest.
    if name == "migrate":
        from pgjobs.schema.migrate import migrate

        return migrate
    if name == "Worker":
        from pgjobs.worker.worker import Worker

        return Worker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
