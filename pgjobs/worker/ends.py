"""Counts how attempts ended and how long they took, and tells the database every ten seconds."""

import json
import logging
from collections.abc import Iterable

import asyncpg

from pgjobs.connection.link import BROKEN
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.handler.run import Run

log = logging.getLogger("pgjobs.worker")

MAX_UNTOLD = 6  # the counts of a minute, while the server refuses them

LAST_BUCKET = 23
BUCKETS = 64  # of durations of any length


class Counts:
    """Of one set of labels: how many attempts ended, and how long they waited and ran."""

    __slots__ = ("ran_s", "runs", "waited_s", "waits")

    def __init__(self) -> None:
        self.waited_s = self.ran_s = 0.0
        # By the length of the milliseconds as a binary number, as in _jobs_bucket.sql.
        self.waits, self.runs = [0] * BUCKETS, [0] * BUCKETS


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
        # Every statement here costs each job: a job that does nothing takes 13 µs.
        queue = job_type = ""  # no job has such a name
        counts = Counts()
        waits, ran = counts.waits, counts.runs
        for run in runs:
            if run is None:
                continue
            row, ran_s = run.row, run.took_s
            if row["queue"] != queue or row["job_type"] != job_type:
                queue, job_type = row["queue"], row["job_type"]
                counts = self._of((queue, job_type, outcome))
                waits, ran = counts.waits, counts.runs
            waited_s = (row["started_at"] - row["run_at"]).total_seconds()
            if waited_s > 0.0:
                counts.waited_s += waited_s
                waits[int(waited_s * 1000).bit_length()] += 1
            else:
                waits[0] += 1
            counts.ran_s += ran_s
            ran[int(ran_s * 1000).bit_length()] += 1

    def _of(self, labels: tuple[str, str, str]) -> Counts:
        counts = self._sets.get(labels)
        if counts is None:
            counts = self._sets[labels] = Counts()
        return counts

    async def tell(self) -> None:
        """Tells what has ended since the last time, if anything."""
        if self._sets:
            self._untold = [*self._untold, _as_json(self._sets)][-MAX_UNTOLD:]
            self._sets = {}
        while self._untold:
            try:
                await self._database.note_ends(self._untold[0])
            except (asyncpg.PostgresError, PgjobsError) as error:
                log.warning("the counts of ended attempts were refused, again later: %r", error)
                return
            except BROKEN:
                del self._untold[0]
                raise
            del self._untold[0]


def _as_json(sets: dict[tuple[str, str, str], Counts]) -> str:
    return json.dumps(
        [
            (*labels, sum(c.runs), c.waited_s, _sparse(c.waits), c.ran_s, _sparse(c.runs))
            for labels, c in sets.items()
        ],
        separators=(",", ":"),
    )


def _sparse(buckets: list[int]) -> dict[int, int]:
    sparse: dict[int, int] = {}
    for length, jobs in enumerate(buckets):
        if jobs:
            bucket = min(max(length, 1), LAST_BUCKET)
            sparse[bucket] = sparse.get(bucket, 0) + jobs
    return sparse
