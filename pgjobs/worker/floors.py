"""Floors: lower bounds of run_at per level, below which the worker knows of no claimable job."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from pgjobs.job.job import Row

LOWEST_PRIORITY, HIGHEST_PRIORITY = -9, 9
ALL_LEVELS = 2 ** (HIGHEST_PRIORITY - LOWEST_PRIORITY + 1) - 1


class Floors:
    """Learns floors from claims and looks, and lowers them for news (decision 6).

    A level is a priority of a queue; in a set of levels bit n stands for priority n - 9.
    ``lowered`` counts news: what a statement found must not raise a floor that was lowered after
    the statement was sent.
    """

    def __init__(self, queues: Iterable[str]) -> None:
        self._levels: dict[str, dict[int, datetime]] = {queue: {} for queue in queues}
        self._emptied_at: dict[str, datetime] = {}
        self._lowered_at: dict[str, int] = dict.fromkeys(self._levels, 0)
        self._json: str | None = None
        self.lowered = 0

    def as_json(self) -> str:
        """The floors as ``jobs_claim`` takes them."""
        if self._json is None:
            self._json = json.dumps(
                {
                    queue: {str(priority): at.isoformat() for priority, at in levels.items()}
                    for queue, levels in self._levels.items()
                    if levels
                }
            )
        return self._json

    def learn(self, rows: Sequence[Row], lowered: int) -> None:
        """Takes the rows of a claim, in their order; ``lowered`` as it was before the claim."""
        for row in rows:
            queue = row["queue"]
            # A suspect comes before its turn, so that earlier jobs may be left.
            if not row["crash_count"] and self._lowered_at[queue] <= lowered:
                self._levels[queue][row["priority"]] = row["run_at"]
                self._json = None

    def emptied(self, at: datetime, lowered: int) -> None:
        """Nothing was due at that moment; ``lowered`` as it was before the look."""
        for queue, levels in self._levels.items():
            if self._lowered_at[queue] <= lowered:
                self._levels[queue] = dict.fromkeys(levels, at)
                self._emptied_at[queue] = at
                self._json = None

    def lower(self, to: datetime, queue: str | None = None, levels: int = ALL_LEVELS) -> None:
        """There may be claimable jobs in these levels, from that run_at on; None: in all queues."""
        self.lowered += 1
        for name in self._levels if queue is None else [queue]:
            self._lowered_at[name] = self.lowered
            known = self._levels[name]
            emptied_at = self._emptied_at.get(name)
            for bit in range(levels.bit_length()):
                priority = LOWEST_PRIORITY + bit
                if not levels >> bit & 1:
                    continue
                if priority in known:
                    known[priority] = min(known[priority], to)
                elif emptied_at is not None and levels != ALL_LEVELS:
                    # The look found nothing in any level, so this job is the first in its level.
                    known[priority] = min(emptied_at, to)
        self._json = None
