"""``Outcome``: what became of a job."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pgjobs.job.job import Row, decoded

GONE = "gone"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job that ``App.wait`` waited for.

    ``status``: a ``JobStatus``; ``gone`` if there is no such job, or no more; ``unknown`` if the
    database did not answer in time. ``result``: plain JSON data.
    """

    job_id: int
    status: str
    result: Any = None
    error: str | None = None
    finished_at: datetime | None = None

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The outcome that ``jobs_outcomes`` tells."""
        return cls(
            row["job_id"], row["status"], decoded(row["result"]), row["error"], row["finished_at"]
        )
