"""Commands for single jobs."""

import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from pgjobs.cli.complaints import complaint
from pgjobs.cli.options import (
    AsJson,
    Dsn,
    Id,
    Ids,
    JobTypes,
    Queues,
    Schema,
    at_least,
    duration,
    json_text,
    moment,
    one_of,
    reference,
    whole_number,
)
from pgjobs.cli.output import as_dict, first_line, print_json, print_lines, print_rich
from pgjobs.cli.session import ask
from pgjobs.cli.table import table
from pgjobs.database import JOB_COLUMNS, Database
from pgjobs.database.reading import MAX_READ_JOBS
from pgjobs.errors import JobNotFound, PgjobsError
from pgjobs.job.job import Job, JobStatus, Row
from pgjobs.producer.arguments import reference_columns

_FIELDS = [column.strip().removesuffix("::text") for column in JOB_COLUMNS.split(",")]
_JSON_FIELDS = {"payload", "result", "headers", "progress"}
_RETRY_BATCH = 10_000


def enqueue(
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="The type of the job.")],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help="The payload; - reads it from stdin.")
    ] = "{}",
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="Q", help="Else the queue default.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="N", help="From -9 to 9; higher runs first."),
    ] = None,
    delay: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="Earliest start: 90s, 10m, 2h, 7d."),
    ] = None,
    run_at: Annotated[
        datetime | None,
        typer.Option(
            parser=moment, metavar="MOMENT", help="Earliest start: 2030-01-31T08:00+01:00."
        ),
    ] = None,
    about: Annotated[
        str | None, typer.Option("--reference", metavar="TYPE:ID", help="The entity of the job.")
    ] = None,
    max_retries: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="N", help="Retries after failures; else 3."),
    ] = None,
    unique_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="If a job holds this key, print that job and add none."),
    ] = None,
    unique_scope: Annotated[
        str | None,
        typer.Option(
            parser=one_of("scope", ("live", "kept")), metavar="live|kept",
            help="Hold the key until the job ends, or until it is deleted."
        ),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Adds a job.

    [bold]pgjobs enqueue file_ingestion '{"file_path": "a.pdf"}'[/bold]

    [bold]pgjobs enqueue cleanup --delay 1h --unique-key nightly[/bold]

    [bold]generate | pgjobs enqueue import - --queue slow[/bold]
    """
    if delay is not None and run_at is not None:
        raise typer.BadParameter("give --delay or --run-at, not both")
    text = json_text(sys.stdin.read() if payload == "-" else payload)
    columns = {} if about is None else reference_columns(reference(about))
    job = ask(dsn, schema, lambda database: database.enqueue(
        job_type, text, queue, priority, run_at if delay is None else delay,
        max_retries=max_retries, unique_key=unique_key, unique_scope=unique_scope, **columns))
    if as_json:
        print_json({**_data(job), "is_new": job.is_new})
    else:
        which = "" if unique_key is None else " new and" if job.is_new else " not new:"
        print_lines(f"job {job.id} is{which} {job.status} in queue {job.queue}")


def list_jobs(
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", "-s", parser=one_of("status", JobStatus), metavar="STATUS",
            help="Only this status; may be repeated.",
        ),
    ] = None,
    job_type: JobTypes = None,
    queue: Queues = None,
    about: Annotated[
        str | None, typer.Option("--reference", metavar="TYPE:ID", help="Jobs about this entity.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", parser=at_least(1), metavar="N", help="At most N jobs."),
    ] = "20",  # type: ignore[assignment]  # typer parses the default as if it were typed
    before: Annotated[
        int | None,
        typer.Option("--before", metavar="ID", help="The next page: what comes after this job."),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Lists jobs, the newest first; ended ones: the last ended first; pending ones: as claims do.

    [bold]pgjobs list --status failed --type file_ingestion[/bold]

    [bold]pgjobs list --status failed --limit 1000 --json | jq .[].id[/bold]

    [bold]pgjobs list --reference order:4711[/bold]

    The age of a job counts from the moment when it became due, was claimed, or ended. Of a job that
    is not due yet, the age says when it will be: in 13h.
    """
    columns = {} if about is None else reference_columns(reference(about))
    rows, searched_to = ask(dsn, schema, lambda database: database.listing(
        status, job_type, queue, limit, before=before, **columns))
    if searched_to is not None:
        print(
            f"pgjobs: looked through {MAX_READ_JOBS} jobs; for more: --before {searched_to}",
            file=sys.stderr,
        )
    if as_json:
        print_json([as_dict(row) for row in rows])
    elif not rows:
        print_lines("no such jobs" if searched_to is None else "no such jobs so far")
    else:
        print_rich(table(
            ">id queue !type !status >prio >tries >age worker reference ~error",
            ([r["id"], r["queue"], r["job_type"], r["status"], r["priority"],
              f"{r['attempt']}/{r['max_retries'] + 1}", r["age"], r["worker"],
              _reference(r), first_line(r["error"])]
             for r in rows)))


def show(job_id: Id, dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Shows one job with all its fields.

    [bold]pgjobs show 42[/bold]

    [bold]pgjobs show 42 --json | jq .payload[/bold]
    """

    async def question(database: Database) -> Job[Any]:
        job = await database.get(job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job

    job = ask(dsn, schema, question)
    if as_json:
        print_json(_data(job))
        return
    fields = (
        (name, _as_text(value) if name in _JSON_FIELDS else value)
        for name, value in _data(job).items()
        if value is not None and (value or name != "headers")
    )
    print_rich(table("!field =value", fields, headings=False))


def retry(
    job_ids: Ids = None,  # type: ignore[assignment]  # typer makes an empty list of it
    failed: Annotated[bool, typer.Option("--failed", help="All failed jobs.")] = False,
    job_type: JobTypes = None,
    queue: Queues = None,
    since: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="With --failed: no older failures."),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Runs finished jobs again, now and with all their retries.

    [bold]pgjobs retry 42 43[/bold]

    [bold]pgjobs retry --failed --type file_ingestion --since 2h[/bold]
    """
    if failed == bool(job_ids):
        raise typer.BadParameter("give the ids of jobs, or --failed for all failed jobs")
    if not failed and (job_type or queue or since is not None):
        raise typer.BadParameter("--type, --queue and --since go with --failed")

    async def retry_failed(database: Database) -> int:
        failed_since = None if since is None else await database.moment(-since)
        total, count = 0, _RETRY_BATCH
        # A batch may hold jobs that it does not retry: only one of two jobs with the same key.
        while count:
            count = await database.retry_many(job_type, queue, failed_since, _RETRY_BATCH)
            total += count
        return total

    if failed:
        total = ask(dsn, schema, retry_failed)
        if as_json:
            print_json({"retried": total})
        else:
            print_lines(f"{total} jobs are pending again")
        return

    def told(job: Job[Any]) -> str:
        return f"job {job.id} is {job.status} again"

    _for_each(dsn, schema, job_ids, Database.retry, told, as_json=as_json)


def cancel(
    job_ids: Ids,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Written to the error of the job.")
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Cancels jobs; asks the worker of a running job to stop it.

    [bold]pgjobs cancel 42 --reason "the file is gone"[/bold]
    """

    async def cancel_one(database: Database, job_id: int) -> Job[Any]:
        return await database.cancel(job_id, reason)

    def told(job: Job[Any]) -> str:
        if job.status == "processing":
            return f"job {job.id} is running: {job.worker} was asked to stop it"
        return f"job {job.id} is {job.status}"

    _for_each(dsn, schema, job_ids, cancel_one, told, as_json=as_json)


def _for_each(
    dsn: str | None,
    schema: str,
    job_ids: Iterable[int],
    change: Callable[[Database, int], Awaitable[Job[Any]]],
    told: Callable[[Job[Any]], str],
    *,
    as_json: bool,
) -> None:
    """Changes each job, and tells or prints it; goes on after a job that fails."""
    changed: list[dict[str, Any]] = []

    async def change_all(database: Database) -> bool:
        all_changed = True
        for job_id in job_ids:
            try:
                job = await change(database, job_id)
            except PgjobsError as error:
                found = complaint(error)
                if found is None or found.status != 1:
                    raise
                print(f"pgjobs: {found.line}", file=sys.stderr)
                all_changed = False
            else:
                changed.append(_data(job))
                if not as_json:
                    print_lines(told(job))
        return all_changed

    all_changed = ask(dsn, schema, change_all)
    if as_json:
        print_json(changed)
    if not all_changed:
        raise typer.Exit(1)


def _as_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _data(job: Job[Any]) -> dict[str, Any]:
    return {name: _shown(job, name) for name in _FIELDS}


def _shown(job: Job[Any], name: str) -> Any:
    """The field; as text if Python cannot read or write what PostgreSQL's jsonb may hold."""
    try:
        value = getattr(job, name)
        json.dumps({name: value}, indent=2, default=str)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of too many digits
        return job._value(name)
    return value


def _reference(row: Row) -> str:
    entity = row["reference_id"] if row["reference_key"] is None else row["reference_key"]
    kind = row["reference_type"]
    return "" if kind is None and entity is None else f"{kind or ''}:{entity or ''}"
