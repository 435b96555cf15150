"""Child processes for the plain functions of one worker."""

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pgjobs.handler.run import Stop
from pgjobs.worker import child
from pgjobs.worker.child import Began, Order, Record, Report
from pgjobs.worker.outcome import End, Outcome

log = logging.getLogger("pgjobs.worker")

KILL_AFTER_S = 1.5  # after SIGTERM; a worker that stops waits a little longer than this
LOOK_AFTER_S = 0.5  # without a message: whether the child lives
MAX_JOBS_PER_CHILD = 1_000  # memory that handlers leak is bounded by that many jobs


class Child:
    """One child process. ``run`` blocks, so a thread calls it."""

    def __init__(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, childs_end = spawning.Pipe()
        # Apart from the orders: a payload of 200 MB may be on its way when the worker stops.
        childs_requests, self._requests = spawning.Pipe(duplex=False)
        self._process = spawning.Process(
            target=child.main, args=(childs_end, childs_requests), name=child.NAME, daemon=True
        )
        self._process.start()
        childs_end.close()
        childs_requests.close()
        self._jobs = 0
        self._is_stopped = False
        self._lock = threading.Lock()

    def run(
        self, order: Order, on_begin: Callable[[], object], on_report: Callable[[str], None]
    ) -> Outcome:
        """Runs one job; the outcome is CRASHED if the child died in it."""
        self._jobs += 1
        has_begun = False
        try:
            self._pipe.send(order)
            while True:
                match self._receive():
                    case Outcome() as outcome:
                        return outcome
                    case Began():
                        has_begun = True
                        on_begin()
                    case Report(text):
                        on_report(text)
                    case Record(fields):
                        record = logging.makeLogRecord(fields)
                        logger = logging.getLogger(record.name)
                        if logger.isEnabledFor(record.levelno):
                            logger.handle(record)
        except (EOFError, OSError):
            return self._died(has_begun=has_begun)
        except BaseException:
            # The job runs on, and its outcome must not be taken for that of the child's next job.
            self.stop()
            self._process.join()
            raise

    def _receive(self) -> object:
        # A process that the handler has started may hold the pipe open when the child is dead.
        while not self._pipe.poll(LOOK_AFTER_S):
            if self._process.exitcode is not None and not self._pipe.poll():
                raise EOFError
        return self._pipe.recv()

    def _died(self, *, has_begun: bool) -> Outcome:
        # Not by ``join`` with a timeout: it waits for a process that the handler has started, too.
        deadline = time.monotonic() + KILL_AFTER_S
        while self._process.exitcode is None and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stop()  # the handler has closed the pipe, and runs on
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
        return (
            not self._is_stopped and self._jobs < MAX_JOBS_PER_CHILD
            and self._process.exitcode is None
        )

    def ask_to_stop(self) -> None:
        """Lets the handler see ``job.stopping``."""
        self._request(child.END_SOON)

    def stop(self, why: Stop = Stop.LOST) -> None:
        """Ends the child: SIGTERM, and a little later SIGKILL."""
        with self._lock:
            if self._is_stopped:
                return
            self._is_stopped = True
        self._request(why.name.encode())
        self._process.terminate()
        killing = threading.Timer(KILL_AFTER_S, self._process.kill)
        killing.daemon = True
        killing.start()

    def _request(self, request: bytes) -> None:
        with suppress(OSError):
            self._requests.send_bytes(request)

    def close(self) -> None:
        """Lets an idle child end, and kills it if it does not; waits for one that was stopped."""
        self._pipe.close()
        self._requests.close()
        if self._is_stopped:
            self._reap()
            return
        threading.Thread(target=self._reap, name="pgjobs reaper", daemon=True).start()

    def _reap(self) -> None:
        self._process.join(KILL_AFTER_S)
        self._process.kill()
        self._process.join()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
