"""Which job, and which worker, the code that asks is a part of: for lines of the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pgjobs.handler.run import ENDED, Run

# To set it costs a run 0.2 us. The fields are made when somebody asks for them.
current_run: ContextVar[Run | None] = ContextVar("pgjobs run", default=None)
_worker: ContextVar[str | None] = ContextVar("pgjobs worker name", default=None)


@contextmanager
def in_worker(name: str) -> Iterator[None]:
    """Names the worker, for the block and for the tasks and threads that the block starts."""
    token = _worker.set(name)
    try:
        yield
    finally:
        _worker.reset(token)


def current_fields() -> dict[str, Any]:
    """The fields of the running job, and the worker's name; what is not known is left out."""
    run, worker = current_run.get(), _worker.get()
    # A task that a handler has started may outlive the run, and is not a part of the job then.
    fields = {} if run is None or run.phase is ENDED else run.log_fields
    if worker is not None:
        fields["worker"] = worker
    return fields
