"""The commands ``pgjobs schedule ...``: what the clock enqueues."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from pgjobs.cli.options import (
    AsJson,
    Dsn,
    Schema,
    Yes,
    ask_first,
    duration,
    json_text,
    moment,
    one_of,
    whole_number,
)
from pgjobs.cli.output import (
    as_dict,
    first_line,
    print_json,
    print_lines,
    print_rich,
    told_moment,
    written_duration,
)
from pgjobs.cli.session import ask
from pgjobs.cli.table import styled, table
from pgjobs.database import Database
from pgjobs.job.job import Row

_OVERDUE = timedelta(minutes=1)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Cron = Annotated[
    str | None,
    typer.Option("--cron", metavar="CRON", help="Five fields, or @hourly, @daily and the like."),
]
Every = Annotated[
    timedelta | None,
    typer.Option("--every", parser=duration, metavar="DURATION", help="In place of --cron: 90s."),
]
Timezone = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Whose clocks --cron means: Europe/Berlin; else UTC."),
]


def list_schedules(dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Lists all schedules.

    [bold]pgjobs schedule list[/bold]

    [bold]pgjobs schedule list --json | jq '.[] | select(.error)'[/bold]
    """
    rows = ask(dsn, schema, lambda database: database.schedules())
    if as_json:
        print_json([as_dict(row) for row in rows])
    elif not rows:
        print_lines("there are no schedules: make one by pgjobs schedule add, or by @app.schedule")
    else:
        print_rich(table(
            "!name - when !type next | zone queue last",
            (
                [row["name"], _state(row), _when(row), row["job_type"], row["next_at"],
                 _zone(row), row["queue"], row["last_at"]]
                for row in rows
            ),
        ))
        print_lines(*(
            f"schedule {row['name']}: {first_line(row['error'])}" for row in rows if row["error"]
        ))


def add(
    name: Name,
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="The type of its jobs.")],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help="The payload of its jobs.")
    ] = "{}",
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="Q", help="Else the queue default.")
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="N", help="From -9 to 9; higher runs first."),
    ] = None,
    max_retries: Annotated[
        int | None,
        typer.Option(parser=whole_number, metavar="N", help="Retries after failures; else 3."),
    ] = None,
    missed: Annotated[
        str | None,
        typer.Option(
            parser=one_of("choice", ("latest", "all", "none")), metavar="latest|all|none",
            help="Which ticks to make up for after no worker ran; else the latest.",
        ),
    ] = None,
    missed_within: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="DURATION", help="But none that is older than this."),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            parser=one_of("choice", ("skip", "allow", "replace")), metavar="skip|allow|replace",
            help="At a tick while the last job has not ended; else skip.",
        ),
    ] = None,
    starts_at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="MOMENT", help="No tick before this.")
    ] = None,
    ends_at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="MOMENT", help="No tick after this.")
    ] = None,
    yes: Yes = False,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Makes a schedule, or changes one: what is not given gets its default.

    [bold]pgjobs schedule add nightly report --cron '0 3 * * *' --timezone Europe/Berlin[/bold]

    [bold]pgjobs schedule add poll fetch '{"feed": 7}' --every 90s --overlap skip[/bold]

    Asks before it changes a schedule.
    """
    text = json_text(payload)

    async def exists(database: Database) -> bool:
        return any(row["name"] == name for row in await database.schedules())

    if not yes and ask(dsn, schema, exists):
        ask_first(f"there is a schedule {name}, and what you do not give gets its default", yes=yes)
    row = ask(dsn, schema, lambda database: database.schedule(
        name, job_type, cron, every, timezone, text, queue, priority, max_retries, missed=missed,
        missed_within=missed_within, overlap=overlap, starts_at=starts_at, ends_at=ends_at))
    _tell(row, as_json)


def remove(
    name: Name, dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False
) -> None:
    """Removes a schedule; the jobs that it has added stay.

    [bold]pgjobs schedule remove nightly[/bold]

    If code declares the schedule, the next worker that starts makes it again: pause it instead.
    """
    row = ask(dsn, schema, lambda database: database.unschedule(name))
    if as_json:
        print_json(as_dict(row))
        return
    print_lines(f"schedule {name} is removed")
    if row["declared"] is not None:
        print_lines(
            "code has declared it: the next worker that starts makes it again, unless you remove it"
            " from the code too"
        )


def pause(
    name: Name, dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False
) -> None:
    """Pauses a schedule: its ticks pass, and are not made up for later.

    [bold]pgjobs schedule pause nightly[/bold]
    """
    _tell(ask(dsn, schema, lambda database: database.schedule_pause(name)), as_json)


def resume(
    name: Name, dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False
) -> None:
    """Lets a paused schedule go on, from its next tick.

    [bold]pgjobs schedule resume nightly[/bold]
    """
    _tell(ask(dsn, schema, lambda database: database.schedule_resume(name)), as_json)


def run(name: Name, dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Adds one job of a schedule now, also while it is paused; its ticks stay as they are.

    [bold]pgjobs schedule run nightly[/bold]

    Where the jobs may not overlap and one has not ended, this one is printed and none is added.
    """
    job = ask(dsn, schema, lambda database: database.schedule_run(name))
    if as_json:
        print_json({"id": job.id, "status": job.status, "queue": job.queue})
    else:
        print_lines(f"job {job.id} is {job.status} in queue {job.queue}")


def preview(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A schedule; else give --cron or --every."),
    ] = None,
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Shows the next five ticks, by the clocks of the time zone and in UTC.

    [bold]pgjobs schedule preview nightly[/bold]

    [bold]pgjobs schedule preview --cron '30 2 * * sun' --timezone Europe/Berlin[/bold]
    """
    if name is not None and (cron or every or timezone):
        raise typer.BadParameter("give NAME, or --cron or --every, not both")
    rows = ask(dsn, schema, lambda database: database.schedule_preview(name, cron, every, timezone))
    if as_json:
        print_json([as_dict(row) for row in rows])
    elif not rows:
        print_lines("no tick is left")
    else:
        print_rich(table(
            "local_time UTC",
            ([_shown(row["local_time"]), _shown(row["at"].astimezone(UTC))] for row in rows),
        ))


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_schedules, "add": add, "remove": remove, "pause": pause, "resume": resume,
    "run": run, "preview": preview,
}


def _tell(row: Row, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(row))
    elif row["paused_at"] is not None:
        print_lines(f"schedule {row['name']} is paused")
    elif row["next_at"] is None:
        print_lines(f"schedule {row['name']} has no tick left")
    else:
        print_lines(f"schedule {row['name']} is next due at {told_moment(row['next_at'])}")


def _shown(at: datetime) -> str:
    return f"{at:%a %Y-%m-%d %H:%M:%S}"


def _when(row: Row) -> str:
    return row["cron"] or f"every {written_duration(row['every'])}"


def _zone(row: Row) -> str | None:
    """The time zone, if it matters and is not the default."""
    return None if row["cron"] is None or row["timezone"] == "UTC" else row["timezone"]


def _state(row: Row) -> Any:
    if row["paused_at"] is not None:
        return styled("(paused)", "yellow")
    if row["next_at"] is None:
        return styled("(over)", "dim")
    if row["next_at"] < datetime.now(UTC) - _OVERDUE:
        return styled("(overdue)", "red")
    return None
