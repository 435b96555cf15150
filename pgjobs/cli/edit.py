"""The command ``pgjobs edit``: changes a job that waits."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from pgjobs.cli.fields import job_data
from pgjobs.cli.options import AsJson, Dsn, Id, Schema, duration, json_text, moment, whole_number
from pgjobs.cli.output import print_json, print_lines
from pgjobs.cli.session import ask
from pgjobs.database import Database
from pgjobs.job.job import Job


def edit(
    job_id: Id,
    payload: Annotated[
        str | None, typer.Option(parser=json_text, metavar="JSON", help="The whole new payload.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="N", help="From -9 to 9; higher runs first."),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="Q", help="Moves the job there.")
    ] = None,
    delay: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="DURATION", help="Earliest start, from now: 0s, 90s, 2h, 7d."
        ),
    ] = None,
    run_at: Annotated[
        datetime | None,
        typer.Option(
            parser=moment, metavar="MOMENT", help="Earliest start: 2030-01-31T08:00+01:00."
        ),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Changes a job that waits: its payload, priority, queue or earliest start.

    [bold]pgjobs edit 42 --delay 0s --priority 9[/bold]

    [bold]pgjobs edit 42 --payload '{"file_path": "b.pdf"}'[/bold]
    """
    if delay is not None and run_at is not None:
        raise typer.BadParameter("give --delay or --run-at, not both")
    start = run_at if delay is None else delay
    if payload is None and priority is None and queue is None and start is None:
        raise typer.BadParameter("say what to change: --payload, --priority, --queue, --delay or"
                                 " --run-at")

    async def change(database: Database) -> Job[Any]:
        return await database.edit(job_id, payload, priority, queue, start)

    job = ask(dsn, schema, change)
    if as_json:
        print_json(job_data(job))
    else:
        print_lines(f"job {job.id} is {job.status} in queue {job.queue} with priority"
                    f" {job.priority}")
