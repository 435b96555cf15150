"""What code declares: how it is written down, compared with the database, and made there."""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pgjobs.database import Database
from pgjobs.job.job import Row


@dataclass(frozen=True)
class Declared:
    """One declaration: its name, arguments of its SQL function, and a payload as JSON."""

    name: str
    arguments: dict[str, Any]
    payload: str | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of declarations. ``one``: how a line calls a declaration of some name."""

    one: str
    diff: Callable[[Database, str, str], Awaitable[Sequence[Row]]]
    declare: Callable[[Database, str, str, bool], Awaitable[list[str]]]
    remove: Callable[[Database, str, dict[str, Any]], Awaitable[object]]


async def _forget(database: Database, _name: str, rule: dict[str, Any]) -> None:
    await database.retain(rule["status"], None, rule.get("job_type"))


KINDS = {
    "schedules": Kind(
        "schedule {}", Database.schedules_diff, Database.schedules_declare,
        lambda database, name, _: database.unschedule(name),
    ),
    "retention": Kind(
        "retention of {}", Database.retention_diff, Database.retention_declare, _forget
    ),
    "limits": Kind(
        "limit of queue {}", Database.limits_diff, Database.limits_declare,
        lambda database, queue, _: database.limits_undeclare(queue),
    ),
}


def as_json(declared: Iterable[Declared]) -> str:
    """The declarations as a JSON array, as the database compares it."""
    return f"[{', '.join(map(_item, declared))}]"


def written(value: object) -> object:
    """The value of an argument as JSON has it."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():f} s"
    return value.isoformat() if isinstance(value, datetime) else value


def _item(declared: Declared) -> str:
    item = json.dumps({"name": declared.name, **declared.arguments})
    # The payload is JSON already, and is not read and written again.
    return item if declared.payload is None else f'{item[:-1]}, "payload": {declared.payload}}}'
