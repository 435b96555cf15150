"""How runs end."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum


class End(Enum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    CANCELLED = "cancelled"
    LOST = "lost"  # this worker does not hold the job: write nothing
    COMMITTED = "committed"  # the handler's own transaction completed it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the database is told about one run."""

    end: End
    result: str | None = None  # JSON text
    error: str = ""
    retry: bool = True
    after: timedelta | None = None


COMMITTED = Outcome(End.COMMITTED)
LOST = Outcome(End.LOST)
RELEASED = Outcome(End.RELEASED)
COMPLETED = Outcome(End.COMPLETED)
