"""What an app declares about its jobs: how long they stay, and how many run at once."""

from datetime import timedelta
from typing import Any, Literal

from pgjobs.errors import InvalidArgument
from pgjobs.job.job import JobStatus
from pgjobs.job.rate import Rate
from pgjobs.producer.declared import Declared, written

FinalStatus = (
    Literal[JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED]
    | Literal["completed", "failed", "cancelled"]
)


class Settings:
    """The part of an app that declares retention and limits."""

    def __init__(self) -> None:
        super().__init__()
        self.retention: dict[str, Declared] = {}
        self.limits: dict[str, Declared] = {}

    def retain(
        self, status: FinalStatus, keep_for: timedelta, *, job_type: str | None = None
    ) -> None:
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

    def limit(
        self,
        queue: str,
        *,
        max_running: int | None = None,
        max_running_per_group: int | None = None,
        rate: Rate | None = None,
        group_rate: Rate | None = None,
        in_order: bool = False,
    ) -> None:
        """Limits how many jobs of a queue, or of each of its groups, may run at once or start.

        ``in_order``: a job of a group that waits for its retry holds back the others of the group,
        and one runs at a time unless ``max_running_per_group`` says otherwise. All workers of the
        queue keep to it together. A worker that starts writes what is new or was changed in code.
        Raises ``InvalidArgument``.
        """
        if not isinstance(queue, str) or not queue:
            raise InvalidArgument(f"queue must be a queue's name, not {queue!r}")
        if queue in self.limits:
            raise InvalidArgument(f"the limits of queue {queue} are declared already")
        arguments: dict[str, Any] = {}
        counts = {"max_running": max_running, "max_running_per_group": max_running_per_group}
        for name, count in counts.items():
            if count is not None:
                if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                    raise InvalidArgument(f"{name} must be 0 or more, not {count!r}")
                arguments[name] = count
        for name, starts in (("rate", rate), ("group_rate", group_rate)):
            if starts is not None:
                if not isinstance(starts, Rate):
                    raise InvalidArgument(
                        f"{name} must be a pgjobs.Rate, as Rate(100, per=timedelta(minutes=1)),"
                        f" not {starts!r}"
                    )
                arguments[f"{name}_count"] = starts.count
                arguments[f"{name}_period"] = written(starts.per)
        if in_order:
            arguments["in_order"] = True
        self.limits[str(queue)] = Declared(str(queue), arguments)
