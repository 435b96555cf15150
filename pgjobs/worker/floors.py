"""Floors: lower bounds of run_at per level, below which no claimable job is left."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pgjobs.job.job import Row

LOWEST_PRIORITY, HIGHEST_PRIORITY = -9, 9
ALL_LEVELS = 2 ** (HIGHEST_PRIORITY - LOWEST_PRIORITY + 1) - 1

Levels = dict[str, dict[int, datetime]]


class Floors:
    """Learns floors from claims and looks, and lowers them for news (decision 6).

    A level is a priority of a queue; in a set of levels bit n stands for priority n - 9. A claim
    passes over rows that other sessions have locked, so there are floors of two kinds: those that
    claims have reached, for claims, and those that looks have confirmed, for looks.
    ``lowered`` counts news: what a statement found must not raise a floor that was lowered after
    the statement was sent.
    """

    def __init__(self, queues: Iterable[str]) -> None:
        self._reached: Levels = {queue: {} for queue in queues}
        self._confirmed: Levels = {queue: {} for queue in self._reached}
        self._emptied_at: dict[str, datetime] = {}
        self._lowered_at: dict[str, int] = dict.fromkeys(self._reached, 0)
        self._claim_json: str | None = None
        self._look_json: str | None = None
        self.lowered = 0

    def for_claim(self) -> str:
        """The floors for ``jobs_claim``."""
        if self._claim_json is None:
            self._claim_json = _as_json(self._reached)
        return self._claim_json

    def for_look(self) -> str:
        """The floors for ``_jobs_next_due`` and ``_jobs_worker_watch``."""
        if self._look_json is None:
            self._look_json = _as_json(self._confirmed)
        return self._look_json

    def claimed(self, rows: Sequence[Row], lowered: int) -> None:
        """Takes the rows of a claim, in their order; ``lowered`` as it was before the claim."""
        for row in rows:
            queue = row["queue"]
            # A job that was lost comes early, so that earlier jobs may be left. A job with a group
            # is in no level.
            is_in_order = not row["crash_count"] and row["group_key"] is None
            if is_in_order and self._lowered_at[queue] <= lowered:
                self._reached[queue][row["priority"]] = row["run_at"]
                self._claim_json = None

    def looked(self, due: datetime | None, at: datetime, lowered: int) -> None:
        """Takes what a look at that moment found; ``lowered`` as it was before the look."""
        is_empty = due is None or due > at
        floor = at if due is None or is_empty else due
        for queue, reached in self._reached.items():
            if self._lowered_at[queue] > lowered:
                # A signal came meanwhile. What was found is below the floors all the same.
                if not is_empty:
                    for kind in (self._reached[queue], self._confirmed[queue]):
                        kind.update({level: min(was, floor) for level, was in kind.items()})
                    if queue in self._emptied_at:
                        self._emptied_at[queue] = min(self._emptied_at[queue], floor)
                continue
            self._confirmed[queue] = dict.fromkeys({**self._confirmed[queue], **reached}, floor)
            if is_empty:
                self._reached[queue] = dict.fromkeys(reached, at)
                self._emptied_at[queue] = at
            else:
                # A claim may have passed over that job, because its row was locked.
                self._reached[queue] = {level: min(was, floor) for level, was in reached.items()}
        self._claim_json = self._look_json = None

    def lower(self, to: datetime, queue: str | None = None, levels: int = ALL_LEVELS) -> None:
        """There may be claimable jobs in these levels, from that run_at on; None: in all queues."""
        self.lowered += 1
        for name in self._reached if queue is None else [queue]:
            self._lowered_at[name] = self.lowered
            emptied_at = self._emptied_at.get(name)
            for kind in (self._reached[name], self._confirmed[name]):
                for bit in range(levels.bit_length()):
                    priority = LOWEST_PRIORITY + bit
                    if not levels >> bit & 1:
                        continue
                    if priority in kind:
                        kind[priority] = min(kind[priority], to)
                    elif emptied_at is not None and levels != ALL_LEVELS:
                        # A look found nothing in any level before that moment.
                        kind[priority] = min(emptied_at, to)
            if emptied_at is not None:
                self._emptied_at[name] = min(emptied_at, to)
        self._claim_json = self._look_json = None

    def forget(self) -> None:
        """The next claim and the next look read everything."""
        self.lowered += 1
        for name in self._reached:
            self._reached[name], self._confirmed[name] = {}, {}
            self._lowered_at[name] = self.lowered
        self._emptied_at = {}
        self._claim_json = self._look_json = None


def _as_json(floors: Mapping[str, Mapping[int, datetime]]) -> str:
    return json.dumps(
        {
            queue: {str(priority): at.isoformat() for priority, at in levels.items()}
            for queue, levels in floors.items()
            if levels
        }
    )
