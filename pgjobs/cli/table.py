"""Tables that fit the terminal: empty columns go; long values are shortened, and never folded.

The functions import Rich themselves, so that commands without a table start faster.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pgjobs.cli.output import (
    console,
    printable,
    told_duration,
    told_moment,
    written_duration,
)

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_MOMENT = "@"
_STYLES = {
    "pending": "cyan", "processing": "blue", "completed": "green", "failed": "red",
    "cancelled": "dim", "ok": "green", "warn": "yellow", "bad": "bold red",
}
# Which kinds of columns become narrower, in this order, and how narrow, in cells: first what is
# very long, at last what is read first.
_READABLE = (("=", 24), ("~", 20), ("!", 24), ("", 16))
_NARROWEST = (*_READABLE, ("~", 10), ("!", 14), ("", 8), ("!", 10))


@dataclass(frozen=True)
class _Column:
    place: int
    heading: str
    kind: str
    widest: int


def table(
    columns: str,
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    *,
    headings: bool = True,
) -> "Table":
    """Makes a table that is at most as wide as the terminal.

    Where even the narrowest columns have no room, the last ones are left out, and named below.
    Columns behind a ``|`` are left out sooner: before those in front of it become hard to read.

    ``columns``: their names in one string; ``-`` is a column without a name. A sign before a name
    says how the column is shortened. ``>``: never, these are numbers. ``~``: before others, at the
    end of the text. ``!``: after all others. ``=``: never, the text takes several lines. Without
    a sign, and with ``!``, a text is shortened in its middle: the ends of names tell them apart.
    A moment is never shortened.

    Columns that are empty or 0 throughout are left out.
    """
    from rich.table import Table

    values = list(rows)
    cells = [list(map(cell, row)) for row in values]
    names = columns if headings else re.sub(r"\w+", "-", columns)
    found = _columns(names.replace("|", " "), values, cells)
    needed = len(names.partition("|")[0].split())
    widths, gap = _fitted(found, sum(c.place < needed for c in found), console().width)
    made = Table(
        box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold",
        title=title, title_justify="left", title_style="bold", show_header=headings,
    )
    if len(widths) < len(found):
        left_out = ", ".join(column.heading for column in found[len(widths):])
        made.caption, made.caption_justify = f"no room for: {left_out}", "left"
    for column, width in widths.items():
        made.add_column(
            column.heading, justify="right" if column.kind == ">" else "left",
            no_wrap=column.kind != "=", overflow="fold", width=width,
        )
    for row in cells:
        made.add_row(*(_narrowed(row[c.place], c.kind, width) for c, width in widths.items()))
    return made


def cell(value: object) -> "Text":
    """Returns a value as plain text: a value from the database is never read as markup."""
    from rich.text import Text

    if isinstance(value, Text):
        return value
    if value is None:
        return Text()
    if isinstance(value, timedelta):
        return Text(told_duration(value))
    if isinstance(value, list) and all(isinstance(item, timedelta) for item in value):
        return Text(", ".join(map(written_duration, value)))
    if isinstance(value, datetime):
        return Text(told_moment(value))
    text = printable(str(value))
    return Text(text, style=_STYLES.get(text, ""))


def styled(text: str, style: str) -> "Text":
    from rich.text import Text

    return Text(printable(text), style=style)


def shortened(text: str, width: int, *, in_middle: bool) -> str:
    """Returns at most ``width`` cells of a text, in one line; ``…`` stands for what is left out."""
    from rich.cells import cell_len, set_cell_size

    text = text.replace("\n", " ")
    if cell_len(text) <= width:
        return text
    end_width = (width - 1) // 2 if in_middle else 0
    # set_cell_size puts a space for the half of a character that is two cells wide.
    end = set_cell_size(text[::-1], end_width).rstrip()[::-1]
    return f"{set_cell_size(text, width - 1 - end_width).rstrip()}…{end}"


def _columns(
    names: str, values: Sequence[Sequence[object]], cells: Sequence[Sequence["Text"]]
) -> list[_Column]:
    from rich.cells import cell_len

    found = []
    for place, name in enumerate(names.split()):
        if values and all(row[place] in (None, "", 0) for row in values):
            continue
        kind = name[0] if name[0] in ">~!=" else ""
        heading = name.removeprefix(kind).strip("-").replace("_", " ")
        if not kind and any(isinstance(row[place], datetime) for row in values):
            kind = _MOMENT
        lines = (line for row in cells for line in row[place].plain.split("\n"))
        found.append(_Column(place, heading, kind, max([len(heading), *map(cell_len, lines)])))
    return found


def _fitted(
    columns: Sequence[_Column], needed: int, width: int
) -> tuple[dict[_Column, int], int]:
    """Returns the widths of the columns that have room, and the gap between columns.

    ``needed``: how many of them are shown before another one is, as long as there is room.
    """
    # Beside prose, which takes what is left, a narrower gap would gain nothing.
    narrow_gap = 2 if any(column.kind == "=" for column in columns) or len(columns) < 3 else 1
    for count in range(len(columns), 0, -1):
        widths = {column: column.widest for column in columns[:count]}
        if sum(widths.values()) + 2 * (count - 1) <= width:
            return widths, 2
        room = width - narrow_gap * (count - 1)
        for kind, narrowest in _NARROWEST if count <= needed else _READABLE:
            _narrow(kind, narrowest, widths, room)
        if sum(widths.values()) <= room:
            return widths, narrow_gap
    return dict.fromkeys(columns[:1], width), narrow_gap


def _narrow(kind: str, narrowest: int, widths: dict[_Column, int], room: int) -> None:
    """Takes from the widest columns of this kind until all have room or these are narrow."""
    least = {c: max(narrowest, len(c.heading)) for c in widths if c.kind == kind}
    while (excess := sum(widths.values()) - room) > 0:
        wide = sorted((c for c in least if widths[c] > least[c]), key=widths.__getitem__)
        if not wide:
            return
        widest, second = wide[-1], widths[wide[-2]] if len(wide) > 1 else 0
        widths[widest] = max(least[widest], second - 1, widths[widest] - excess)


def _narrowed(value: "Text", kind: str, width: int) -> "Text":
    from rich.text import Text

    if kind == "=":
        return value
    return Text(shortened(value.plain, width, in_middle=kind != "~"), style=value.style)


def told_advice(detail: str, advice: str | None) -> str:
    """The advice begins a line of its own: beside the detail, both would be narrow."""
    return f"{detail}\n→ {advice}" if advice else detail
