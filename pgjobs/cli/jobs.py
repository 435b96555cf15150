"""Commands about single jobs."""

import json
import sys
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from pgjobs.cli.complaints import complaint
from pgjobs.cli.options import AsJson, Dsn, JobTypes, Queues, Schema, duration, moment, reference
from pgjobs.cli.output import as_dict, brief, cell, print_json, put, say, table
from pgjobs.cli.session import ask
from pgjobs.database import Database
from pgjobs.errors import JobNotFound, PgjobsError
from pgjobs.job.job import Job

_FIELDS = (
    "id", "queue", "job_type", "status", "priority", "reference_type", "reference_id", "payload",
    "result", "error", "retry_count", "max_retries", "crash_count", "attempt", "backoff", "run_at",
    "unique_key", "unique_scope", "worker", "lease_until", "cancel_requested_at", "created_at",
    "updated_at", "finished_at",
)
_RETRY_BATCH = 10_000

Id = Annotated[int, typer.Argument(metavar="ID", help="The job's number.")]


def enqueue(
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="Which handler runs it.")],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help="What it is given; - reads it from stdin.")
    ] = "{}",
    queue: Annotated[str | None, typer.Option("--queue", "-q", metavar="Q")] = None,
    priority: Annotated[
        int | None, typer.Option(help="From -9 to 9; higher first.", metavar="N")
    ] = None,
    delay: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="Not before: 90s, 10m, 2h, 7d."),
    ] = None,
    run_at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="MOMENT", help="Not before: 2030-01-31T08:00+01:00."),
    ] = None,
    about: Annotated[
        str | None, typer.Option("--reference", metavar="TYPE:ID", help="What it is about.")
    ] = None,
    max_retries: Annotated[int | None, typer.Option(metavar="N")] = None,
    unique_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Where a job holds it, that one is answered.")
    ] = None,
    unique_scope: Annotated[
        str | None, typer.Option(metavar="live|kept", help="How long a job holds its key.")
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Add a job.

    [bold]pgjobs enqueue file_ingestion '{"file_path": "a.pdf"}'[/bold]

    [bold]pgjobs enqueue cleanup --delay 1h --unique-key nightly[/bold]

    [bold]generate | pgjobs enqueue import - --queue slow[/bold]
    """
    if delay is not None and run_at is not None:
        raise typer.BadParameter("give --delay or --run-at, not both")
    text = sys.stdin.read() if payload == "-" else payload
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise typer.BadParameter(
            f'the payload is not JSON ({error}): quote it like \'{{"file_path": "a.pdf"}}\''
        ) from None
    reference_type, reference_id = (None, None) if about is None else reference(about)
    job = ask(dsn, schema, lambda database: database.enqueue(
        job_type, text, queue, priority, run_at if delay is None else delay, reference_type,
        reference_id, max_retries, unique_key, unique_scope))
    if as_json:
        print_json(_data(job))
    else:
        say(f"job {job.id} is {job.status} in queue {job.queue}")


def list_jobs(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", metavar="STATUS", help="In this status; may be repeated."),
    ] = None,
    job_type: JobTypes = None,
    queue: Queues = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first.

    [bold]pgjobs list --status failed --type file_ingestion[/bold]

    [bold]pgjobs list --status failed --limit 1000 --json | jq .[].id[/bold]

    The age counts from the moment a job was due, was claimed, or was finished; one that is not due
    yet has a negative age.
    """
    rows = ask(dsn, schema, lambda database: database.listing(status, job_type, queue, limit))
    if as_json:
        print_json([as_dict(row) for row in rows])
    elif not rows:
        say("no such jobs")
    else:
        put(table(
            ">id queue type status >prio >tries >age worker reference error",
            ([r["id"], r["queue"], r["job_type"], r["status"], r["priority"],
              f"{r['attempt']}/{r['max_retries'] + 1}", r["age"], r["worker"],
              _reference(r["reference_type"], r["reference_id"]), brief(r["error"])]
             for r in rows)))


def show(job_id: Id, dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Show all of one job: payload, result, error and every moment of its life.

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
    grid = table("field value", [])
    grid.show_header = False
    for name, value in _data(job).items():
        if value is not None:
            is_json = name in ("payload", "result")
            text = json.dumps(value, indent=2, ensure_ascii=False) if is_json else value
            grid.add_row(cell(name), cell(text))
    put(grid)


def retry(
    job_ids: Annotated[list[int] | None, typer.Argument(metavar="ID")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed for good.")] = False,
    job_type: JobTypes = None,
    queue: Queues = None,
    since: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="With --failed: within the last …"),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
) -> None:
    """Run finished jobs again, now and with all their retries.

    [bold]pgjobs retry 42 43[/bold]

    [bold]pgjobs retry --failed --type file_ingestion --since 2h[/bold]
    """
    if failed == bool(job_ids):
        raise typer.BadParameter("give the jobs' numbers, or --failed for all that failed")
    if not failed and (job_type or queue or since is not None):
        raise typer.BadParameter("--type, --queue and --since go with --failed")

    async def retry_failed(database: Database) -> int:
        total = 0
        failed_since = None if since is None else await database.moment(-since)
        while True:
            count = await database.retry_many(job_type, queue, failed_since, _RETRY_BATCH)
            total += count
            if count < _RETRY_BATCH:
                return total

    if failed:
        say(f"{ask(dsn, schema, retry_failed)} jobs are pending again")
        return

    async def retry_each(database: Database) -> bool:
        well = True
        for job_id in job_ids or ():
            try:
                job = await database.retry(job_id)
                say(f"job {job.id} is {job.status} again")
            except PgjobsError as error:
                well = _failed(error)
        return well

    if not ask(dsn, schema, retry_each):
        raise typer.Exit(1)


def cancel(
    job_ids: Annotated[list[int], typer.Argument(metavar="ID")],
    reason: Annotated[str | None, typer.Option(help="Kept as the job's error.")] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
) -> None:
    """Cancel jobs; the worker of a running one is asked to stop it.

    [bold]pgjobs cancel 42 --reason "the file is gone"[/bold]
    """

    async def cancel_each(database: Database) -> bool:
        well = True
        for job_id in job_ids:
            try:
                job = await database.cancel(job_id, reason)
            except PgjobsError as error:
                well = _failed(error)
                continue
            if job.status == "processing":
                say(f"job {job.id} is running: {job.worker} was asked to stop it")
            else:
                say(f"job {job.id} is {job.status}")
        return well

    if not ask(dsn, schema, cancel_each):
        raise typer.Exit(1)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _failed(error: PgjobsError) -> bool:
    """One line for one job of several; the others go on."""
    found = complaint(error)
    if found is None or found.status != 1:
        raise error
    print(f"pgjobs: {found.line}", file=sys.stderr)
    return False


def _data(job: Job[Any]) -> dict[str, Any]:
    return {name: getattr(job, name) for name in _FIELDS}


def _reference(kind: str | None, number: int | None) -> str:
    return "" if kind is None and number is None else f"{kind or ''}:{number or ''}"
