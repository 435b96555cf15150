"""Commands for queues, and for many jobs at once."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgjobs.cli.options import AsJson, Dsn, Schema, Yes, age, ask_first, duration, moment
from pgjobs.cli.output import (
    as_dict,
    print_json,
    print_lines,
    print_rich,
    told_count,
    told_moment,
)
from pgjobs.cli.session import ask
from pgjobs.cli.table import shortened, styled, table
from pgjobs.database import Database
from pgjobs.job.job import JobStatus, Row

if TYPE_CHECKING:
    from rich.table import Table

# A batch of this size ends soon and shows progress; a larger batch would not be faster.
_CLEANUP_BATCH = 10_000

_TOGETHER = "(all)"
SHORTER = {"processing": "running"}  # so that more columns have room in 80
# Where they have no room, the last ones are left out. ``oldest`` stands beside what it is about.
_STATES = ("due", "oldest", "later", "retrying", "processing", "failed", "completed", "cancelled")
_UNFINISHED = ("due", "later", "retrying", "throttled", "processing", "blocked")

_LONGEST_REASON = 24  # beside the queue

Queue = Annotated[str | None, typer.Argument(metavar="[QUEUE]", help="The queue's name.")]
AllQueues = Annotated[bool, typer.Option("--all", help="All queues, in place of QUEUE.")]


def pause(
    queue: Queue = None,
    every_queue: AllQueues = False,
    until: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="MOMENT", help="Then the queue opens by itself."),
    ] = None,
    length: Annotated[
        timedelta | None,
        typer.Option("--for", parser=duration, metavar="DURATION", help="In place of --until."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why: doctor, stats, top and list show it.")
    ] = None,
    yes: Yes = False,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Pauses a queue: workers claim no more of its jobs; running jobs finish.

    [bold]pgjobs pause emails --for 2h --reason 'the mail server moves'[/bold]

    [bold]pgjobs pause --all[/bold]

    Asks before it pauses a queue that no job is in, no worker serves and nobody has paused before.
    To pause a paused queue again sets the end and the reason anew.
    """
    if until is not None and length is not None:
        raise typer.BadParameter("give --until or --for, not both")
    _ask_if_unknown(queue, dsn, schema, yes)

    async def pause_each(database: Database) -> list[Row]:
        queues = await database.queues() if every_queue else [_named(queue)]
        return [await database.pause(name, until or length, reason) for name in queues]

    paused = ask(dsn, schema, pause_each)
    if as_json:
        _print_json([as_dict(row) for row in paused], every_queue)
    else:
        print_lines(*map(told_pause, paused))


def resume(
    queue: Queue = None,
    every_queue: AllQueues = False,
    yes: Yes = False,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Opens a paused queue again, and signals its workers.

    [bold]pgjobs resume emails[/bold]

    [bold]pgjobs resume --all[/bold]

    Asks before it opens a queue that no job is in, no worker serves and nobody has paused before.
    """
    _ask_if_unknown(queue, dsn, schema, yes)

    async def resume_each(database: Database) -> list[str]:
        queues = list(await database.paused()) if every_queue else [_named(queue)]
        for name in queues:
            await database.resume(name)
        return queues

    opened = ask(dsn, schema, resume_each)
    if as_json:
        _print_json([{"queue": name, "paused_at": None} for name in opened], every_queue)
    else:
        print_lines(*(f"queue {name} is open" for name in opened))


def told_pause(row: Row) -> str:
    """Tells a pause in a line: since when, until when, and why."""
    since = f"queue {row['queue']} is paused since {told_moment(row['paused_at'])}"
    until, reason = row["paused_until"], row["pause_reason"]
    return (
        since
        + ("" if until is None else f" until {told_moment(until)}")
        + ("" if reason is None else f": {reason}")
    )


def told_limit(row: Row) -> str:
    """Tells in a line which limit of a queue or a group lets nothing start now."""
    group = "" if row["group_key"] is None else f", group {row['group_key']}"
    return f"queue {row['queue']}{group}: {row['told']}"


def _print_json(documents: list[dict[str, Any]], every_queue: bool) -> None:
    print_json(documents if every_queue else documents[0])


def _named(queue: str | None) -> str:
    if queue is None:
        raise typer.BadParameter("give a QUEUE, or --all")
    return queue


def _ask_if_unknown(queue: str | None, dsn: str | None, schema: str, yes: bool) -> None:
    """Guards against a typing error, which would pause a queue that nobody uses."""
    if queue is None or yes:
        return
    if not ask(dsn, schema, lambda database: database.knows_queue(queue)):
        ask_first(f"no job is in queue {queue}, and no worker serves it", yes=yes)


def cleanup(
    older_than: Annotated[
        timedelta,
        typer.Option(
            "--older-than",
            parser=age,
            metavar="DURATION",
            help="Delete jobs that finished longer ago than this: 12h, 7d, 4w.",
        ),
    ] = "7d",  # type: ignore[assignment]  # typer parses the default as if it were typed
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            "-s",
            metavar="STATUS",
            help="completed, failed or cancelled; may be repeated. Default: completed.",
        ),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Deletes finished jobs, in batches that do not block other sessions.

    [bold]pgjobs cleanup[/bold]     deletes the jobs that were completed more than a week ago

    [bold]pgjobs cleanup --older-than 30d --status failed --status cancelled[/bold]

    In a crontab: [bold]15 3 * * * pgjobs cleanup[/bold]
    """
    statuses = status or [JobStatus.COMPLETED.value]

    async def delete(database: Database) -> int:
        from rich.console import Console
        from rich.progress import Progress

        # The same moment for all batches: meanwhile other jobs become old enough.
        finished_before = await database.moment(-older_than)
        on_terminal = sys.stderr.isatty()
        expected = await database.finished(statuses, before=older_than) if on_terminal else None
        deleted = 0
        with Progress(console=Console(stderr=True), transient=True, disable=not on_terminal) as bar:
            task = bar.add_task("deleting", total=expected)
            while count := await database.cleanup(
                older_than, statuses, _CLEANUP_BATCH, finished_before
            ):
                deleted += count
                bar.update(task, completed=deleted)
        return deleted

    deleted = ask(dsn, schema, delete)
    if as_json:
        print_json({"deleted": deleted})
    else:
        print_lines(told_count(deleted, "job is deleted", "jobs are deleted"))


def stats(dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Counts the jobs per queue, type and state: pending: due, later, retrying or throttled.

    [bold]pgjobs stats[/bold]

    [bold]pgjobs stats --json[/bold]
    """

    async def question(database: Database) -> tuple[Sequence[Row], dict[str, Row]]:
        return await database.stats(), await database.paused()

    rows, paused = ask(dsn, schema, question)
    if as_json:
        print_json([as_dict(row) | {"paused": row["queue"] in paused} for row in rows])
    elif not rows:
        print_lines("there are no jobs")
    else:
        print_rich(queue_table(rows, paused))


def queue_table(
    rows: Iterable[Row],
    paused: Mapping[str, Row],
    title: str | None = None,
    max_lines: int | None = None,
) -> "Table":
    """Turns the rows of Database.stats into one line per queue and type, one column per state.

    ``max_lines``: those with the most unfinished jobs.
    """
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    states = list(_STATES)
    for row in rows:
        # A queue or a type that is null stands for several that were counted together.
        place = (row["queue"] or _TOGETHER, row["job_type"] or _TOGETHER)
        line = lines.setdefault(place, {"capped": set()})
        line[row["state"]] = line.get(row["state"], 0) + row["count"]
        line["oldest"] = row["oldest_due"] or line.get("oldest")
        if row["capped"]:
            line["capped"].add(row["state"])
        # A state that is rare, as blocked is, has a column only where there are such jobs.
        if row["state"] not in states:
            states.append(row["state"])
    shown = sorted(lines)
    if max_lines is not None and len(lines) > max_lines:
        shown = sorted(sorted(shown, key=lambda key: _unfinished(lines[key]))[-max_lines:])
        title = f"{title} ({max_lines} of {len(lines)} lines; pgjobs stats has all)"
    names = " ".join(f">{SHORTER.get(state, state)}" for state in states)
    return table(
        # Whether the queue is paused stands beside the queue, in a column without a name.
        f"queue !- !type {names}",
        (
            [
                queue,
                _pause_beside(paused[queue]) if queue in paused else None,
                job_type,
                *(_told(lines[queue, job_type], state) for state in states),
            ]
            for queue, job_type in shown
        ),
        title,
    )


def _pause_beside(row: Row) -> Any:
    reason = row["pause_reason"]
    if reason is None:
        return styled("(paused)", "yellow")
    return styled(f"(paused: {shortened(reason, _LONGEST_REASON, in_middle=False)})", "yellow")


def _told(line: dict[str, Any], state: str) -> timedelta | int | str | None:
    if state == "oldest":
        oldest: timedelta | None = line["oldest"]
        return oldest
    count: int = line.get(state, 0)
    return f"{count}+" if state in line["capped"] else count


def _unfinished(line: dict[str, Any]) -> int:
    return sum(line.get(state, 0) for state in _UNFINISHED)
