"""Commands for the installation: migrate, sql, grant, doctor."""

import re
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from pgjobs.cli.complaints import unreachable
from pgjobs.cli.options import AsJson, Dsn, Schema
from pgjobs.cli.output import as_dict, print_json, print_lines, print_rich, table
from pgjobs.cli.session import ask
from pgjobs.database import Database


class Rights(StrEnum):
    """The sets of rights that a role can get."""

    PRODUCER = "producer"
    WORKER = "worker"
    OBSERVER = "observer"
    ADMIN = "admin"


def migrate(
    dsn: Dsn = None,
    schema: Schema = "public",
    down: Annotated[
        int, typer.Option("--down", metavar="N", min=0, help="Roll back the last N migrations.")
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --down: do not ask.")] = False,
) -> None:
    """Installs or upgrades pgjobs; a second run changes nothing.

    [bold]pgjobs migrate[/bold]

    [bold]pgjobs migrate --schema queue[/bold]     if the application has its own table jobs

    [bold]pgjobs migrate --down 1[/bold]           rolls back the last migration
    """
    import psycopg

    from pgjobs.connection.dsn import resolve
    from pgjobs.schema.migrate import migrate as run

    if down and not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("a rollback loses data: give --yes where nobody can be asked")
        typer.confirm(
            "A rollback loses data. Rolling back the first migration drops all jobs. Go on?",
            abort=True,
        )
    try:
        names = run(dsn, schema, down=down)
    except psycopg.OperationalError as error:
        if error.sqlstate is not None:
            raise
        raise unreachable(resolve(dsn), error) from error
    print_lines(*(f"{'rolled back' if down else 'applied'} {name}" for name in names))
    if not down:
        print_lines(f"schema {schema} is up to date, pgjobs {code_version()}")
    elif not names:
        print_lines(f"nothing to roll back in schema {schema}")


def sql() -> None:
    """Prints the whole installation as one script for psql.

    [bold]pgjobs sql | psql -v schema=public[/bold]
    """
    from pgjobs.schema.migrate import script

    sys.stdout.write(script())


def grant(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="A role of the database.")],
    rights: Annotated[
        Rights, typer.Argument(metavar="producer|worker|observer|admin", show_default=False)
    ],
    dsn: Dsn = None,
    schema: Schema = "public",
) -> None:
    """Lets a role use the queue; the owner of the tables needs no grant.

    [bold]pgjobs grant web producer[/bold]     enqueues, and reads nothing

    [bold]pgjobs grant jobs worker[/bold]      claims and finishes jobs

    [bold]pgjobs grant grafana observer[/bold] reads all but payloads, results and errors

    [bold]pgjobs grant alice admin[/bold]      reads, cancels, retries, pauses, cleans up

    Grants add up: a worker whose handlers enqueue further jobs needs the grant of a producer too.
    Grant again after an upgrade, because a release may bring new functions.
    """
    ask(dsn, schema, lambda database: database.grant(role, rights.value))
    print_lines(f"{role} is {rights} in schema {schema}")


def doctor(dsn: Dsn = None, schema: Schema = "public", as_json: AsJson = False) -> None:
    """Says what is stuck, why, and what to do; exits with 1 if a verdict is bad.

    [bold]pgjobs doctor[/bold]

    [bold]pgjobs doctor --json | jq '.[] | select(.verdict != "ok")'[/bold]
    """

    async def question(database: Database) -> list[dict[str, Any]]:
        return [_compared(as_dict(row)) for row in await database.doctor()]

    rows = ask(dsn, schema, question)
    if as_json:
        print_json(rows)
    else:
        print_rich(table(
            "verdict check detail what_to_do",
            ([r["verdict"], r["check_name"], r["detail"], r["advice"]] for r in rows),
        ))
    bad = [row["check_name"] for row in rows if row["verdict"] == "bad"]
    if bad:
        print(f"pgjobs: bad: {', '.join(bad)}", file=sys.stderr)
        raise typer.Exit(1)


def code_version() -> str:
    """Returns the version of the SQL functions that this package installs."""
    from pgjobs.schema.migrate import sql_folder

    text = (sql_folder() / "functions" / "manage" / "jobs_version.sql").read_text(encoding="utf-8")
    found = re.search(r"return '(.+)'", text)
    return found[1] if found else "unknown"


def _compared(row: dict[str, Any]) -> dict[str, Any]:
    if row["check_name"] == "version" and row["detail"] != code_version():
        row["verdict"] = "warn"
        row["advice"] = (
            f"this command belongs to pgjobs {code_version()}: run pgjobs migrate if that is newer,"
            " else upgrade the package"
        )
    return row
