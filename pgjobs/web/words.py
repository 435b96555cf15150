"""Moments, durations, names and counts as the pages show them."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))
_NUMBERS = ("no times", "once", "twice", "three times", "four times", "five times")
# The id of a job stands after one of these words, or begins an entry such as “7 (report, failed)”.
_JOB_IDS = re.compile(
    r"(?:(?<=\bjob )|(?<=\bids )|(?<=\bcancel )|(?<=\bretry )|(?<=\bwhy )|(?<=\bedit )"
    r"|(?<=^)(?=\d+ \()|(?<=[,:] )(?=\d+ \())(\d{1,18})\b"
)
# They turn or hide the text behind them.
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def duration(seconds: float | None) -> str:
    """For example 210 ms, 12 s, 5 min or 2.5 d."""
    if seconds is None:
        return ""
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:.3g} ms"
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{sign}{seconds / size:.3g} {unit}"
    return f"{sign}{seconds:.2g} s" if seconds < 10 else f"{sign}{seconds:.0f} s"


def exactly(value: timedelta) -> str:
    """A duration in whole units, for example 1 min 40 s."""
    minutes, rest = divmod(value.seconds, 60)
    parts = (
        (value.days, "d"), (minutes // 60, "h"), (minutes % 60, "min"),
        (rest + value.microseconds / 1e6, "s"),
    )
    return " ".join(f"{count:.10g} {unit}" for count, unit in parts if count) or "0 s"


def size(count: int) -> str:
    """A number of bytes, for example 8 kB or 1.5 GB."""
    told = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if told < 1024:
            return f"{told:.3g} {unit}" if told < 100 else f"{told:.0f} {unit}"
        told /= 1024
    return f"{told:,.1f} TB"


def moment(value: datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(value: datetime) -> str:
    """A moment within a sentence: without the date if it is today's."""
    told = value.astimezone(UTC)
    is_today = told.date() == datetime.now(UTC).date()
    return f"{told:%H:%M:%S} UTC" if is_today else f"{told:%Y-%m-%d %H:%M} UTC"


def parted(text: str, moments: Mapping[str, datetime]) -> list[tuple[str, datetime | None]]:
    """The text in parts; each moment that it tells, as ``moments`` has it, is a part of its own."""
    places = "|".join(re.escape(told) for told in moments)
    parts = re.split(f"({places})", text) if moments else [text]
    return [(part, moments.get(part)) for part in parts if part]


def with_jobs(text: str) -> list[tuple[str, bool]]:
    """The text in parts; True: the part is the id of a job, as checks and reasons name it."""
    parts = _JOB_IDS.split(text)
    return [(part, n % 2 == 1) for n, part in enumerate(parts) if part]


def times(count: int) -> str:
    """How often: once, twice, three times."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else f"{count:,} times"


def printable(name: str | None) -> str:
    """A name in which nothing is hidden: what turns or hides text is shown as its number."""
    if name is None:
        return ""
    told = _unhidden(name)
    return told if told.strip() == told and told else f"“{told}”"


def printable_lines(text: str) -> str:
    """A text of several lines in which nothing else is hidden."""
    return "\n".join(_unhidden(line) for line in text.split("\n"))


def _unhidden(text: str) -> str:
    return "".join(
        f"\\u{ord(char):04x}" if unicodedata.category(char) in _HIDDEN_CATEGORIES else char
        for char in text
    )


def total(jobs: int, *, is_capped: bool) -> str:
    """A count; with ``+`` if there may be more."""
    return f"{jobs:,}{'+' if is_capped else ''}"
