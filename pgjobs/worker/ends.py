"""Counts how attempts ended and how long they took, and tells the database every ten seconds."""

import json
import logging
from collections.abc import Iterable
from math import ceil

import asyncpg

from pgjobs.database import Database
from pgjobs.handler.run import Run

log = logging.getLogger("pgjobs.worker")

MAX_UNTOLD = 6  # the counts of a minute, while the server refuses them

LAST_BUCKET = 23
_EMPTY = (0,) * (LAST_BUCKET + 1)


class Counts:
    """Of one set of labels: how many attempts ended, and how long they waited and ran."""

    __slots__ = ("jobs", "ran_s", "runs", "waited_s", "waits")

    def __init__(self) -> None:
        self.jobs = 0
        self.waited_s = self.ran_s = 0.0
        # Each bucket has durations up to twice as long: up to 2 ms, 4 ms ... (_jobs_bucket.sql).
        self.waits, self.runs = list(_EMPTY), list(_EMPTY)


class Ends:
    """What has ended since the counts were told last.

    Counts that are told while the connection is lost are not told again, because they may have
    arrived: then they would count twice.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sets: dict[tuple[str, str, str], Counts] = {}
        self._untold: list[str] = []

    def add(self, runs: Iterable[Run | None], outcome: str) -> None:
        """Counts runs whose ends are written."""
        sets = self._sets
        for run in runs:
            if run is None:
                continue
            row = run.row
            key = (row["queue"], row["job_type"], outcome)
            counts = sets.get(key)
            if counts is None:
                counts = sets[key] = Counts()
            waited_s = (row["started_at"] - row["run_at"]).total_seconds()
            ran_s = run.took_s
            counts.jobs += 1
            if waited_s > 0.002:
                counts.waited_s += waited_s
                counts.waits[min((ceil(waited_s * 1000) - 1).bit_length(), LAST_BUCKET)] += 1
            else:
                counts.waited_s += max(waited_s, 0.0)
                counts.waits[1] += 1
            counts.ran_s += ran_s
            if ran_s > 0.002:
                counts.runs[min((ceil(ran_s * 1000) - 1).bit_length(), LAST_BUCKET)] += 1
            else:
                counts.runs[1] += 1

    async def tell(self) -> None:
        """Tells what has ended since the last time, if anything."""
        if self._sets:
            self._untold = [*self._untold, _as_json(self._sets)][-MAX_UNTOLD:]
            self._sets = {}
        while self._untold:
            ends = self._untold.pop(0)
            try:
                await self._database.note_ends(ends)
            except asyncpg.PostgresError as error:
                log.warning("the counts of ended attempts were refused, again later: %r", error)
                self._untold.insert(0, ends)
                return


def _as_json(sets: dict[tuple[str, str, str], Counts]) -> str:
    return json.dumps(
        [
            (*labels, c.jobs, c.waited_s, _sparse(c.waits), c.ran_s, _sparse(c.runs))
            for labels, c in sets.items()
        ],
        separators=(",", ":"),
    )


def _sparse(buckets: list[int]) -> dict[int, int]:
    return {bucket: jobs for bucket, jobs in enumerate(buckets) if jobs}
