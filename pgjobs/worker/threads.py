"""Threads for the plain functions of one worker."""

import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """Threads that run one call at a time each; a thread is started when none is idle.

    They are daemon threads: the interpreter would wait for other ones, so that one function that
    never returns would keep the process from ending.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = 0
        self._busy = 0
        self._lock = threading.Lock()

    def start(self, call: Callable[[], None]) -> None:
        """Begins a call at once, in a thread of its own. The call must not raise.

        Raises ``RuntimeError`` if the system has no thread left.
        """
        with self._lock:
            if self._busy == self._started:
                # This may raise. So nothing is counted before, and the call is not in the queue.
                threading.Thread(target=self._run, name="pgjobs function", daemon=True).start()
                self._started += 1
            self._busy += 1
        self._calls.put(call)

    def _run(self) -> None:
        # Python's warning of a coroutine that was never awaited then names the line that made it.
        sys.set_coroutine_origin_tracking_depth(1)
        while (call := self._calls.get()) is not None:
            try:
                call()
            finally:
                # What the function left in this frame must not live until the next call.
                del call
                with self._lock:
                    self._busy -= 1

    def close(self) -> None:
        """Ends the threads; one that still runs a call ends after the call."""
        for _ in range(self._started):
            self._calls.put(None)
