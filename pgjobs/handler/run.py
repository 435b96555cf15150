"""A run: one attempt of a claimed job in this process."""

import asyncio
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any

from pgjobs.job.job import Row

# Job id and attempt: this worker may claim a lost job again while the job's old handler still runs.
Key = tuple[int, int]


MAX_REFERENCE_CHARACTERS = 200  # in a line of the log


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
        "ask_to_stop", "claimed_at", "deadline", "halt", "is_abandoned", "is_asked_to_stop",
        "is_committed", "is_crashed", "key", "may_be_committed", "phase", "places", "progress",
        "row", "stop", "task", "took_s",
    )

    def __init__(self, row: Row, claimed_at: float) -> None:
        self.row = row
        self.key: Key = (row["id"], row["attempt"])
        self.is_crashed = bool(row["crash_count"])  # lost before
        self.places: Sequence[Any] = ()  # the `Places` of its type that it takes
        self.claimed_at = claimed_at  # by the event loop's clock, as `deadline`
        self.phase: Phase = CLAIMED
        self.stop: Stop | None = None
        self.is_asked_to_stop = False  # the worker has begun to stop, and the grace runs
        self.may_be_committed = False  # `job.complete` has ended the job in some transaction
        self.progress: str | None = None  # what the handler reported last, as JSON text
        self.is_abandoned = False  # the worker has ended, and gives the job back
        self.is_committed = False  # the handler's own transaction has completed the job
        self.deadline = math.inf
        self.took_s = 0.0  # how long its handler ran
        self.task: asyncio.Task[None] | None = None  # null while it waits for a slot
        # Stops a plain function, whose task must wait for it; null: the task is cancelled.
        self.halt: Callable[[], None] | None = None
        # Tells a child process that the worker begins to stop; null: there is none.
        self.ask_to_stop: Callable[[], None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether the handler should end soon."""
        return self.is_asked_to_stop or self.stop is not None

    @property
    def why_stopped(self) -> Stop | None:
        """Why the worker has asked the handler to end."""
        return self.stop

    def has_expired(self, now: float) -> bool:
        """Whether the job had to begin before now, by the database's clock, and never has.

        A job that failed or was lost before has begun.
        """
        row = self.row
        if (expires_at := row["expires_at"]) is None or row["retry_count"] or self.is_crashed:
            return False
        is_over: bool = row["started_at"] + timedelta(seconds=now - self.claimed_at) >= expires_at
        return is_over

    @property
    def log_fields(self) -> dict[str, Any]:
        """``extra`` for a log line about this run."""
        row = self.row
        fields = {"job_id": row["id"], **{c: row[c] for c in ("job_type", "queue", "attempt")}}
        if (reference := self._reference) is not None:
            fields["reference"] = reference
        return fields

    @property
    def _reference(self) -> str | None:
        row = self.row
        if row["reference_type"] is None:
            return None
        key = row["reference_key"] if row["reference_id"] is None else row["reference_id"]
        # The log cannot write every character that a reference may have.
        return repr(f"{row['reference_type']}:{key}"[:MAX_REFERENCE_CHARACTERS])[1:-1]

    def __str__(self) -> str:
        row, reference = self.row, self._reference
        about = "" if reference is None else f", {reference}"
        return f"job {row['id']} ({row['job_type']}{about})"
