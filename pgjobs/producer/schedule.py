"""A schedule as code declares it: checked as far as it can be without the database."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from pgjobs.errors import InvalidArgument

Missed = Literal["latest", "all", "none"]
Overlap = Literal["skip", "allow", "replace"]

_TYPES: dict[str, type] = {
    "name": str, "cron": str, "every": timedelta, "timezone": str, "missed_within": timedelta,
    "starts_at": datetime, "ends_at": datetime,
}
_CHOICES = {"missed": get_args(Missed), "overlap": get_args(Overlap)}
# What has its default is left out: an argument that a later release adds is no change then.
_DEFAULTS = {"timezone": "UTC", "missed": "latest", "overlap": "skip"}


@dataclass(frozen=True)
class Schedule:
    """A schedule as code declares it: arguments of ``jobs_schedule``, and the payload as JSON."""

    name: str
    arguments: dict[str, Any]
    payload: str | None


def declared(
    job: dict[str, Any], payload: str | None, name: str | None, moments: dict[str, Any]
) -> Schedule:
    """Makes a schedule for jobs like ``job``; raises ``InvalidArgument``.

    ``moments``: when it enqueues them, as the arguments of ``jobs_schedule``.
    """
    given = {"name": name, **moments}
    for what, value in given.items():
        kind = _TYPES.get(what, str)
        if value is not None and not isinstance(value, kind):
            raise InvalidArgument(f"{what} must be of type {kind.__name__}, not {value!r}")
        if what in _CHOICES and value not in _CHOICES[what]:
            raise InvalidArgument(f"{what} must be {_listed(_CHOICES[what])}, not {value!r}")
        if isinstance(value, datetime) and value.tzinfo is None:
            raise InvalidArgument(f"{what} must have a time zone, and {value} has none")
    if (moments["cron"] is None) == (moments["every"] is None):
        raise InvalidArgument(
            'give either cron or every: @app.schedule("0 3 * * *") or'
            " @app.schedule(every=timedelta(hours=1))"
        )
    if name == "":
        raise InvalidArgument("name must not be empty")
    arguments = {
        what: _written(value) for what, value in moments.items()
        if value is not None and value != _DEFAULTS.get(what)
    }
    return Schedule(name or job["job_type"], job | arguments, payload)


def as_json(schedules: Iterable[Schedule]) -> str:
    """The schedules as a JSON array, as the database compares it."""
    return f"[{', '.join(map(_item, schedules))}]"


def _item(schedule: Schedule) -> str:
    item = json.dumps({"name": schedule.name, **schedule.arguments})
    # The payload is JSON already, and is not read and written again.
    return item if schedule.payload is None else f'{item[:-1]}, "payload": {schedule.payload}}}'


def _written(value: object) -> object:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():f} s"
    return value.isoformat() if isinstance(value, datetime) else value


def _listed(choices: Iterable[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}"
