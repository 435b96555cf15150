"""The commands ``pgjobs retain ...``: how long ended jobs stay."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated

import typer

from pgjobs.cli.options import AsJson, Dsn, Schema, duration, one_of
from pgjobs.cli.output import as_dict, print_json, print_lines, print_rich, told_duration
from pgjobs.cli.session import ask
from pgjobs.cli.table import table
from pgjobs.database import Database
from pgjobs.job.job import Row

Status = Annotated[
    str,
    typer.Argument(
        parser=one_of("final status", ("completed", "failed", "cancelled")), metavar="STATUS",
        help="completed, failed or cancelled.",
    ),
]
JobType = Annotated[
    str | None,
    typer.Option(
        "--type", "-t", metavar="TYPE", help="Only jobs of this type; else all without a rule."
    ),
]


def list_rules(dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Lists how long ended jobs stay; those of a status without a rule stay for ever.

    [bold]pgjobs retain list[/bold]
    """
    rows = ask(dsn, schema, lambda database: database.retention())
    if as_json:
        print_json([as_dict(row) for row in rows])
    elif not rows:
        print_lines(
            "there is no rule, and ended jobs stay: make one by pgjobs retain set, or by app.retain"
        )
    else:
        print_rich(table(
            "status type keep !deleted_to ~error",
            (
                [row["status"], row["job_type"] or "(all others)", told_duration(row["keep_for"]),
                 row["deleted_to"], row["error"]]
                for row in rows
            ),
        ))


def set_rule(
    status: Status,
    keep_for: Annotated[
        timedelta,
        typer.Argument(
            parser=duration, metavar="DURATION", help="How long after its end a job stays: 7d, 4w."
        ),
    ],
    job_type: JobType = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Sets how long ended jobs stay: running workers delete older ones.

    [bold]pgjobs retain set completed 7d[/bold]

    [bold]pgjobs retain set completed 365d --type invoice[/bold]

    The rule of a type beats the one for all types.
    """
    row = ask(dsn, schema, lambda database: _set(database, status, keep_for, job_type))
    if as_json:
        print_json(as_dict(row))
    else:
        print_lines(
            f"{_jobs(status, job_type)} are deleted {told_duration(keep_for)} after their end"
        )


def remove(
    status: Status,
    job_type: JobType = None,
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Removes a rule: its jobs stay, or go by the rule for all types.

    [bold]pgjobs retain remove completed --type invoice[/bold]

    If code declares the rule, the next worker that starts makes it again.
    """
    row = ask(dsn, schema, lambda database: _remove(database, status, job_type))
    if as_json:
        print_json(as_dict(row) if row else None)
        return
    if row is None:
        print_lines(f"there is no such rule for {_jobs(status, job_type)}")
        return
    print_lines(f"the rule for {_jobs(status, job_type)} is removed")
    if row["is_declared"]:
        print_lines(
            "code has declared it: the next worker that starts makes it again, unless you remove it"
            " from the code too"
        )


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_rules, "set": set_rule, "remove": remove,
}


async def _set(
    database: Database, status: str, keep_for: timedelta, job_type: str | None
) -> Row:
    await database.retain(status, keep_for, job_type)
    row = await _found(database, status, job_type)
    assert row is not None
    return row


async def _remove(database: Database, status: str, job_type: str | None) -> Row | None:
    row = await _found(database, status, job_type)
    await database.retain(status, None, job_type)
    return row


async def _found(database: Database, status: str, job_type: str | None) -> Row | None:
    rows = await database.retention()
    of = (row for row in rows if (row["status"], row["job_type"]) == (status, job_type))
    return next(of, None)


def _jobs(status: str, job_type: str | None) -> str:
    return f"{status} jobs" + ("" if job_type is None else f" of type {job_type}")
