"""Prints lines and tables for people, and one JSON document for programs.

Each function that needs Rich imports it, so that `pgjobs sql` and `--json` start faster.
"""

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO, cast

from pgjobs.job.job import Row

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_UNCUT_WIDTH = 10_000
_LONGEST_LINE = 300


def console() -> "Console":
    """Returns a console: on a terminal with colours and the terminal's width, else without."""
    from rich.console import Console

    # A program or a file gets whole lines.
    width = None if sys.stdout.isatty() else _UNCUT_WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)


def print_rich(*parts: "RenderableType") -> None:
    """Prints tables and texts of Rich; without a terminal, strips the blanks at line ends."""
    out = console()
    if out.is_terminal:
        out.print(*parts, sep="\n")
        return
    with out.capture() as captured:
        out.print(*parts, sep="\n")
    for line in captured.get().splitlines():
        print(line.rstrip())


def print_lines(*lines: str) -> None:
    for line in lines:
        print(_folded(printable(line), sys.stdout))


def print_error(line: str) -> None:
    """Prints on stderr why a command failed, or failed in part."""
    _print_on_stderr(f"pgjobs: {line}")


def print_warning(line: str) -> None:
    """Prints on stderr what is odd about a command that did not fail."""
    _print_on_stderr(f"warning: {line}")


def _print_on_stderr(line: str) -> None:
    """What stdout got before stands before the line, in a pipe too."""
    with suppress(OSError):  # the reader of stdout is gone
        sys.stdout.flush()
    print(_folded(line, sys.stderr), file=sys.stderr)


def _folded(text: str, stream: TextIO) -> str:
    """Breaks long lines between words for a terminal, which would break them within words."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(
            line, width, break_long_words=False, break_on_hyphens=False
        ) if len(line) > width else line
        for line in text.split("\n")
    )


def printable(text: str) -> str:
    """Replaces control characters, which could move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_line(text: str | None) -> str:
    return (text or "").strip().split("\n", 1)[0][:_LONGEST_LINE]


def told_moment(value: datetime) -> str:
    """Tells a moment in this machine's time zone, with the offset of that zone."""
    return value.astimezone().isoformat(" ", "seconds")


def told_count(count: int, one: str, many: str) -> str:
    """Tells how many there are, with the words for one of them or for another number."""
    return f"{count} {one if count == 1 else many}"


def told_duration(value: timedelta) -> str:
    """Tells a duration in up to two units: ``0.3s``, ``12s``, ``4m10s``, ``2h05m``, ``3d4h``.

    A negative one, of what is due later, is rounded down: ``in 13h``, ``in 2h05m``, ``in 4m``.
    """
    seconds = value.total_seconds()
    if seconds < 0:
        return "in " + re.sub(r"^(\d+m|\d\d+[dh]).*", r"\1", told_duration(-value))
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def written_duration(value: timedelta) -> str:
    """Writes a duration exactly, as an option takes it: ``5s``, ``3m``, ``1h30m``, ``0.25s``."""
    days, seconds = value.days, f"{value.seconds % 60 + value.microseconds / 1e6:.6f}"
    counts = {
        "d": str(days), "h": str(value.seconds // 3600), "m": str(value.seconds // 60 % 60),
        "s": seconds.rstrip("0").rstrip("."),
    }
    return "".join(f"{count}{unit}" for unit, count in counts.items() if count != "0") or "0s"


def print_json(data: object) -> None:
    """Prints one JSON document; moments in ISO 8601, durations in seconds."""
    json.dump(data, sys.stdout, default=_plain, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def as_dict(row: Row) -> dict[str, Any]:
    # The rows are asyncpg's, which are mappings.
    return dict(cast(Mapping[str, Any], row))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)
