"""SIGTERM and SIGINT: the first signal stops gracefully, the second one at once."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

log = logging.getLogger("pgjobs.worker")

# A supervisor may signal a process and its group: two mean one.
SAME_SIGNAL_WITHIN_S = 0.5


@contextmanager
def interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Calls ``stop`` at the first signal; only in the main thread."""
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []
    heard_at: float | None = None

    def on_signal(number: int) -> None:
        nonlocal heard_at
        if heard_at is not None and loop.time() - heard_at < SAME_SIGNAL_WITHIN_S:
            return
        if heard_at is not None:
            log.warning("second signal: exiting at once; others take the jobs back in seconds")
            os._exit(128 + number)
        heard_at = loop.time()
        log.info("%s: stopping; signal again to exit now", signal.Signals(number).name)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        # Where signals cannot be handled, the owner of the event loop has to call stop().
        with suppress(ValueError, NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, on_signal, number)
            taken.append(number)
    try:
        yield
    finally:
        for one in taken:
            loop.remove_signal_handler(one)
