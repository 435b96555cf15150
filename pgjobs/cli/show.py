"""The command ``pgjobs show``: all of a job, with its attempts and its flow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import typer

from pgjobs.cli.fields import JSON_FIELDS, indented_json, job_data
from pgjobs.cli.flow import flow_lines
from pgjobs.cli.jobs import each_job
from pgjobs.cli.options import AsJson, Dsn, Ids, Schema
from pgjobs.cli.output import first_line, print_json, print_lines, print_rich
from pgjobs.cli.table import table
from pgjobs.database import Database
from pgjobs.errors import JobNotFound
from pgjobs.job.attempt import Attempt
from pgjobs.job.job import Job, JobStatus, Row
from pgjobs.job.reason import Reason


@dataclass(frozen=True)
class _Beside:
    """What is shown of a job beside its own row."""

    attempts: list[Attempt]
    parents: Row | None
    flow: list[str]
    waits: Reason | None


def show(job_ids: Ids, dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Shows jobs with all their fields, their attempts that failed or were lost, and their flow.

    [bold]pgjobs show 42 43[/bold]

    [bold]pgjobs show 42 --json | jq .payload[/bold]

    The flow has above the job those that it waits or has waited for, and below it those that wait
    for it.
    """
    is_first = True
    beside: dict[int, _Beside] = {}

    async def get(database: Database, job_id: int) -> Job[Any]:
        job = await database.get(job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        if not as_json:
            beside[job_id] = await _beside(database, job)
        return job

    def show_one(job: Job[Any]) -> None:
        nonlocal is_first
        found = beside.pop(job.id)
        print_rich(
            *([] if is_first else [""]), table("!field =value", _fields(job, found), headings=False)
        )
        if found.attempts:
            print_rich("", _history(found.attempts))
            print_lines(*_not_in_history(found.attempts))
        if found.flow:
            print_lines("", *found.flow)
        is_first = False

    jobs, all_found = each_job(dsn, schema, job_ids, get, None if as_json else show_one)
    if as_json and (jobs or len(job_ids) > 1):
        print_json(jobs if len(job_ids) > 1 else jobs[0])
    if not all_found:
        raise typer.Exit(1)


async def _beside(database: Database, job: Job[Any]) -> _Beside:
    waits = job.status in (JobStatus.PENDING, JobStatus.BLOCKED)
    return _Beside(
        [Attempt.from_row(row) for row in await database.history(job.id)],
        await database.flow(job.id),
        await flow_lines(database, job),
        (await database.why(job.id))[0] if waits else None,
    )


def _fields(job: Job[Any], found: _Beside) -> list[tuple[str, Any]]:
    """The fields that have a value, and what is told of the run, of the parents and of the wait."""
    fields = [
        (name, indented_json(value) if name in JSON_FIELDS else value)
        for name, value in job_data(job).items()
        if value is not None and (value or name != "headers")
    ]
    if (ran := _ran(job)) is not None:
        fields.append(("ran", ran))
    if found.parents is not None:
        fields.append(("parents", _told_parents(found.parents)))
    if found.waits is not None:
        fields.append(("waits", f"{found.waits.reason}: {found.waits.detail}"))
    return fields


def _ran(job: Job[Any]) -> timedelta | None:
    """For how long the last attempt ran; None if the job did not end by an attempt.

    A job that was cancelled while it was pending may have started before, and ended then.
    """
    if job.finished_at is None or job.started_at is None:
        return None
    if job.status == JobStatus.CANCELLED and job.cancel_requested_at is None:
        return None
    return job.finished_at - job.started_at


def _told_parents(flow: Row) -> str:
    """Tells how many parents a job has, what became of them, and what if one fails."""
    ended = [
        f"{flow[status]:,} {status}" for status in ("completed", "failed", "cancelled")
        if flow[status]
    ]
    counts = f" ({', '.join(ended)})" if ended else ""
    return f"{flow['parents']:,}{counts}, on_parent_failed {flow['on_parent_failed']}"


def _history(attempts: Iterable[Attempt]) -> Any:
    return table(
        ">attempt outcome ended >ran worker !kind ~error",
        ([a.attempt, a.outcome, a.ended_at.isoformat(" ", "seconds"),
          None if a.started_at is None else a.ended_at - a.started_at, a.worker, a.error_kind,
          first_line(a.error)]
         for a in attempts))


def _not_in_history(attempts: Sequence[Attempt]) -> list[str]:
    """Says why the history leaves out attempts between those that it has."""
    listed = {a.attempt for a in attempts}
    missing = [str(n) for n in range(min(listed), max(listed)) if n not in listed]
    if not missing:
        return []
    told = "Such an attempt was completed, snoozed or given back, and spent no retry."
    return [f"not listed: {', '.join(missing)}. {told}"]
