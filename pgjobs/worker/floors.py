"""Floors: lower bounds of run_at per level. The worker has claimed the jobs below them."""

import json
import time
from collections.abc import Sequence
from datetime import datetime

from pgjobs.job.job import Row

# A retry, or a transaction that committed late, may have an earlier run_at than what was claimed.
# Only a full claim, one without floors, finds such a job. Full claims are made this often.
FULL_CLAIM_EVERY_S = 0.02
FULL_CLAIM_EVERY_S_IN_BACKLOG = 1.0


class Floors:
    """Learns floors from claims and gives them to claims, except to full ones (jobs_claim.sql)."""

    def __init__(self) -> None:
        self._levels: dict[str, dict[int, datetime]] = {}
        self._full_claim_at = float("-inf")

    def for_claim(self, *, backlog: bool) -> str | None:
        """Returns the floors as JSON for ``jobs_claim``; None: a full claim is due."""
        age = time.monotonic() - self._full_claim_at
        full_after_s = FULL_CLAIM_EVERY_S_IN_BACKLOG if backlog else FULL_CLAIM_EVERY_S
        if not self._levels or age >= full_after_s:
            return None
        return json.dumps(
            {
                queue: {str(priority): at.isoformat() for priority, at in levels.items()}
                for queue, levels in self._levels.items()
            }
        )

    def learn(self, rows: Sequence[Row], *, full: bool) -> None:
        """Takes the rows of a claim, in their order; ``full``: it was a full claim.

        A level without rows keeps its floor: the index entries of its claimed jobs are still there.
        """
        if full:
            self._full_claim_at = time.monotonic()
        for row in rows:
            self._levels.setdefault(row["queue"], {})[row["priority"]] = row["run_at"]
