"""A job queue inside PostgreSQL, for Python."""

from pgjobs.app import App, RunningJob, close, enqueue
from pgjobs.errors import (
    ConnectionLost,
    DuplicateJob,
    InvalidArgument,
    JobNotFound,
    JobNotHeld,
    PgjobsError,
    SchemaMismatch,
    WorkerNameTaken,
)
from pgjobs.handler.signals import Cancel, Fail, Retry, Snooze
from pgjobs.handler.task import Task
from pgjobs.job.backoff import Backoff
from pgjobs.job.job import Job, JobStatus, JobType
from pgjobs.schema.migrate import migrate
from pgjobs.service import JobService
from pgjobs.worker.worker import Worker

__all__ = [
    "App",
    "Backoff",
    "Cancel",
    "ConnectionLost",
    "DuplicateJob",
    "Fail",
    "InvalidArgument",
    "Job",
    "JobNotFound",
    "JobNotHeld",
    "JobService",
    "JobStatus",
    "JobType",
    "PgjobsError",
    "Retry",
    "RunningJob",
    "SchemaMismatch",
    "Snooze",
    "Task",
    "Worker",
    "WorkerNameTaken",
    "close",
    "enqueue",
    "migrate",
]
