"""Detects a handler that blocks the event loop, and names it in the log."""

import asyncio
import logging
import threading
from collections.abc import Callable

log = logging.getLogger("pgjobs.worker")


STALL_AFTER_S = 1.0


class Watchdog:
    """A thread that checks that the event loop runs.

    A handler that blocks the loop also blocks heartbeats: after a lease other workers run this
    worker's jobs, and the fence discards its results. The log should name that handler.
    """

    def __init__(
        self, describe: Callable[[asyncio.Task[object]], str], stall_after_s: float = STALL_AFTER_S
    ) -> None:
        self._stall_after_s = stall_after_s
        self._describe = describe
        self._loop = asyncio.get_running_loop()
        self._alive = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pgjobs watchdog", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._alive.set()

    def _watch(self) -> None:
        while not self._over.wait(self._stall_after_s / 2):
            self._alive.clear()
            try:
                self._loop.call_soon_threadsafe(self._alive.set)
            except RuntimeError:  # the loop is closed
                return
            if not self._alive.wait(self._stall_after_s) and not self._over.is_set():
                task = asyncio.current_task(self._loop)
                blamed = "an unknown task" if task is None else self._describe(task)
                log.error(
                    "the event loop has been blocked for %.0f s by %s: await something instead, or "
                    "make the handler a plain function, which runs in a thread",
                    self._stall_after_s, blamed,
                )
                self._alive.wait()
