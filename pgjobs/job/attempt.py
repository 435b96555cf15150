"""``Attempt``: an attempt of a job that failed or was lost."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a job that did not complete.

    ``outcome``: ``failed``, or ``lost`` with its worker or child process. ``error_kind``: the class
    of what the handler raised; ``error``: its text, as in ``job.error``.
    """

    attempt: int
    outcome: str
    worker: str | None
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime
    error_kind: str | None
    error: str | None

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """The attempt of a row of ``jobs_attempts``."""
        return cls(**{name: row[name] for name in cls.__slots__})
