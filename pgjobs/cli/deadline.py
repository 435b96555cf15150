"""Ends the process of a worker that has to stop, whatever keeps the process from ending."""

import logging
import os
import sys
import threading

log = logging.getLogger("pgjobs.cli")

# A worker itself returns at most eight seconds after its grace. Then its lifespan closes.
AFTER_GRACE_S = 12.0
AFTER_WORK_S = 3.0


class Deadline:
    """A thread that exits if the process does not.

    A thread of a handler, a task that swallows its cancellation, a handler that blocks the event
    loop and a lifespan that waits for a silent database would keep the process for ever.
    """

    def __init__(self, must_stop: threading.Event, grace_s: float) -> None:
        self._must_stop = must_stop
        self._grace_s = grace_s
        self._work_is_over = threading.Event()
        self._status = 1
        threading.Thread(target=self._watch, name="pgjobs deadline", daemon=True).start()

    def work_is_over(self, status: int) -> None:
        """From now on the process has three seconds to end by itself, with this status."""
        self._status = status
        self._work_is_over.set()
        self._must_stop.set()

    def _watch(self) -> None:
        self._must_stop.wait()
        if self._work_is_over.wait(self._grace_s + AFTER_GRACE_S):
            self._work_is_over.clear()
            # The process ends meanwhile, and with it this thread, unless something keeps it.
            self._work_is_over.wait(AFTER_WORK_S)
        others = [t.name for t in threading.enumerate() if t is not threading.current_thread()]
        log.warning("the worker has stopped, but not its process: exiting; threads %s", others)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(self._status)
