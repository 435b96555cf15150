"""A schedule as code declares it: checked as far as it can be without the database."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from pgjobs.errors import InvalidArgument
from pgjobs.producer.declared import Declared, written

Missed = Literal["latest", "all", "none"]
Overlap = Literal["skip", "allow", "replace"]

_TYPES: dict[str, type] = {
    "name": str, "cron": str, "every": timedelta, "timezone": str, "missed_within": timedelta,
    "starts_at": datetime, "ends_at": datetime,
}
_CHOICES = {"missed": get_args(Missed), "overlap": get_args(Overlap)}
# What has its default is left out: an argument that a later release adds is no change then.
_DEFAULTS = {"timezone": "UTC", "missed": "latest", "overlap": "skip"}


def declared(
    job: dict[str, Any], payload: str | None, name: str | None, moments: dict[str, Any]
) -> Declared:
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
        what: written(value) for what, value in moments.items()
        if value is not None and value != _DEFAULTS.get(what)
    }
    return Declared(name or job["job_type"], job | arguments, payload)


def _listed(choices: Iterable[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}"
