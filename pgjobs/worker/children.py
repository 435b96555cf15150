"""Child processes for the plain functions of one worker."""

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from pgjobs.worker import child
from pgjobs.worker.child import Began, Order
from pgjobs.worker.outcome import End, Outcome

log = logging.getLogger("pgjobs.worker")

KILL_AFTER_S = 1.5  # after SIGTERM; a worker that stops waits a little longer than this
MAX_JOBS_PER_CHILD = 1_000  # memory that handlers leak is bounded by that many jobs


class Child:
    """One child process. ``run`` and ``close`` block, so a thread calls them."""

    def __init__(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, childs_end = spawning.Pipe()
        self._process = spawning.Process(
            target=child.main, args=(childs_end,), name="pgjobs child", daemon=True
        )
        self._process.start()
        childs_end.close()
        self._jobs = 0
        self._is_stopped = False
        self._lock = threading.Lock()

    def run(self, order: Order, on_begin: Callable[[], object]) -> Outcome:
        """Runs one job; the outcome is CRASHED if the child died in it."""
        self._jobs += 1
        has_begun = False
        try:
            self._pipe.send(order)
            while True:
                match self._pipe.recv():
                    case Outcome() as outcome:
                        return outcome
                    case Began():
                        has_begun = True
                        on_begin()
                    case logging.LogRecord() as record:
                        logger = logging.getLogger(record.name)
                        if logger.isEnabledFor(record.levelno):
                            logger.handle(record)
        except (EOFError, OSError):
            return self._died(has_begun=has_begun)

    def _died(self, *, has_begun: bool) -> Outcome:
        self._is_stopped = True
        self._process.join()
        status = self._process.exitcode or 0
        how = f"was killed by {_signal_name(-status)}" if status < 0 else f"exited with {status}"
        if has_begun:
            return Outcome(End.CRASHED, error=f"its child process {how}")
        return Outcome(
            End.FAILED,
            error=f"its child process {how} before the handler began: its standard error says why;"
            " code that starts a worker must stand under `if __name__ == '__main__'`",
        )

    @property
    def is_reusable(self) -> bool:
        """Whether the child may run another job."""
        return not self._is_stopped and self._jobs < MAX_JOBS_PER_CHILD

    def ask_to_stop(self) -> None:
        """Lets the handler see ``job.stopping``."""
        with self._lock, suppress(OSError):
            self._pipe.send(None)

    def stop(self) -> None:
        """Ends the child: SIGTERM, and a little later SIGKILL."""
        with self._lock:
            if self._is_stopped:
                return
            self._is_stopped = True
        self._process.terminate()
        killing = threading.Timer(KILL_AFTER_S, self._process.kill)
        killing.daemon = True
        killing.start()

    def close(self) -> None:
        """Lets an idle child end, and waits for one that was stopped."""
        self._pipe.close()
        self._process.join(KILL_AFTER_S if self._is_stopped else 0)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
