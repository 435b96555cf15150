"""Which of a worker's queues a complete tick looks at."""

import math
from collections.abc import Sequence
from itertools import cycle

MAX_PAIRS = 5_000  # of a queue and a type, which the server looks at in about 10 ms


class Rounds:
    """A worker with many queues and types looks at a part of the queues in each complete tick.

    Queues of which it has heard that they may have due jobs are looked at in the next one.
    """

    def __init__(self, queues: Sequence[str], job_types: Sequence[str]) -> None:
        self._queues = queues
        parts = min(len(queues), math.ceil(len(queues) * len(job_types) / MAX_PAIRS)) or 1
        self._parts = cycle([queues[n::parts] for n in range(parts)])
        self._heard_of: set[str] = set()

    def hear(self, queue: str) -> None:
        """The next tick looks at this queue too."""
        self._heard_of.add(queue)

    def hear_of_all(self) -> None:
        """The next tick looks at all queues, for example since signals were missed."""
        self._heard_of.update(self._queues)

    def next(self) -> list[str]:
        """The queues of the next tick."""
        heard_of, self._heard_of = self._heard_of, set()
        return list(heard_of.union(next(self._parts)))
