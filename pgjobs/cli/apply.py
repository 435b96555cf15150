"""The command ``pgjobs apply``: writes what an app declares, once per deploy."""

import json
from typing import Annotated, Any

import typer

from pgjobs.cli.loading import imported, load
from pgjobs.cli.options import AsJson, Dsn
from pgjobs.cli.output import print_json, print_lines
from pgjobs.cli.session import ask
from pgjobs.database import Database
from pgjobs.job.job import Row
from pgjobs.producer.declared import KINDS

_ACTIONS = {
    "new": "add", "changed": "change", "older": "change", "same": "keep",
    "undeclared": "undeclared",
}
_SIGNS = {"add": "+", "change": "~", "keep": "=", "undeclared": "-", "remove": "-"}


def apply(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="Where the App is: myproject.jobs:app.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be changed.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what this app declared once and no more.")
    ] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import", metavar="MODULE", help="Import this module too, for its declarations."
        ),
    ] = None,
    dsn: Dsn = None,
    schema: Annotated[
        str | None, typer.Option("--schema", metavar="S", help="Else the schema of the app.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Writes what an app declares, schedules, retention and limits, and shows what that changes.

    [bold]pgjobs apply myproject.jobs:app --dry-run[/bold]

    [bold]pgjobs apply myproject.jobs:app --prune[/bold]

    Says that this code is the newest: a worker that starts leaves alone what other code declared
    later. What was changed or paused by hand stays, until the code changes it too.
    """
    app = load(target)
    for module in modules or ():
        imported(module)
    app.connect_to(dsn, schema)

    async def change(database: Database) -> dict[str, list[dict[str, Any]]]:
        return {
            kind: await _apply(database, kind, app.declared_in, declared, dry_run, prune)
            for kind, declared in app.declarations.items()
        }

    changes = ask(app.dsn, app.schema, change)
    if as_json:
        print_json({"dry_run": dry_run, **changes})
        return
    for kind, of_kind in changes.items():
        print_lines(*(_line(kind, made) for made in of_kind))
    if not any(changes.values()):
        print_lines(f"{target} declares no {' and no '.join(changes)}")
    elif dry_run:
        print_lines("nothing was changed: --dry-run")


async def _apply(
    database: Database, kind: str, app: str, declared: str, dry_run: bool, prune: bool
) -> list[dict[str, Any]]:
    """Writes one kind of declarations, and returns what that changes."""
    of_kind = KINDS[kind]
    rows = await of_kind.diff(database, app, declared)
    changes = [_change(row, prune) for row in rows]
    if not dry_run:
        await of_kind.declare(database, app, declared, True)
        for row, made in zip(rows, changes, strict=True):
            if made["action"] == "remove":
                await of_kind.remove(database, row["name"], json.loads(row["declared"]))
    return changes


def _change(row: Row, prune: bool) -> dict[str, Any]:
    """What is done with a declaration, and each argument that changes: what it was and will be."""
    action = _ACTIONS[row["verdict"]]
    if action == "undeclared" and prune:
        action = "remove"
    by_hand = row["is_changed_by_hand"] and row["made"] is not None
    return {
        "name": row["name"],
        "action": action,
        "changes": {} if row["definition"] is None else _differences(row, "declared", "definition"),
        "changed_by_hand": row["is_changed_by_hand"],
        "changes_by_hand": _differences(row, "made", "current") if by_hand else {},
    }


def _differences(row: Row, before: str, after: str) -> dict[str, list[Any]]:
    """What differs between two columns of a row, JSON objects: the values of both."""
    old, new = (json.loads(row[side] or "{}") for side in (before, after))
    return {
        key: [old.get(key), new.get(key)]
        for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)
    }


def _line(kind: str, made: dict[str, Any]) -> str:
    told = {
        "add": "new", "change": "changed", "keep": "as declared", "remove": "removed",
        "undeclared": "not declared any more: --prune removes it",
    }[made["action"]]
    if made["action"] in ("add", "change"):
        told += ": " + ", ".join(
            f"{key} {_value(after)}" if before is None
            else f"{key} {_value(before)} → {_value(after)}"
            for key, (before, after) in made["changes"].items()
        )
    if made["changed_by_hand"]:
        by_hand = ", ".join(
            f"{key} {_value(before)} → {_value(after)}"
            for key, (before, after) in made["changes_by_hand"].items()
        )
        told += " (was changed by hand" + (f": {by_hand}" if by_hand else "") + (
            "; that stays)" if made["action"] == "keep" else ")"
        )
    name = made["name"] if kind == "schedules" else KINDS[kind].one.format(made["name"])
    return f"{_SIGNS[made['action']]} {name}: {told}"


def _value(value: object) -> str:
    if value is None:
        return "its default"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
