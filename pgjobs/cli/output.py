"""Prints aligned tables for people and one JSON document for programs.

Each function that needs Rich imports it, so that `pgjobs sql` and `--json` start faster.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from pgjobs.job.job import Row

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_STYLES = {
    "pending": "cyan", "processing": "blue", "completed": "green", "failed": "red",
    "cancelled": "dim", "ok": "green", "warn": "yellow", "bad": "bold red",
}
_UNCUT_WIDTH = 10_000


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
        print(printable(line))


def table(columns: str, rows: Iterable[Sequence[object]], title: str | None = None) -> "Table":
    """Makes a table. ``columns``: their names in one string; ``>`` aligns a column to the right."""
    from rich.table import Table

    made = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold",
        title=title, title_justify="left", title_style="bold",
    )
    for name in columns.split():
        right = name.startswith(">")
        made.add_column(
            name.lstrip(">").replace("_", " "),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*map(cell, row))
    return made


def cell(value: object) -> "RenderableType":
    """Returns a value as plain text: a value from the database is never read as markup."""
    from rich.text import Text

    if isinstance(value, Text):
        return value
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return Text(short_duration(value))
    if isinstance(value, datetime):
        return Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S}")
    text = printable(str(value))
    return Text(text, style=_STYLES.get(text, ""))


def styled(text: str, style: str) -> "Text":
    from rich.text import Text

    return Text(printable(text), style=style)


def printable(text: str) -> str:
    """Replaces control characters, which could move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_line(text: str | None, length: int = 60) -> str:
    """Returns the first line, cut to ``length`` characters."""
    head = (text or "").strip().split("\n", 1)[0]
    return head if len(head) <= length else f"{head[: length - 1]}…"


def short_duration(value: timedelta) -> str:
    """Formats a duration in up to two units: ``0.3s``, ``12s``, ``4m10s``, ``2h05m``, ``3d4h``."""
    seconds = value.total_seconds()
    if seconds < 0:
        return f"-{short_duration(-value)}"
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
