"""What runs in a child process: the handlers with ``run_in="process"``, one job at a time."""

import importlib
import logging
import logging.handlers
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from typing import Any

from pgjobs.handler.held_job import Holder
from pgjobs.handler.run import Run
from pgjobs.handler.task import Task
from pgjobs.worker.description import describe
from pgjobs.worker.execution import call
from pgjobs.worker.outcome import End, Outcome


@dataclass(frozen=True, slots=True)
class Order:
    """What the worker sends: one job, and where its handler is."""

    module: str
    name: str
    row: Mapping[str, Any]
    worker: str
    log_level: int


@dataclass(frozen=True, slots=True)
class Began:
    """What the child sends before it calls the handler."""


class _Stopped(BaseException):
    """SIGTERM came. No ``except Exception`` of a handler catches it, and each ``finally`` runs."""


class _Line:
    """The child's end of the pipe. Several threads may send."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def receive(self) -> Order:
        """The next order; passes over a request to stop that came after the last job's end."""
        while not isinstance(order := self._pipe.recv(), Order):
            pass
        return order

    def send(self, message: Began | Outcome | logging.LogRecord) -> None:
        with self._lock:
            self._pipe.send(message)

    @property
    def has_message(self) -> bool:
        """Whether the worker has sent anything during the job: that the job should stop."""
        return self._pipe.poll()


class _ToWorker(logging.handlers.QueueHandler):
    """Sends log records to the worker, whose handlers write them."""

    def __init__(self, line: _Line) -> None:
        super().__init__(line)  # type: ignore[arg-type]
        self._line = line

    def enqueue(self, record: logging.LogRecord) -> None:
        self._line.send(record)


class _RunInChild(Run):
    """A run whose worker is another process."""

    __slots__ = ("_line",)

    def __init__(self, row: Mapping[str, Any], line: _Line) -> None:
        super().__init__(row, 0.0)
        self._line = line

    @property
    def stopping(self) -> bool:
        return self.stop is not None or self._line.has_message


def main(pipe: Connection) -> None:
    """Runs jobs until the worker closes the pipe, or is gone."""
    # The terminal sends Ctrl-C to all processes; the worker decides what becomes of its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _raise_stopped)
    threading.Thread(target=_end_with_worker, name="pgjobs parent", daemon=True).start()
    line = _Line(pipe)
    logging.getLogger().addHandler(_ToWorker(line))
    try:
        while True:
            order = line.receive()
            logging.getLogger().setLevel(order.log_level)
            line.send(_run(order, line))
    except (EOFError, OSError, _Stopped):
        return


def _run(order: Order, line: _Line) -> Outcome:
    try:
        task = _found(order.module, order.name)
        run = _RunInChild(order.row, line)
        app: Any = task.app
        job = app.held_job(run, Holder(order.worker, keep_completed=True))
        line.send(Began())
        return call(task, job, run)
    except BaseException as error:  # noqa: BLE001 - the module's import may raise anything
        return Outcome(End.FAILED, error=describe(error))


def _found(module: str, name: str) -> Task[Any, Any]:
    # `spawn` has imported the main module under another name.
    found: Any = sys.modules.get("__mp_main__") if module == "__main__" else None
    found = found or importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, Task)
    return found


def _raise_stopped(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


def _end_with_worker() -> None:
    """A killed worker sends nothing, and its jobs must not run on beside their next attempts."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
