"""Commands for the installation: migrate, sql, grant, doctor."""

import re
import sys
from typing import Annotated, Any

import typer

from pgjobs.cli.complaints import unreachable
from pgjobs.cli.options import AsJson, Dsn, Schema, Yes, ask_first, at_least, one_of
from pgjobs.cli.output import as_dict, print_error, print_json, print_lines, print_rich
from pgjobs.cli.session import ask
from pgjobs.cli.table import table, told_advice
from pgjobs.database import Database

_RIGHTS = ("producer", "worker", "observer", "admin", "reader")


def migrate(
    dsn: Dsn = None,
    schema: Schema = "public",
    down: Annotated[
        int,
        typer.Option(
            "--down", parser=at_least(0), metavar="N", show_default=False,
            help="Roll back the last N migrations.",
        ),
    ] = "0",  # type: ignore[assignment]  # typer parses the default as if it were typed
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Installs or upgrades pgjobs; a second run changes nothing.

    [bold]pgjobs migrate[/bold]

    [bold]pgjobs migrate --schema queue[/bold]     if the application has its own table jobs

    [bold]pgjobs migrate --down 1[/bold]           rolls back the last migration
    """
    import psycopg

    from pgjobs.connection.dsn import resolve
    from pgjobs.schema.migrate import migrate as run

    if down:
        ask_first(
            "a rollback loses data, and that of the first migration drops all jobs", yes=yes
        )
    try:
        names = run(dsn, schema, down=down)
    except psycopg.OperationalError as error:
        if error.sqlstate is not None:
            raise
        raise unreachable(resolve(dsn), error) from error
    done = "rolled_back" if down else "applied"
    if as_json:
        print_json({"schema": schema, done: names, "version": None if down else code_version()})
        return
    print_lines(*(f"{'rolled back' if down else 'applied'} {name}" for name in names))
    if not down:
        print_lines(f"schema {schema} is up to date, pgjobs {code_version()}")
    elif not names:
        print_lines(f"nothing to roll back in schema {schema}")


def sql(as_json: AsJson = False) -> None:
    """Prints the whole installation as one script for psql.

    [bold]pgjobs sql | psql -v schema=public[/bold]
    """
    from pgjobs.schema.migrate import script

    if as_json:
        print_json({"version": code_version(), "script": script()})
    else:
        sys.stdout.write(script())


def grant(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="A role of the database.")],
    rights: Annotated[
        str,
        typer.Argument(
            parser=one_of("set of rights", _RIGHTS), metavar="RIGHTS",
            help=f"One of {', '.join(_RIGHTS)}.",
        ),
    ],
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Lets a role use the queue; the owner of the tables needs no grant.

    [bold]pgjobs grant web producer[/bold]     enqueues, and reads nothing

    [bold]pgjobs grant jobs worker[/bold]      claims and finishes jobs

    [bold]pgjobs grant grafana observer[/bold] reads all but payloads, results and errors

    [bold]pgjobs grant alice admin[/bold]      reads, cancels, retries, pauses, cleans up

    Grants add up: a worker whose handlers enqueue further jobs needs the grant of a producer too.
    Grant again after an upgrade, because a release may bring new functions.
    """
    ask(dsn, schema, lambda database: database.grant(role, rights))
    if as_json:
        print_json({"role": role, "rights": rights, "schema": schema})
    else:
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
            "!verdict !check =detail_and_what_to_do",
            ([row["verdict"], row["check_name"], told_advice(row["detail"], row["advice"])]
             for row in rows),
        ))
    bad = [row["check_name"] for row in rows if row["verdict"] == "bad"]
    if bad:
        print_error(f"bad: {', '.join(bad)}")
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
