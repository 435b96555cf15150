"""How runs end, and what the database is told about it."""

import asyncio
import inspect
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from pydantic import ValidationError

from pgjobs.errors import InvalidArgument
from pgjobs.handler.run import Run, Stop
from pgjobs.handler.signals import Cancel, Fail, Retry, Signal, Snooze, checked_delay
from pgjobs.job.payload import encode
from pgjobs.worker.description import class_name, describe, head, message, storable

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
    # What the handler raised, for the log. Its class is the user's: nothing here may compare it.
    cause: BaseException | None = field(default=None, compare=False, repr=False)
    # The handler has completed the job in a transaction of its own, and may have committed.
    may_be_committed: bool = False
    kind: str | None = None  # the name of the class of `cause`, where another process has raised it

    @property
    def error_kind(self) -> str | None:
        """The name of the class of what was raised."""
        if self.cause is None:
            return self.kind
        name = storable(class_name(type(self.cause)))
        return name.rpartition(".")[2] if isinstance(self.cause, Signal) else name


COMMITTED = Outcome(End.COMMITTED)
LOST = Outcome(End.LOST)
RELEASED = Outcome(End.RELEASED)
COMPLETED = Outcome(End.COMPLETED)
EXPIRED = Outcome(End.CANCELLED, error="expired")


def of_value(value: object) -> Outcome:
    """The outcome of a handler that returned."""
    if value is None:
        return COMPLETED
    try:
        return Outcome(End.COMPLETED, result=encode(value, "the result"))
    except InvalidArgument as error:
        if inspect.iscoroutine(value):
            # Closed, or Python would warn of it at some other place.
            value.close()
            text = storable(
                f"the handler returned the coroutine {value.__qualname__}, and nothing has awaited"
                " it: declare the handler by `async def`, and await the coroutine there"
            )
            return Outcome(End.FAILED, error=text, retry=False)
        return Outcome(End.FAILED, error=storable(str(error)), retry=False, cause=error)


def of_payload_error(error: BaseException) -> Outcome:
    """The outcome of a run whose payload could not be read."""
    if isinstance(error, (ValidationError, ValueError)):
        # No retry: the same payload would fail the same way.
        text = storable(f"the payload is not valid: {message(error)}")
        return Outcome(End.FAILED, error=text, retry=False, cause=error)
    text = f"the payload could not be read: {describe(error)}"
    return Outcome(End.FAILED, error=text, cause=error)


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
            return Outcome(End.FAILED, error=storable(message(error)), after=after, cause=error)
        case Snooze():
            return Outcome(End.RELEASED, after=checked_delay(error.after))
        case Fail():
            return Outcome(End.FAILED, error=storable(message(error)), retry=False, cause=error)
        case Cancel():
            return Outcome(End.CANCELLED, error=storable(message(error)))
    return Outcome(End.FAILED, error=describe(error), cause=error)


def of_stop(
    run: Run, timeout: timedelta | None, stopped_by: BaseException | None = None
) -> Outcome:
    """The outcome of a run that was stopped before its handler returned.

    ``stopped_by``: the ``CancelledError`` whose traceback says where the handler was.
    """
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
            late: BaseException = TimeoutError(f"still running after {timeout}")
        case None:
            late = asyncio.CancelledError("the handler cancelled itself")
    if stopped_by is not None:
        late.__traceback__ = stopped_by.__traceback__
    return Outcome(End.FAILED, error=describe(late), cause=late)

