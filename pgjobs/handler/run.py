"""A run: one attempt of a claimed job in this process."""

import asyncio
import math
from enum import Enum

from pgjobs.job.job import Row

# Job id and attempt: this worker may claim a lost job again while the job's old handler still runs.
Key = tuple[int, int]


class Phase(Enum):
    """How far a run is."""

    CLAIMED = "claimed"  # its handler has not begun
    RUNNING = "running"
    ENDED = "ended"  # its end is not written yet


# To look up a member of an enum costs four times as much as a global.
CLAIMED, RUNNING, ENDED = Phase


class Stop(Enum):
    """Why a worker stops a run."""

    CANCEL = "its cancellation was requested"
    LOST = "the worker has lost it"
    SHUTDOWN = "the worker is shutting down"
    TIMEOUT = "its timeout is over"


class Run:
    """One attempt of a claimed job: its row, its phase, and why it is being stopped."""

    __slots__ = (
        "claimed_at", "deadline", "is_committed", "is_crashed", "key", "phase", "row", "stop",
        "task",
    )

    def __init__(self, row: Row, claimed_at: float) -> None:
        self.row = row
        self.key: Key = (row["id"], row["attempt"])
        self.is_crashed = bool(row["crash_count"])  # lost before
        self.claimed_at = claimed_at  # by the event loop's clock, as `deadline`
        self.phase: Phase = CLAIMED
        self.stop: Stop | None = None
        self.is_committed = False  # the handler's own transaction has completed the job
        self.deadline = math.inf
        self.task: asyncio.Task[None] | None = None  # null while it waits for a slot

    def __str__(self) -> str:
        return f"job {self.row['id']} ({self.row['job_type']})"
