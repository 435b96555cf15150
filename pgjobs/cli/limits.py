"""The command ``pgjobs limit``: how many jobs may run at once or start in a time."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import typer

from pgjobs.cli.options import AsJson, Dsn, Schema, at_least, duration
from pgjobs.cli.output import as_dict, print_json, print_lines, written_duration
from pgjobs.cli.session import ask
from pgjobs.database import Database
from pgjobs.job.job import Row

_NONE = "none"


@dataclass(frozen=True)
class Count:
    """A new limit; None removes it."""

    jobs: int | None


@dataclass(frozen=True)
class Starts:
    """A new rate; None removes it."""

    count: int | None
    period: timedelta | None


def _count(text: str) -> Count:
    return Count(None if text == _NONE else at_least(0)(text))


def _rate(text: str) -> Starts:
    """Parses ``100/1m``, ``100/min`` and ``none``."""
    if text == _NONE:
        return Starts(None, None)
    count, slash, period = (part.strip() for part in text.partition("/"))
    if not slash or not period:
        raise typer.BadParameter(f"{text!r} is not a rate: write it like 100/1m, or none")
    return Starts(at_least(1)(count), duration(period if re.match(r"\d", period) else f"1{period}"))


def limit(
    queue: Annotated[
        str | None,
        typer.Argument(metavar="[QUEUE]", help="The queue's name; without it: all with limits."),
    ] = None,
    max_running: Annotated[
        Count | None,
        typer.Option(parser=_count, metavar="N", help="How many of its jobs run at once."),
    ] = None,
    max_running_per_group: Annotated[
        Count | None,
        typer.Option(parser=_count, metavar="N", help="How many of each group run at once."),
    ] = None,
    rate: Annotated[
        Starts | None,
        typer.Option(parser=_rate, metavar="N/TIME", help="How many start in any TIME: 100/1m."),
    ] = None,
    group_rate: Annotated[
        Starts | None,
        typer.Option(parser=_rate, metavar="N/TIME", help="How many of each group start."),
    ] = None,
    in_order: Annotated[
        bool | None,
        typer.Option(
            "--in-order/--no-order", help="Whether a job that waits for its retry holds its group."
        ),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Shows the limits of a queue, or changes those that are named; none removes a limit.

    [bold]pgjobs limit mail[/bold]

    [bold]pgjobs limit mail --rate 100/1m --max-running-per-group 1[/bold]

    [bold]pgjobs limit mail --rate none[/bold]
    """
    changes = _changes(max_running, max_running_per_group, rate, group_rate, in_order)
    if queue is None:
        if changes:
            raise typer.BadParameter("give the QUEUE whose limits you want to change")
        rows = list(ask(dsn, schema, lambda database: database.limits()))
    else:
        rows = [ask(dsn, schema, lambda database: _change(database, queue, changes))]
    if as_json:
        documents = [as_dict(row) for row in rows]
        print_json(documents if queue is None else documents[0])
    elif not rows:
        print_lines("no queue has limits: set one by pgjobs limit QUEUE, or by app.limit")
    else:
        print_lines(*map(_told, rows))


def _changes(
    max_running: Count | None,
    max_running_per_group: Count | None,
    rate: Starts | None,
    group_rate: Starts | None,
    in_order: bool | None,
) -> dict[str, Any]:
    """The arguments of ``jobs_limit`` that are to be changed."""
    changes: dict[str, Any] = {}
    if max_running is not None:
        changes["max_running"] = max_running.jobs
    if max_running_per_group is not None:
        changes["max_running_per_group"] = max_running_per_group.jobs
    if rate is not None:
        changes |= {"rate_count": rate.count, "rate_period": rate.period}
    if group_rate is not None:
        changes |= {"group_rate_count": group_rate.count, "group_rate_period": group_rate.period}
    if in_order is not None:
        changes["in_order"] = in_order
    return changes


async def _change(database: Database, queue: str, changes: dict[str, Any]) -> Row:
    rows = await database.limits(queue)
    limits = as_dict(rows[0]) if rows else {}
    if not changes:
        return limits or {"queue": queue}
    limits.pop("is_declared", None)
    return await database.limit(**{**limits, "queue": queue, **changes})


def _told(row: Row) -> str:
    limits = as_dict(row)
    told = [
        f"{jobs} running{whose}"
        for name, whose in (("max_running", ""), ("max_running_per_group", " per group"))
        if (jobs := limits.get(name)) is not None
    ] + [
        f"{count} starts{whose} in {written_duration(limits[f'{kind}_period'])}"
        for kind, whose in (("rate", ""), ("group_rate", " per group"))
        if (count := limits.get(f"{kind}_count")) is not None
    ]
    if limits.get("in_order"):
        told.append("in order")
    return f"queue {row['queue']}: {', '.join(told) or 'no limits'}"
