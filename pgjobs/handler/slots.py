"""Whether whoever waits for a job keeps the slot that the job needs."""

import logging
import math
import time
from collections.abc import Collection
from contextvars import ContextVar
from typing import Protocol

log = logging.getLogger("pgjobs.wait")

WARN_AGAIN_AFTER_S = 60.0


class Slots(Protocol):
    """A worker, as a handler that waits sees it."""

    queues: list[str]

    @property
    def has_free_slot(self) -> bool: ...


# The worker whose handlers run in this context.
of_worker: ContextVar[Slots | None] = ContextVar("pgjobs worker", default=None)


class _Warning:
    def __init__(self) -> None:
        self.said_at = -math.inf


_warning = _Warning()


def warn_if_none_is_left(queues: Collection[str | None]) -> None:
    """Warns in a handler whose worker has no slot for jobs of these queues; None: not known."""
    worker = of_worker.get()
    if worker is None or worker.has_free_slot:
        return
    serves = any(queue is None or queue in worker.queues for queue in queues)
    if serves and time.monotonic() > _warning.said_at + WARN_AGAIN_AFTER_S:
        _warning.said_at = time.monotonic()
        log.warning(
            "a handler waits for a job, and its worker has no free slot for that job: unless"
            " another worker takes the job, both wait for ever. Raise concurrency, give timeout, or"
            " enqueue what comes next in place of waiting"
        )
