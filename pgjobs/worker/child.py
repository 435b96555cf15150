"""What runs in a child process: the handlers with ``run_in="process"``, one job at a time."""

import importlib
import logging
import logging.handlers
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from pgjobs.handler.current import current_run, in_worker
from pgjobs.handler.held_job import Holder
from pgjobs.handler.run import Run, Stop
from pgjobs.handler.task import Task
from pgjobs.job.record import plain
from pgjobs.worker.description import describe
from pgjobs.worker.execution import call
from pgjobs.worker.outcome import End, Outcome

NAME = "pgjobs child"  # of each child process
# What the worker may ask of the child.
END_SOON = b"soon"  # to end now is asked for by the name of a `Stop`
REPORT_AFTER_S = 0.1


@dataclass(frozen=True, slots=True)
class Order:
    """What the worker sends: one job, and where its handler is.

    ``app_module``: where the app is, which may include the handler's and have a middleware.
    """

    app_module: str | None
    module: str
    name: str
    row: Mapping[str, Any]
    worker: str
    log_level: int


@dataclass(frozen=True, slots=True)
class Began:
    """What the child sends before it calls the handler."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the child sends when the handler reports its progress: JSON text."""

    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the child sends for each log record: its fields, as plain data."""

    fields: dict[str, Any]


class _Stopped(BaseException):
    """SIGTERM came. No ``except Exception`` of a handler catches it, and each ``finally`` runs."""


class _Line:
    """The child's end of the pipe. Several threads may send."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.RLock()
        self._unsent: deque[bytes] = deque()
        self._is_sending = False

    def receive(self) -> Order:
        """The next order."""
        order = self._pipe.recv()
        assert isinstance(order, Order)
        return order

    def send(self, message: Began | Outcome | Record | Report) -> None:
        """Sends a message after those that were sent before."""
        self._unsent.append(bytes(ForkingPickler.dumps(message)))
        with self._lock:
            if self._is_sending:
                return  # a ``__del__`` logs in the middle of a message, which is sent first
            self._is_sending = True
            try:
                while self._unsent:
                    self._pipe.send_bytes(self._unsent.popleft())
            finally:
                self._is_sending = False

    def close(self) -> None:
        """Closes this process's copy."""
        self._pipe.close()


class _Requests:
    """What the worker asks of the child: to end soon, or now."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._has_come = False
        self.why: Stop | None = None  # the handler has to end now

    @property
    def has_come(self) -> bool:
        """Whether the worker has asked for anything."""
        try:
            return self._has_come or self._pipe.poll()
        except OSError:  # the handler has closed the pipe
            return True

    def on_sigterm(self, *_: object) -> None:
        """Ends the function, if the worker wants that.

        A service manager sends SIGTERM to the worker and to its children, whose jobs have the
        worker's grace.
        """
        if self._end_now():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise _Stopped

    def _end_now(self) -> bool:
        try:
            while self._pipe.poll():
                self._has_come = True
                if (request := self._pipe.recv_bytes()) != END_SOON:
                    self.why = Stop[request.decode()]
                    return True
        except (EOFError, OSError):
            return True
        return False

    def close(self) -> None:
        """Closes this process's copy."""
        self._pipe.close()


class _ToWorker(logging.handlers.QueueHandler):
    """Sends log records to the worker, whose handlers write them."""

    def __init__(self, line: _Line) -> None:
        super().__init__(line)  # type: ignore[arg-type]
        self._line = line

    def enqueue(self, record: logging.LogRecord) -> None:
        self._line.send(Record({name: plain(value) for name, value in vars(record).items()}))

    def take_root(self) -> None:
        """Makes this the only handler of the root logger, also if a module has configured it."""
        logging.getLogger().handlers[:] = [self]


class _RunInChild(Run):
    """A run whose worker is another process."""

    __slots__ = ("_requests",)

    def __init__(self, row: Mapping[str, Any], requests: _Requests) -> None:
        super().__init__(row, 0.0)
        self._requests = requests

    @property
    def stopping(self) -> bool:
        return self.stop is not None or self._requests.has_come

    @property
    def why_stopped(self) -> Stop | None:
        return self.stop or self._requests.why


class _Reporter:
    """Sends what one handler reports to the worker, a moment later and only the latest."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._unsent: Run | None = None

    def take(self, run: Run) -> None:
        """Sends the run's report soon."""
        with self._lock:
            is_sent_soon = self._unsent is not None
            self._unsent = run
        if not is_sent_soon:
            sending = threading.Timer(REPORT_AFTER_S, self._send)
            sending.daemon = True
            sending.start()

    def _send(self) -> None:
        with self._lock:
            if self._unsent is not None and self._unsent.progress is not None:
                with suppress(OSError):  # the handler has closed the pipe
                    self._line.send(Report(self._unsent.progress))
            self._unsent = None

    def close(self) -> None:
        """Sends nothing any more: what comes next on the line is of another job."""
        with self._lock:
            self._unsent = None


def main(pipe: Connection, requests_pipe: Connection) -> None:
    """Runs jobs until the worker closes the pipe, or is gone."""
    line, requests = _Line(pipe), _Requests(requests_pipe)
    to_worker = _ToWorker(line)
    # The terminal sends Ctrl-C to all processes; the worker decides what becomes of its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, requests.on_sigterm)
    threading.Thread(target=_end_with_worker, name="pgjobs parent", daemon=True).start()

    def leave_to_parent() -> None:
        line.close()
        requests.close()
        logging.getLogger().removeHandler(to_worker)

    # A process that a handler starts must neither answer for this child nor outlive it as its pipe.
    os.register_at_fork(after_in_child=leave_to_parent)
    for own in (pipe, requests_pipe):
        os.set_inheritable(own.fileno(), False)
    to_worker.take_root()
    try:
        while True:
            order = line.receive()
            logging.getLogger().setLevel(order.log_level)
            # What the handler raised stays here: another process may not be able to read it.
            outcome = _run(order, line, requests, to_worker)
            line.send(replace(outcome, cause=None, kind=outcome.error_kind))
    except (EOFError, OSError, _Stopped):
        return
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(order: Order, line: _Line, requests: _Requests, to_worker: _ToWorker) -> Outcome:
    reporter = _Reporter(line)
    try:
        if order.app_module is not None:
            importlib.import_module(order.app_module)
        task = _found(order.module, order.name)
        to_worker.take_root()
        run = _RunInChild(order.row, requests)
        current_run.set(run)
        app: Any = task.app
        holder = Holder(order.worker, keep_completed=True, report=reporter.take)
        job = app.held_job(run, holder)
        line.send(Began())
        with in_worker(order.worker):
            return call(task, job, run)
    except BaseException as error:  # noqa: BLE001 - the module's import may raise anything
        return Outcome(End.FAILED, error=describe(error), cause=error)
    finally:
        current_run.set(None)
        reporter.close()


def _found(module: str, name: str) -> Task[Any, Any]:
    # `spawn` has imported the main module under another name.
    found: Any = sys.modules.get("__mp_main__") if module == "__main__" else None
    found = found or importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, Task)
    return found


def _end_with_worker() -> None:
    """A killed worker sends nothing, and its jobs must not run on beside their next attempts."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
