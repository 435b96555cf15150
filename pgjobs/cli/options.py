"""Options that several commands share, and the parsers of option values."""

import json
import re
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

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


def age(text: str) -> timedelta:
    """Parses a duration that has a unit: whoever means 30 days must not delete by 30 seconds."""
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
        raise typer.BadParameter(f"{text!r} has no unit: write it like 90s, 10m, 1h30m or 7d")
    return duration(text)


def whole_number(text: str) -> int:
    """Parses a whole number; the database knows the limits of its columns."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise typer.BadParameter(f"{text!r} is not a whole number of at most nine digits")
    return int(text)


def at_least(least: int) -> Callable[[str], int]:
    """Makes a parser of whole numbers from ``least`` upwards."""

    def number(text: str) -> int:
        if (found := whole_number(text)) < least:
            raise typer.BadParameter(f"{found} is too small: the least is {least}")
        return found

    return number


class Address(NamedTuple):
    """Where a command listens; an empty host stands for all of the machine's addresses."""

    host: str
    port: int


def address(text: str) -> Address:
    """Parses ``127.0.0.1:8080``, ``[::1]:8080``, and ``:8080`` for all addresses."""
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if (
        not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535
        or (":" in host and not is_bracketed)
    ):
        raise typer.BadParameter(
            f"{text!r} is not an address: write it like 127.0.0.1:8080, [::1]:8080, or :8080 for"
            " all addresses of this machine"
        )
    return Address(host[1:-1] if is_bracketed else host, int(port))


def one_of(noun: str, choices: Iterable[str]) -> Callable[[str], str]:
    """Makes a parser of a word that must be among ``choices``."""
    known = list(choices)

    def word(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(f"there is no {noun} {text}: choose of {', '.join(known)}")
        return text

    return word


def job_id(text: str) -> int:
    """Parses the id of a job."""
    if not (re.fullmatch(r"[0-9]{1,19}", text) and 0 < int(text) < 2**63):
        raise typer.BadParameter(
            f"{text!r} is not the id of a job: pgjobs list shows the ids, which are numbers"
        )
    return int(text)


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


def json_text(text: str) -> str:
    """Checks that a payload is JSON, and returns it."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(
            f'the payload is not JSON ({error}): quote it like \'{{"file_path": "a.pdf"}}\''
        ) from None
    return text


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def reference(text: str) -> tuple[str, int | str]:
    """Parses ``file_upload:42``, or ``order:8c1b`` where the entity has no number."""
    kind, _, entity = text.partition(":")
    if not (kind and entity):
        raise typer.BadParameter(f"{text!r} is not a reference: write it like file_upload:42")
    return kind, int(entity) if re.fullmatch(r"-?[0-9]+", entity) else entity


def ask_first(warning: str, *, yes: bool) -> None:
    """Ends the command unless the user agrees; where nobody can be asked, --yes must agree."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{warning}: give --yes to go on, as a question needs a terminal")
    # The question goes to stderr: stdout may be read as JSON.
    typer.confirm(f"{warning}. Go on?", abort=True, err=True)


Dsn = Annotated[
    str | None,
    typer.Option("--dsn", metavar="DSN", help="The database; else PGJOBS_DSN or DATABASE_URL."),
]
Ids = Annotated[
    list[int], typer.Argument(parser=job_id, metavar="ID...", help="The ids of jobs.")
]
Id = Annotated[int, typer.Argument(parser=job_id, metavar="ID", help="The id of a job.")]
Schema = Annotated[
    str, typer.Option("--schema", metavar="S", help="The schema in which pgjobs is installed.")
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Go on without a question; needed without a terminal.")
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
