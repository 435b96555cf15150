"""What an app declares about its jobs: how long they stay."""

from datetime import timedelta
from typing import Literal

from pgjobs.errors import InvalidArgument
from pgjobs.job.job import JobStatus
from pgjobs.producer.declared import Declared, written

Final = (
    Literal[JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED]
    | Literal["completed", "failed", "cancelled"]
)


class Settings:
    """The part of an app that declares how long its jobs stay."""

    def __init__(self) -> None:
        super().__init__()
        self.retention: dict[str, Declared] = {}

    def retain(self, status: Final, keep_for: timedelta, *, job_type: str | None = None) -> None:
        """Lets workers delete jobs of this status that ended longer ago than ``keep_for``.

        ``status``: completed, failed or cancelled. ``job_type``: only of that type, which then goes
        by this rule and not by the one for all types. A worker that starts writes what is new or
        was changed in code. Raises ``InvalidArgument``.
        """
        if not isinstance(status, str):
            raise InvalidArgument(f"status must be a string, not {status!r}")
        if status not in ("completed", "failed", "cancelled"):
            raise InvalidArgument(f"status must be completed, failed or cancelled, not {status!r}")
        if not isinstance(keep_for, timedelta) or keep_for < timedelta(0):
            raise InvalidArgument(f"keep_for must be a timedelta of 0 or more, not {keep_for!r}")
        if job_type is not None and (not isinstance(job_type, str) or not job_type):
            raise InvalidArgument(f"job_type must be a job type, not {job_type!r}")
        arguments = {"status": str(status), "keep_for": written(keep_for)}
        name = str(status)
        if job_type is not None:
            arguments["job_type"] = str(job_type)
            name = f"{status} of {job_type}"
        if name in self.retention:
            raise InvalidArgument(f"the retention of {name} is declared already")
        self.retention[name] = Declared(name, arguments)
