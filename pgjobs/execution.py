"""Runs one job in its handler and says how it ended: one run, one outcome."""

import asyncio
import logging
import traceback
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .errors import InvalidArgument
from .models import encode
from .signals import Cancel, Fail, Retry, Snooze

if TYPE_CHECKING:
    from .task import RunningJob, Task

log = logging.getLogger("pgjobs.worker")

_TRACEBACK_LIMIT = 8_000


class End(Enum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    CANCELLED = "cancelled"
    LOST = "lost"  # somebody else holds the job: nothing is to be said any more
    SETTLED = "settled"  # the handler's own transaction has completed it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be told to the database about one run."""

    end: End
    result: str | None = None  # JSON text
    error: str = ""
    retry: bool = True
    after: timedelta | None = None


_SETTLED = Outcome(End.SETTLED)
_LOST = Outcome(End.LOST)
_RELEASED = Outcome(End.RELEASED)
_COMPLETED = Outcome(End.COMPLETED)


class Stop(Enum):
    """Why a worker cancels a running handler."""

    CANCEL = "its cancellation was asked for"
    LOST = "somebody else holds it by now"
    SHUTDOWN = "the worker is shutting down"
    TIMEOUT = "its timeout is over"


async def execute(task: "Task[Any, Any]", job: "RunningJob[Any]") -> Outcome:
    """Runs the handler; never raises but for what stops the whole process."""
    if job._stop is not None:
        return _stopped(job)
    job._begun = True
    try:
        job._payload = task.decode(job._row["payload"])
    except (ValidationError, ValueError) as error:
        # No retry: the same payload would fail the same way.
        text = _storable(f"the payload is not valid: {error}")
        return Outcome(End.FAILED, error=text, retry=False)
    try:
        value = await task.run(job)
    except asyncio.CancelledError:
        return _stopped(job)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - also SystemExit: it is that job's failure alone
        return _failed(job, error)
    if job._settled:
        return _SETTLED
    if value is None:
        return _COMPLETED
    try:
        return Outcome(End.COMPLETED, result=encode(value, "the result"))
    except InvalidArgument as error:
        return Outcome(End.FAILED, error=_storable(str(error)), retry=False)


def log_end(job: "RunningJob[Any]", outcome: Outcome, seconds: float) -> None:
    """One line per run; at DEBUG where all went well."""
    level = logging.DEBUG if outcome.end in (End.COMPLETED, End.SETTLED) else logging.INFO
    if log.isEnabledFor(level):
        head = outcome.error.split("\n", 1)[0]
        log.log(
            level, "job %s (%s) %s in attempt %s after %.3f s%s",
            job.id, job.job_type, outcome.end.value, job.attempt, seconds,
            f": {head}" if head else "",
            extra={**job.log_fields, "duration": seconds, "outcome": outcome.end.value},
        )  # fmt: skip


def _stopped(job: "RunningJob[Any]") -> Outcome:
    if job._settled:
        return _SETTLED
    match job._stop:
        case Stop.CANCEL:
            return Outcome(End.CANCELLED)
        case Stop.LOST:
            return _LOST
        case Stop.SHUTDOWN:
            return _RELEASED
        case Stop.TIMEOUT:
            timeout = job.app.tasks[job.job_type].timeout
            return Outcome(End.FAILED, error=f"TimeoutError: still running after {timeout}")
        case None:
            # A worker that is cancelled says so to its jobs first.
            return Outcome(End.FAILED, error="CancelledError: the handler cancelled itself")


def _failed(job: "RunningJob[Any]", error: BaseException) -> Outcome:
    if job._settled:
        log.warning(
            "job %s raised after its transaction had completed it: %r", job.id, error,
            extra=job.log_fields,
        )  # fmt: skip
        return _SETTLED
    match error:
        case Retry():
            return Outcome(End.FAILED, error=_storable(str(error)), after=error.after)
        case Snooze():
            return Outcome(End.RELEASED, after=error.after)
        case Fail():
            return Outcome(End.FAILED, error=_storable(str(error)), retry=False)
        case Cancel():
            return Outcome(End.CANCELLED, error=_storable(str(error)))
    return Outcome(End.FAILED, error=_described(error))


def _described(error: BaseException) -> str:
    """Type and message first, for whoever lists jobs; then the traceback without our own frames."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__package__") == __package__:
        frames = frames.tb_next
    trace = "".join(traceback.format_exception(type(error), error, frames))
    if len(trace) > _TRACEBACK_LIMIT:
        half = _TRACEBACK_LIMIT // 2
        trace = f"{trace[:half]}\n... {len(trace) - 2 * half} characters ...\n{trace[-half:]}"
    head = "".join(traceback.format_exception_only(error)).strip()
    return _storable(f"{head[:1_000]}\n\n{trace}".strip())


def _storable(text: str) -> str:
    """Text that PostgreSQL can hold: no NUL, no lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
