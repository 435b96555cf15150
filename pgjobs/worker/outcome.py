"""How runs end, and what the database is told about it."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from pydantic import ValidationError

from pgjobs.errors import InvalidArgument
from pgjobs.handler.run import Run, Stop
from pgjobs.handler.signals import Cancel, Fail, Retry, Snooze, checked_delay
from pgjobs.job.payload import encode
from pgjobs.worker.description import describe, head, message, storable

log = logging.getLogger("pgjobs.worker")


class End(Enum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    CANCELLED = "cancelled"
    CRASHED = "crashed"  # its child process died
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
    # The handler has completed the job in a transaction of its own, and may have committed.
    may_be_committed: bool = False


COMMITTED = Outcome(End.COMMITTED)
LOST = Outcome(End.LOST)
RELEASED = Outcome(End.RELEASED)
COMPLETED = Outcome(End.COMPLETED)


def of_value(value: object) -> Outcome:
    """The outcome of a handler that returned."""
    if value is None:
        return COMPLETED
    try:
        return Outcome(End.COMPLETED, result=encode(value, "the result"))
    except InvalidArgument as error:
        return Outcome(End.FAILED, error=storable(str(error)), retry=False)


def of_payload_error(error: BaseException) -> Outcome:
    """The outcome of a run whose payload could not be read."""
    if isinstance(error, (ValidationError, ValueError)):
        # No retry: the same payload would fail the same way.
        text = storable(f"the payload is not valid: {message(error)}")
        return Outcome(End.FAILED, error=text, retry=False)
    return Outcome(End.FAILED, error=f"the payload could not be read: {describe(error)}")


def of_error(run: Run, error: BaseException) -> Outcome:
    """The outcome of a handler that raised and was not asked to stop."""
    if run.is_committed:
        log.warning(
            "%s raised after its transaction had completed it: %s", run, head(error),
            extra=run.log_fields,
        )
        return COMMITTED
    match error:
        case Retry():
            after = None if error.after is None else checked_delay(error.after)
            return Outcome(End.FAILED, error=storable(message(error)), after=after)
        case Snooze():
            return Outcome(End.RELEASED, after=checked_delay(error.after))
        case Fail():
            return Outcome(End.FAILED, error=storable(message(error)), retry=False)
        case Cancel():
            return Outcome(End.CANCELLED, error=storable(message(error)))
    return Outcome(End.FAILED, error=describe(error))


def of_stop(run: Run, timeout: timedelta | None) -> Outcome:
    """The outcome of a run that was stopped before its handler returned."""
    if run.is_committed:
        return COMMITTED
    match run.stop:
        case Stop.CANCEL:
            return Outcome(End.CANCELLED)
        case Stop.LOST:
            return LOST
        case Stop.SHUTDOWN:
            return RELEASED
        case Stop.TIMEOUT:
            return Outcome(End.FAILED, error=f"TimeoutError: still running after {timeout}")
        case None:
            return Outcome(End.FAILED, error="CancelledError: the handler cancelled itself")


def log_end(run: Run, outcome: Outcome, seconds: float) -> None:
    """Logs one line per run, at DEBUG if the job was completed."""
    level = logging.DEBUG if outcome.end in (End.COMPLETED, End.COMMITTED) else logging.INFO
    if log.isEnabledFor(level):
        first_line = outcome.error.split("\n", 1)[0]
        fields: dict[str, Any] = {"duration": seconds, "outcome": outcome.end.value}
        log.log(
            level, "%s %s in attempt %s after %.3f s%s",
            run, outcome.end.value, run.key[1], seconds, f": {first_line}" if first_line else "",
            extra=run.log_fields | fields,
        )
