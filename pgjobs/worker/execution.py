"""Runs a job's handler and returns the outcome: one run, one outcome."""

import asyncio
import logging
import traceback
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from pgjobs.errors import InvalidArgument
from pgjobs.handler.held_job import HeldJob
from pgjobs.handler.run import RUNNING, Run, Stop
from pgjobs.handler.signals import Cancel, Fail, Retry, Snooze
from pgjobs.handler.task import Task
from pgjobs.job.payload import encode
from pgjobs.worker.outcome import COMMITTED, COMPLETED, LOST, RELEASED, End, Outcome

log = logging.getLogger("pgjobs.worker")

_MAX_TRACEBACK_CHARACTERS = 8_000
_PACKAGES_BEFORE_THE_HANDLER = ("pgjobs.worker", "pgjobs.handler", "concurrent.futures")


async def execute(task: Task[Any, Any], job: HeldJob[Any], run: Run) -> Outcome:
    """Runs the handler; raises only what stops the whole process."""
    if run.stop is not None:
        return _stopped(task, run)
    run.phase = RUNNING
    try:
        job._payload = task.decode(job._row["payload"])
    except (ValidationError, ValueError) as error:
        # No retry: the same payload would fail the same way.
        text = _storable(f"the payload is not valid: {error}")
        return Outcome(End.FAILED, error=text, retry=False)
    try:
        value = await task.run(job)
    except asyncio.CancelledError:
        return _stopped(task, run)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - also SystemExit: only this job fails
        return _failed(job, run, error)
    if run.is_committed:
        return COMMITTED
    if value is None:
        return COMPLETED
    try:
        return Outcome(End.COMPLETED, result=encode(value, "the result"))
    except InvalidArgument as error:
        return Outcome(End.FAILED, error=_storable(str(error)), retry=False)


def log_end(job: HeldJob[Any], outcome: Outcome, seconds: float) -> None:
    """Logs one line per run, at DEBUG if the job was completed."""
    level = logging.DEBUG if outcome.end in (End.COMPLETED, End.COMMITTED) else logging.INFO
    if log.isEnabledFor(level):
        head = outcome.error.split("\n", 1)[0]
        log.log(
            level, "job %s (%s) %s in attempt %s after %.3f s%s",
            job.id, job.job_type, outcome.end.value, job.attempt, seconds,
            f": {head}" if head else "",
            extra={**job.log_fields, "duration": seconds, "outcome": outcome.end.value},
        )


def _stopped(task: Task[Any, Any], run: Run) -> Outcome:
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
            return Outcome(End.FAILED, error=f"TimeoutError: still running after {task.timeout}")
        case None:
            # A worker that is cancelled itself first sets a reason for each of its jobs.
            return Outcome(End.FAILED, error="CancelledError: the handler cancelled itself")


def _failed(job: HeldJob[Any], run: Run, error: BaseException) -> Outcome:
    if run.is_committed:
        log.warning(
            "job %s raised after its transaction had completed it: %r", job.id, error,
            extra=job.log_fields,
        )
        return COMMITTED
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
    """Type and message in the first line, for lists; then the traceback from the handler."""
    frames = error.__traceback__
    while frames is not None and _package(frames) in _PACKAGES_BEFORE_THE_HANDLER:
        frames = frames.tb_next
    trace = "".join(traceback.format_exception(type(error), error, frames))
    if len(trace) > _MAX_TRACEBACK_CHARACTERS:
        half = _MAX_TRACEBACK_CHARACTERS // 2
        trace = f"{trace[:half]}\n... {len(trace) - 2 * half} characters ...\n{trace[-half:]}"
    head = "".join(traceback.format_exception_only(error)).strip()
    return _storable(f"{head[:1_000]}\n\n{trace}".strip())


def _package(frames: TracebackType) -> object:
    return frames.tb_frame.f_globals.get("__package__")


def _storable(text: str) -> str:
    """Text that PostgreSQL can hold: no NUL, no lone surrogates."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
