"""The command ``pgjobs audit``: who has changed what."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from pgjobs.cli.options import AsJson, Dsn, Schema, age, at_least, job_id
from pgjobs.cli.output import (
    as_dict,
    first_line,
    print_error,
    print_json,
    print_lines,
    print_rich,
)
from pgjobs.cli.session import ask
from pgjobs.cli.table import table
from pgjobs.database import Database
from pgjobs.database.audit import MAX_READ_ROWS, who_changed
from pgjobs.job.job import Row


def audit(
    action: Annotated[
        list[str] | None,
        typer.Option(
            "--action", "-a", metavar="ACTION",
            help="Only this: cancel, retry, edit, pause and so on; may be repeated.",
        ),
    ] = None,
    who: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Only by this user or this database role."),
    ] = None,
    job: Annotated[
        int | None,
        typer.Option("--job", parser=job_id, metavar="ID", help="Only calls for this one job."),
    ] = None,
    since: Annotated[
        timedelta | None,
        typer.Option(parser=age, metavar="DURATION", help="Nothing older: 90m, 2h, 7d."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", parser=at_least(1), metavar="N", help="At most N calls."),
    ] = "20",  # type: ignore[assignment]  # typer parses the default as if it were typed
    before: Annotated[
        int | None,
        typer.Option("--before", metavar="ID", help="The next page: what is older than this row."),
    ] = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Lists who has cancelled, retried, paused or changed what, the newest first.

    [bold]pgjobs audit --since 2h[/bold]

    [bold]pgjobs audit --action pause --action resume --by anna[/bold]

    Calls by psql, by this command and by programs are all here, for 400 days. To be named beside
    your database role, set PGJOBS_ACTOR in the environment of your commands.
    """

    async def question(database: Database) -> tuple[Sequence[Row], int | None]:
        return await database.audit_search(
            action, who, job, since, limit, before, MAX_READ_ROWS
        )

    found, searched_to = ask(dsn, schema, question)
    if searched_to is not None:
        print_error(f"looked through {MAX_READ_ROWS} rows; for more: --before {searched_to}")
    rows = [as_dict(row) | {"filters": json.loads(row["filters"] or "{}")} for row in found]
    if as_json:
        print_json(rows)
    elif not rows:
        print_lines("no such calls" if searched_to is None else "no such calls so far")
    else:
        print_rich(table(
            ">id >age !by !action >jobs =what | at",
            (
                [row["id"], row["age"], who_changed(row), row["action"], row["jobs"], _what(row),
                 row["at"]]
                for row in rows
            ),
        ))


def _what(row: Mapping[str, Any]) -> str:
    """The job, what the call was given, and why, in words."""
    told = [] if row["job_id"] is None else [f"job {row['job_id']}"]
    for name, value in row["filters"].items():
        values = value if isinstance(value, list) else [value]
        told.append(f"{name} {' '.join(map(str, values))}")
    why = f": {first_line(row['reason'])}" if row["reason"] else ""
    return ", ".join(told) + why
