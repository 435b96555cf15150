"""A terminal's whole screen, with keys: for ``pgjobs top``."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pgjobs.cli.output import console

if TYPE_CHECKING:
    from rich.console import RenderableType

# What a terminal sends for keys that are no characters, in its two modes.
_SEQUENCES = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down",
    "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b[H": "home", "\x1bOH": "home",
    "\x1b[1~": "home", "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end",
}
_KEY = re.compile(r"\x1b(?:\[[0-9;]*|O)[A-Za-z~]|.", re.DOTALL)

_MAX_READ_BYTES = 1024


class Screen:
    """The terminal is given back in every case: at the end, at an error, at Ctrl-C and Ctrl-Z.

    ``on_key``: is called with ``q``, ``up`` and so on, and with ``q`` at SIGTERM. ``draw``: is
    called when the terminal has got another size. ``has_keys``: False where stdin is no terminal,
    or Python cannot read single keys from it.
    """

    def __init__(self, on_key: Callable[[str], None], draw: Callable[[], None]) -> None:
        self._on_key = on_key
        self._draw = draw
        self._console = console()
        self._settings_before: Any = None
        self.has_keys = sys.stdin.isatty() and _knows_terminals()

    def __enter__(self) -> "Screen":
        self._loop = asyncio.get_running_loop()
        self._take()
        self._loop.add_signal_handler(signal.SIGWINCH, self._draw)
        self._loop.add_signal_handler(signal.SIGTSTP, self._pause)
        self._loop.add_signal_handler(signal.SIGTERM, self._on_key, "q")
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGWINCH, signal.SIGTSTP, signal.SIGTERM):
            self._loop.remove_signal_handler(number)
        self._give_back()

    @property
    def size(self) -> tuple[int, int]:
        """How many columns and lines there are."""
        return self._console.size.width, self._console.size.height

    def lines_of(self, part: "RenderableType") -> "list[Any]":
        """Returns a part as lines, which ``show`` takes."""
        return self._console.render_lines(part, pad=False)

    def show(self, lines: Sequence[Any]) -> None:
        """Shows these lines, and nothing else."""
        from rich.segment import SegmentLines

        self._console.update_screen(SegmentLines(lines, new_lines=True))

    def _take(self) -> None:
        if self.has_keys:
            import termios
            import tty

            self._settings_before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)  # each key at once, and without an echo; Ctrl-C is a signal
            self._loop.add_reader(sys.stdin, self._read)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def _give_back(self) -> None:
        self._console.show_cursor(True)
        self._console.set_alt_screen(False)
        if self._settings_before is not None:
            import termios

            self._loop.remove_reader(sys.stdin)
            with suppress(termios.error):  # the terminal is gone
                # Keys that nobody has read are not left to the shell.
                termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, self._settings_before)
            self._settings_before = None

    def _pause(self) -> None:
        """At Ctrl-Z: the shell gets its terminal; `fg` goes on here."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._draw()

    def _read(self) -> None:
        try:
            read = os.read(sys.stdin.fileno(), _MAX_READ_BYTES)
        except OSError:
            read = b""
        if not read:  # the terminal is gone
            self._loop.remove_reader(sys.stdin)
        for key in _KEY.findall(read.decode(errors="replace")) if read else ["q"]:
            self._on_key(_SEQUENCES.get(key, key))


def _knows_terminals() -> bool:
    try:
        import termios  # noqa: F401
        import tty  # noqa: F401
    except ImportError:  # not on POSIX
        return False
    return True
