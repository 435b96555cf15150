"""``pgjobs top`` on a terminal: what its keys do, and what has room."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pgjobs.cli.frame import Frame, body, head, lengths, read_for_ever
from pgjobs.cli.output import told_duration
from pgjobs.cli.screen import Screen
from pgjobs.cli.table import shortened, styled


class TopScreen:
    """The head stays, the tables scroll between it and the footer, which names the keys.

    Where the tables do not fit, a part of each is shown until somebody scrolls.
    """

    def __init__(self, dsn: str | None, schema: str, every: timedelta) -> None:
        self._dsn = dsn
        self._schema = schema
        self._every = every
        self._screen = Screen(self._on_key, self._draw)
        self._frame: Frame | None = None
        self._trouble: str | None = None
        self._first = 0  # of the lines of the tables, the first that is shown
        self._page = 1
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._has_quit = False

    async def run(self) -> None:
        """Shows frames until q; Ctrl-C cancels it."""
        self._task = asyncio.current_task()
        with self._screen:
            self._draw()
            try:
                await read_for_ever(
                    self._dsn, self._schema, self._every, self._show, self._may_read
                )
            except asyncio.CancelledError:
                if not self._has_quit:
                    raise

    def _show(self, frame: Frame | None, trouble: str | None) -> None:
        self._frame = frame or self._frame
        self._trouble = trouble
        self._draw()

    def _on_key(self, key: str) -> None:
        if key in ("q", "Q"):
            self._has_quit = True
            if self._task is not None:
                self._task.cancel()
            return
        if key in ("p", "P"):
            if self._may_read.is_set():
                self._may_read.clear()
            else:
                self._may_read.set()
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self._page,
                 "page down": self._page, " ": self._page, "home": -self._first, "end": 10**9}
        self._first += steps.get(key, 0)
        self._draw()

    def _draw(self) -> None:
        width, height = self._screen.size
        top: list[Any] = []
        lines: list[Any] = []
        if self._frame is not None:
            top = self._screen.lines_of(head(self._frame, self._schema, self._trouble))
            lines = self._screen.lines_of(body(self._frame))
        elif self._trouble is not None:
            top = self._screen.lines_of(styled(self._trouble, "red"))
        self._page = max(1, height - len(top) - 2)
        self._first = max(0, min(self._first, len(lines) - self._page))
        shown = lines[self._first : self._first + self._page]
        state = ""
        if len(shown) < len(lines):
            state = f"lines {self._first + 1}-{self._first + len(shown)} of {len(lines)}"
            if self._first == 0 and self._frame is not None:
                overview = self._overview(self._frame, len(lines))
                if overview is not None:
                    shown, state = overview, f"a part of {len(lines)} lines, ↓ all"
        gap: list[Any] = [[]] * (self._page - len(shown))
        footer = styled(self._footer(state, width), "reverse")
        self._screen.show([*top, [], *shown, *gap, *self._screen.lines_of(footer)])

    def _overview(self, frame: Frame, lines: int) -> list[Any] | None:
        """A part of each table, so that none stands below the screen; None for one table."""
        wanted = lengths(frame)
        if sum(map(bool, wanted)) < 2:
            return None
        room = self._page - (lines - sum(wanted))
        return self._screen.lines_of(body(frame, shares(wanted, room)))[: self._page]

    def _footer(self, lines: str, width: int) -> str:
        goes_on = self._may_read.is_set()
        keys = "q quit   ↑ ↓ scroll   p " + ("hold" if goes_on else "go on")
        if not self._screen.has_keys:
            keys = "Ctrl-C quits"
        state = f"every {told_duration(self._every)}" if goes_on else "HELD"
        if self._frame is None:
            state = "reading ..."
        if lines:
            state = f"{lines}   {state}"
        room = max(0, width - len(keys) - 2)
        return shortened(f" {keys}{state:>{room}} ", width, in_middle=False)


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """Shares lines among tables: what one does not need, the others get; each has one at least."""
    given = [min(1, count) for count in wanted]
    for _ in range(room - sum(given)):
        short = [place for place, count in enumerate(wanted) if given[place] < count]
        if not short:
            break
        given[min(short, key=given.__getitem__)] += 1
    return given
