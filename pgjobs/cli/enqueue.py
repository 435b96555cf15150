"""The command ``pgjobs enqueue``: adds a job, and says whether a worker will run it."""

import sys
from datetime import datetime, timedelta
from typing import Annotated, Any, get_args

import asyncpg
import typer

from pgjobs.cli.fields import job_data
from pgjobs.cli.options import (
    AsJson,
    Dsn,
    Schema,
    duration,
    job_id,
    json_text,
    moment,
    one_of,
    reference,
    whole_number,
)
from pgjobs.cli.output import print_json, print_lines, print_warning
from pgjobs.cli.session import ask
from pgjobs.connection.link import BROKEN
from pgjobs.database import Database
from pgjobs.job.job import Job
from pgjobs.producer.arguments import OnConflict, OnParentFailed, UniqueScope, reference_columns

_MAX_QUEUES_NAMED = 3


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
            parser=one_of("scope", get_args(UniqueScope)), metavar="SCOPE",
            help="Hold the key until the job ends (live, the default), is deleted (kept), begins "
            "(pending), or for --unique-for (period).",
        ),
    ] = None,
    unique_for: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="The length of the period."),
    ] = None,
    on_conflict: Annotated[
        str | None,
        typer.Option(
            parser=one_of("answer", get_args(OnConflict)),
            metavar="ANSWER",
            help="What to do with a job that holds the key: return (the default), raise, replace "
            "or debounce.",
        ),
    ] = None,
    max_wait: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="DURATION",
            help="With debounce: how long calls may put off the start, counted from the first."
        ),
    ] = None,
    group_key: Annotated[
        str | None,
        typer.Option("--group", metavar="GROUP", help="The group of the job within its queue."),
    ] = None,
    expires: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="DURATION", help="Latest start; then the job is cancelled."
        ),
    ] = None,
    depends_on: Annotated[
        list[int] | None,
        typer.Option(
            parser=job_id, metavar="ID", help="A job that must end before; may be repeated."
        ),
    ] = None,
    on_parent_failed: Annotated[
        str | None,
        typer.Option(
            parser=one_of("answer", get_args(OnParentFailed)), metavar="cancel|run|wait|only",
            help="What to do if one of those jobs fails; else cancel.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(parser=job_id, metavar="ID", help="The batch that the job is a member of."),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Adds a job.

    [bold]pgjobs enqueue file_ingestion '{"file_path": "a.pdf"}'[/bold]

    [bold]pgjobs enqueue cleanup --delay 1h --unique-key nightly[/bold]

    [bold]pgjobs enqueue report --depends-on 41 --depends-on 42 --on-parent-failed run[/bold]

    [bold]generate | pgjobs enqueue import - --queue slow[/bold]
    """
    if delay is not None and run_at is not None:
        raise typer.BadParameter("give --delay or --run-at, not both")
    text = json_text(sys.stdin.read() if payload == "-" else payload)
    columns = {} if about is None else reference_columns(reference(about))

    async def add(database: Database) -> tuple[Job[Any], str | None]:
        job = await database.enqueue(
            job_type, text, queue, priority, run_at if delay is None else delay,
            max_retries=max_retries, unique_key=unique_key, unique_scope=unique_scope,
            group_key=group_key, on_conflict=on_conflict, unique_for=unique_for,
            max_wait=max_wait, expires_at=expires, depends_on=depends_on or None,
            on_parent_failed=on_parent_failed, batch_id=batch, **columns)
        return job, await _why_it_waits(database, job)

    job, why = ask(dsn, schema, add)
    if as_json:
        print_json({**job_data(job), "is_new": job.is_new, "why_it_waits": why})
    else:
        which = "" if unique_key is None else " new and" if job.is_new else " not new:"
        print_lines(f"job {job.id} is{which} {job.status} in queue {job.queue}")
        if why is not None:
            print_warning(f"job {job.id} waits: {why}")


async def _why_it_waits(database: Database, job: Job[Any]) -> str | None:
    """Says why no worker takes the job; None if one does, or where this role may not know."""
    if job.status != "pending":
        return None
    try:
        workers = [w for w in await database.workers() if w["mode"] != "gone"]
    except (*BROKEN, asyncpg.PostgresError):
        # The job is there. An error would say that it is not, and who adds it again has two.
        return None
    able = [w for w in workers if w["job_types"] is None or job.job_type in w["job_types"]]
    queues = sorted({queue for w in able for queue in w["queues"]})
    if job.queue in queues:
        return None
    if not workers:
        return "no worker is connected; start one: pgjobs worker MODULE:APP"
    if not able:
        return (
            f"no connected worker has a handler for {job.job_type}; if the name is right, start one"
            " that has"
        )
    named = ", ".join(queues[:_MAX_QUEUES_NAMED]) + (", …" if queues[_MAX_QUEUES_NAMED:] else "")
    return (
        f"no connected worker has a handler for {job.job_type} in queue {job.queue}; workers have "
        f"one in {'queue' if len(queues) == 1 else 'the queues'} {named}: "
        f"pgjobs cancel {job.id}, then give --queue {queues[0]}"
    )
