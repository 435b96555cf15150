"""One timer for many deadlines.

A timer per deadline would be a quarter of a short job's cost in the worker, and most of the cost
that `Link` adds to a statement (docs/decisions/0005-microseconds.md).
"""

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Calls ``on_ring`` with the event loop's time, at the first of the deadlines that were set.

    ``on_ring`` returns the next deadline, or ``math.inf`` if there is none. A deadline cannot be
    taken back: ``on_ring`` is called and finds nothing to do.
    """

    def __init__(self, on_ring: Callable[[float], float]) -> None:
        self._on_ring = on_ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, deadline: float) -> None:
        """Makes the alarm ring at the deadline, or earlier."""
        if self._timer is None or deadline < self._timer.when():
            self.stop()
            if deadline < math.inf:
                self._timer = asyncio.get_running_loop().call_at(deadline, self._ring)

    def stop(self) -> None:
        """Cancels the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self.set(self._on_ring(asyncio.get_running_loop().time()))
