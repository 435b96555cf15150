"""A job queue inside PostgreSQL, for Python."""

from .app import App, close, enqueue
from .errors import (
    DuplicateJob,
    InvalidArgument,
    JobNotFound,
    JobNotHeld,
    PgjobsError,
    SchemaMismatch,
    WorkerNameTaken,
)
from .migrate import migrate
from .models import Backoff, Job, JobStatus, JobType
from .service import JobService
from .signals import Cancel, Fail, Retry, Snooze
from .task import RunningJob, Task
from .worker import Worker

__all__ = [
    "App",
    "Backoff",
    "Cancel",
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
