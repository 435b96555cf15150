"""What the log tells of the ends of runs, and of jobs that were taken back.

The text of an error is the user's, and so is its class. So each line is bounded, and what a
formatter would ask an exception is written here beforehand.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pgjobs.handler.run import Run
from pgjobs.handler.signals import Signal
from pgjobs.job.job import Row
from pgjobs.worker.description import class_name, describe, exc_info, one_line, printable
from pgjobs.worker.outcome import End, Outcome

log = logging.getLogger("pgjobs.worker")

Ended = tuple[int, int, Outcome]  # job id, attempt, how

_SECONDS_UP_TO = timedelta(minutes=2)
_MAX_WORKERS = 10  # of one recovery

_LEVELS = {
    End.COMPLETED: logging.DEBUG, End.COMMITTED: logging.DEBUG, End.RELEASED: logging.INFO,
    End.CANCELLED: logging.INFO, End.LOST: logging.WARNING,
}
# To look up a member of an enum costs four times as much as a global.
_COMPLETED = End.COMPLETED


def log_end(run: Run, outcome: Outcome) -> None:
    """Logs the end of a run, unless it failed: the database decides what follows then."""
    if outcome.end is _COMPLETED and not log.isEnabledFor(logging.DEBUG):
        return
    level = _LEVELS.get(outcome.end)
    if level is not None and log.isEnabledFor(level) and not run.is_abandoned:
        why = f"snoozed for {_span(outcome.after)}" if outcome.after else one_line(outcome.error)
        log.log(
            level, "%s %s in attempt %s after %.3f s%s",
            run, outcome.end.value, run.key[1], run.took_s, f": {why}" if why else "",
            extra=_fields(run, outcome.end.value),
        )


def became_of(row: Row, outcome: Outcome) -> str:
    """What became of a job whose run failed: the ``outcome`` of its line in the log."""
    if row["status"] in ("failed", "cancelled"):
        return str(row["status"])
    return "crashed" if outcome.end is End.CRASHED else "retried"


def log_failure(run: Run, outcome: Outcome, became: Row) -> None:
    """Logs what became of a job whose run failed: ERROR if nobody will run it again."""
    attempt, why = run.key[1], one_line(outcome.error)
    fields = _fields(run, became_of(became, outcome))
    match fields["outcome"]:
        case "failed":
            _log_error(
                "%s failed for good in attempt %s: %s", (run, attempt, why), outcome, fields
            )
        case "cancelled":
            log.info(
                "%s cancelled in attempt %s, after it had failed: %s", run, attempt, why,
                extra=fields,
            )
        case "crashed":
            log.warning(
                "%s crashed in attempt %s, crash %s, again in %s: %s", run, attempt,
                became["crash_count"], _span(became["due_in"]), why, extra=fields,
            )
        case _:
            log.warning(
                "%s failed in attempt %s, retry %s of %s in %s: %s", run, attempt,
                became["retry_count"], run.row["max_retries"], _span(became["due_in"]), why,
                extra=fields,
            )


def log_unwritten(ends: Sequence[Ended], what: str) -> None:
    """Logs ends that the database does not have, with their errors, which nobody else tells."""
    for job_id, attempt, outcome in ends:
        is_meant = outcome.may_be_committed and outcome.end is End.COMPLETED
        why = one_line(outcome.error)
        log.log(
            logging.DEBUG if is_meant else logging.WARNING,
            "job %s: the end of attempt %s (%s%s) %s", job_id, attempt, outcome.end.value,
            f": {why}" if why else "", what, extra={"job_id": job_id, "attempt": attempt},
        )


def log_recovered(recovered: Sequence[Mapping[str, Any]]) -> None:
    """Logs from which lost workers jobs were taken back: ERROR if any of the jobs has failed."""
    for lost in recovered[:_MAX_WORKERS]:
        failed = lost["failed"] or []
        log.log(
            logging.ERROR if failed else logging.WARNING,
            "took back jobs of worker %.100r, which was lost: %s%s",
            lost["worker"], _ids(lost["ids"], lost["jobs"]),
            f"; of these, lost too often, have failed for good: {_ids(failed)}" if failed else "",
        )
    if others := len(recovered[_MAX_WORKERS:]):
        log.warning("took back jobs of further workers, which were lost: %d", others)


def _log_error(line: str, args: tuple[object, ...], outcome: Outcome, fields: Any) -> None:
    if not log.isEnabledFor(logging.ERROR):
        return
    text, cause, kind = outcome.error, outcome.cause, type(outcome.cause)
    if cause is not None and issubclass(kind, Signal):
        # The job's error has only its reason, and no traceback.
        text = describe(cause)
    info = None if cause is None else exc_info(cause)
    more = text.partition("\n")[2].strip() or (class_name(kind) if info else "")
    file, number, function, _ = log.findCaller()
    record = log.makeRecord(
        log.name, logging.ERROR, file, number, line, args, info, function, fields
    )
    # Formatters take the text that is there, and do not ask the exception.
    record.exc_text = printable(more) or None
    try:
        log.handle(record)
    except BaseException:  # noqa: BLE001 - a handler of the log has asked an odd exception
        log.error(line, *args, extra=fields)


def _fields(run: Run, outcome: str) -> dict[str, Any]:
    return run.log_fields | {"duration": run.took_s, "outcome": outcome}


def _ids(ids: Sequence[int], count: int = 0) -> str:
    more = count - len(ids)
    return ", ".join(map(str, ids)) + (f" and {more} more" if more > 0 else "")


def _span(span: timedelta) -> str:
    """A duration as a person writes it."""
    if span < _SECONDS_UP_TO:
        return f"{span.total_seconds():.3g} s"
    return str(timedelta(seconds=round(span.total_seconds())))
