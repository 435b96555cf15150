"""What became of a job, in one sentence."""

from pgjobs.job.job import Row
from pgjobs.web import words

MAX_ERROR_CHARS = 200


def sentence(row: Row, reason: str | None, error: str | None) -> str:
    """Tells a row of ``jobs_list`` in words.

    ``reason``: why the job does not run, as ``jobs_why`` tells it first. ``error``: why it failed,
    if that may be seen.
    """
    status = row["status"]
    if status == "pending":
        return _pending(row, reason)
    if status == "blocked":
        return f"Waits for {_others(row['depends_on_left'])}{_because(reason)}."
    if status == "processing":
        since = words.clock(row["started_at"] or row["updated_at"])
        asked = ", and was asked to stop" if row["cancel_requested_at"] is not None else ""
        return f"{_before(row)}Runs since {since} on {words.printable(row['worker'])}{asked}."
    ended_at = "" if row["finished_at"] is None else f" at {words.clock(row['finished_at'])}"
    line = (error or "").split("\n", 1)[0][:MAX_ERROR_CHARS]
    told = f": {words.printable(line)}" if line else ""
    if status == "completed":
        return f"{_before(row)}Completed{ended_at}{_ran(row)}."
    if status == "failed":
        return f"Failed for good{ended_at}, in attempt {row['attempt']}{told}"
    if status == "cancelled":
        return f"Was cancelled{ended_at}{told}"
    return f"Is {status}{ended_at}."


def _pending(row: Row, reason: str | None) -> str:
    before = [
        *([f"failed {words.times(row['retry_count'])}"] if row["retry_count"] else []),
        *([f"was lost with its worker {words.times(row['crash_count'])}"]
          if row["crash_count"] else []),
    ]
    is_due = row["age"].total_seconds() >= 0
    again = " again" if before else ""
    if is_due:
        verb = f"waits to be tried{again} since" if before else "waits to start since"
        told = f"{verb} {words.clock(row['run_at'])}{_because(reason)}"
    else:
        verb = f"tries{again} at" if before else "starts at"
        told = f"{verb} {words.clock(row['run_at'])}"
    whole = ", ".join([" and ".join(before), told] if before else [told])
    return f"{whole[:1].upper()}{whole[1:]}."


def _others(count: int) -> str:
    if not count:
        return "other jobs"
    return "1 other job" if count == 1 else f"{count:,} other jobs"


def _because(reason: str | None) -> str:
    return "" if reason is None else f": {reason.rstrip('.')}"


def _before(row: Row) -> str:
    if not row["retry_count"]:
        return ""
    return f"Failed {words.times(row['retry_count'])} before. "


def _ran(row: Row) -> str:
    if row["started_at"] is None or row["finished_at"] is None:
        return ""
    ran = words.duration((row["finished_at"] - row["started_at"]).total_seconds())
    return f" after a run of {ran}"
