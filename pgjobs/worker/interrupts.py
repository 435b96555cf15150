"""SIGTERM and SIGINT: the first signal stops gracefully, the second one at once."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

log = logging.getLogger("pgjobs.worker")

# A supervisor may signal a process and its group: two mean one.
SAME_SIGNAL_WITHIN_S = 0.5

# What the interpreter does with them by itself.
_DEFAULTS: dict[signal.Signals, Any] = {
    signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler
}


class Interrupts:
    """The workers of this process that a signal stops.

    Python runs handlers of signals in the main thread only. So the signals are taken while a
    worker runs in the main thread, and then stop the workers of all threads. The last worker of the
    main thread puts the program's own handlers back.

    The handlers are those of ``signal``, not of the event loop. An event loop hears of signals by a
    socket that a forked child inherits: the child's SIGTERM would stop its parent's worker.
    """

    def __init__(self) -> None:
        self._stops: dict[object, tuple[asyncio.AbstractEventLoop, Callable[[], None]]] = {}
        self._in_main_thread: set[object] = set()
        self._programs_own: dict[signal.Signals, Any] = {}
        self._heard_at: float | None = None
        self._masks = threading.local()
        self.heard = threading.Event()  # set by the first signal, also while the loop is blocked

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Calls ``stop`` in the running event loop at the first signal."""
        worker = object()
        self._stops[worker] = asyncio.get_running_loop(), stop
        if threading.current_thread() is threading.main_thread():
            # Elsewhere, the owner of the event loop has to call stop().
            self._in_main_thread.add(worker)
            self._take()
        try:
            yield
        finally:
            self._stops.pop(worker, None)
            if worker in self._in_main_thread:
                self._in_main_thread.discard(worker)
                if not self._in_main_thread:
                    self._put_back()

    def _take(self) -> None:
        for number in _DEFAULTS:
            own = signal.getsignal(number)
            # None: it is no handler of Python's, so nobody could put it back.
            if own != self._on_signal and own is not None:
                with suppress(ValueError):  # this interpreter is not the process's main one
                    signal.signal(number, self._on_signal)
                    self._programs_own[number] = own

    def _put_back(self) -> None:
        self._heard_at = None
        for number, own in self._programs_own.items():
            # The program may have set another handler meanwhile.
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, own)
        self._programs_own.clear()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._heard_at is None:
            self._heard_at = now
            self.heard.set()
            name = signal.Signals(number).name
            for loop, stop in list(self._stops.values()):
                with suppress(RuntimeError):  # the event loop is closed
                    loop.call_soon_threadsafe(self._stop, name, stop)
        elif now - self._heard_at >= SAME_SIGNAL_WITHIN_S:
            log.warning("second signal: exiting at once; others take the jobs back in seconds")
            os._exit(128 + number)

    @staticmethod
    def _stop(name: str, stop: Callable[[], None]) -> None:
        log.info("%s: stopping; signal again to exit now", name)
        stop()

    def before_fork(self) -> None:
        """Delays signals: Python would drop one that reaches a child before ``in_child``."""
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)

    def in_parent(self) -> None:
        """Takes signals again."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def in_child(self) -> None:
        """In a forked child: its signals are its own, and its parent's workers do not run in it."""
        self._forget()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _forget(self) -> None:
        for number, default in _DEFAULTS.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, default)
        # Python 3.12 does this too. The socket is the parent's, whose event loop would take the
        # child's signal for its own.
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
        self._stops.clear()
        self._in_main_thread.clear()
        self._programs_own.clear()
        self._heard_at = None
        self.heard = threading.Event()


_of_this_process = Interrupts()
interrupts = _of_this_process.stopping
signal_heard = _of_this_process.heard
os.register_at_fork(
    before=_of_this_process.before_fork,
    after_in_parent=_of_this_process.in_parent,
    after_in_child=_of_this_process.in_child,
)
