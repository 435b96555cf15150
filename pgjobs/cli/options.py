"""Options that several commands share, and the parsers of option values."""

import re
from datetime import datetime, timedelta
from typing import Annotated

import typer

# As people write them, and as PostgreSQL does.
_NAMES = {
    timedelta(milliseconds=1): "ms millisecond milliseconds",
    timedelta(seconds=1): "s sec secs second seconds",
    timedelta(minutes=1): "m min mins minute minutes",
    timedelta(hours=1): "h hour hours",
    timedelta(days=1): "d day days",
    timedelta(weeks=1): "w week weeks",
}
_UNITS = {name: unit for unit, names in _NAMES.items() for name in names.split()}
_PART = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*({'|'.join(sorted(_UNITS, reverse=True))})(?![a-z])")


def duration(text: str) -> timedelta:
    """Parses ``90``, ``90s``, ``1h30m``, ``7d``, ``30 days``; a plain number is in seconds."""
    try:
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
            return timedelta(seconds=float(text))
        parts = _PART.findall(text)
        if parts and not _PART.sub("", text).strip():
            return sum((float(n) * _UNITS[unit] for n, unit in parts), timedelta())
    except OverflowError:
        pass
    raise typer.BadParameter(f"{text!r} is not a duration: write it like 90s, 10m, 1h30m or 7d")


def moment(text: str) -> datetime:
    """Parses an ISO 8601 moment; the time zone is required."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is not a moment with a time zone: write it like 2030-01-31T08:00+01:00"
        )
    return found


def reference(text: str) -> tuple[str, int | str]:
    """Parses ``file_upload:42``, or ``order:8c1b`` where the entity has no number."""
    kind, _, entity = text.partition(":")
    if not (kind and entity):
        raise typer.BadParameter(f"{text!r} is not a reference: write it like file_upload:42")
    return kind, int(entity) if re.fullmatch(r"-?[0-9]+", entity) else entity


Dsn = Annotated[
    str | None,
    typer.Option("--dsn", metavar="DSN", help="The database; else PGJOBS_DSN or DATABASE_URL."),
]
Schema = Annotated[
    str, typer.Option("--schema", metavar="S", help="The schema in which pgjobs is installed.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Queues = Annotated[
    list[str] | None,
    typer.Option("--queue", "-q", metavar="Q", help="Only this queue; may be repeated."),
]
JobTypes = Annotated[
    list[str] | None,
    typer.Option("--type", "-t", metavar="TYPE", help="Only this type; may be repeated."),
]
