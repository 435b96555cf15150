"""Which numbers of the database ``pgjobs metrics`` gives a monitor."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from pgjobs.database import Database
from pgjobs.job.job import Row
from pgjobs.telemetry.exposition import Histogram, Metric

MAX_SETS = 1_000  # of labels, per metric
OTHER = "other"  # what the sets of labels are called that are summed up

# Of the histograms in the database: up to 2 ms, 4 ms ... 4,194 s, and one without a bound.
BOUNDS_S = [2.0**power / 1000 for power in range(1, 23)]
_VERDICTS = {"ok": 0, "warn": 1, "bad": 2}
_MODES = ("listening", "polling", "full", "gone")

Key = tuple[str, ...]


class _Summed:
    """Counts the sets of labels that a metric sums up as ``other``."""

    def __init__(self) -> None:
        self.sets: dict[str, int] = {}

    def largest(
        self,
        metric: str,
        labels: Sequence[str],
        values: Mapping[Key, float],
        *,
        kept: int = 0,
        together: Callable[[Iterable[float]], float] = sum,
    ) -> list[tuple[dict[str, str], float]]:
        """The values of the largest sets of labels; the others together.

        The last ``kept`` labels stay apart also where sets are summed up.
        """
        ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
        result: dict[Key, list[float]] = defaultdict(list)
        for key, value in ranked[:MAX_SETS]:
            result[key].append(value)
        for key, value in ranked[MAX_SETS:]:
            others = (OTHER,) * (len(labels) - kept) + key[len(labels) - kept :]
            result[others].append(value)
        self.sets[metric] = len(ranked[MAX_SETS:])
        return [
            (dict(zip(labels, key, strict=True)), together(found))
            for key, found in sorted(result.items())
        ]


async def metrics(database: Database) -> list[Metric | Histogram]:
    """Reads all metrics; the role needs the rights of an observer."""
    summed = _Summed()
    stats = await database.stats()
    jobs: dict[Key, float] = defaultdict(float)
    oldest: dict[Key, float] = {(row["queue"],): 0.0 for row in stats if row["queue"] is not None}
    for row in stats:
        labels = (row["queue"] or OTHER, row["job_type"] or OTHER, row["state"])
        jobs[labels] += row["count"]
        if row["oldest_due"] is not None:
            queue = (row["queue"] or OTHER,)
            oldest[queue] = max(oldest.get(queue, 0.0), _seconds(row["oldest_due"]))

    finished: dict[Key, float] = defaultdict(float)
    retried: dict[Key, float] = defaultdict(float)
    for row in await database.totals():
        into = retried if row["outcome"] in ("retried", "lost") else finished
        into[row["queue"] or OTHER, row["job_type"] or OTHER, row["outcome"]] += row["jobs"]
        if row["queue"] is None:
            name = "pgjobs_jobs_finished_total" if into is finished else _RETRIED
            summed.sets[name] = summed.sets.get(name, 0) + row["sets"]

    durations = await database.durations()
    workers = await database.workers()
    living = [row for row in workers if row["mode"] != "gone"]
    taken = sum(row["taken"] for row in living)
    paused = await database.paused()
    queues = {**{queue: 0 for (queue,) in oldest}, **dict.fromkeys(paused, 1)}
    by_labels = ("queue", "job_type", "outcome")
    return [
        Metric(
            "pgjobs_jobs", "gauge",
            "Jobs by state; 10000 stands for that many or more. completed, failed and cancelled are"
            " those whose rows are kept.",
            summed.largest("pgjobs_jobs", ("queue", "job_type", "state"), jobs, kept=1),
        ),
        Metric(
            "pgjobs_oldest_due_seconds", "gauge",
            "For how long the oldest due job of the queue has waited; 0 if none is due.",
            summed.largest("pgjobs_oldest_due_seconds", ("queue",), oldest, together=max),
        ),
        Metric(
            "pgjobs_jobs_finished_total", "counter",
            "Jobs that were completed, failed for good or were cancelled.",
            _as_values(by_labels, finished),
        ),
        Metric(
            _RETRIED, "counter",
            "Attempts that failed (retried) or were lost with their worker (lost), and whose job"
            " runs again.",
            _as_values(by_labels, retried),
        ),
        _histogram(
            "pgjobs_job_run_seconds", "How long attempts ran.", durations, "runs", "ran_s"
        ),
        _histogram(
            "pgjobs_job_wait_seconds", "From the moment when an attempt was due to its start.",
            durations, "waits", "waited_s",
        ),
        Metric(
            "pgjobs_workers", "gauge",
            "Workers by mode; gone: its session is gone, and its jobs are taken back soon.",
            [({"mode": m}, sum(row["mode"] == m for row in workers)) for m in _MODES],
        ),
        Metric(
            "pgjobs_slots", "gauge", "Slots of the living workers.",
            [
                ({"state": "taken"}, taken),
                ({"state": "free"}, sum(row["concurrency"] for row in living) - taken),
            ],
        ),
        Metric(
            "pgjobs_queue_paused", "gauge", "1 if the queue is paused, 0 if it is open.",
            summed.largest(
                "pgjobs_queue_paused", ("queue",),
                {(queue,): float(is_paused) for queue, is_paused in queues.items()}, together=max,
            ),
        ),
        Metric(
            "pgjobs_schedule_late_seconds", "gauge",
            "For how long the schedule has been due without having fired; 0 if it is not.",
            summed.largest(
                "pgjobs_schedule_late_seconds", ("schedule",),
                {(row["name"],): row["late_s"] for row in await database.schedules_late()},
                together=max,
            ),
        ),
        Metric(
            "pgjobs_doctor", "gauge",
            "The verdict of a check of pgjobs doctor: 0 ok, 1 warn, 2 bad.",
            [
                ({"check": row["check_name"]}, _VERDICTS[row["verdict"]])
                for row in await database.doctor()
            ],
        ),
        Metric(
            "pgjobs_label_sets_summed", "gauge",
            "How many sets of labels a metric sums up as other, at least.",
            [({"metric": name}, sets) for name, sets in sorted(summed.sets.items())],
        ),
    ]


_RETRIED = "pgjobs_attempts_retried_total"


def _histogram(
    name: str, text: str, durations: Sequence[Row], buckets: str, total: str
) -> Histogram:
    values: dict[Key, tuple[Sequence[int], float]] = {}
    for row in durations:
        key = (row["queue"] or OTHER, row["job_type"] or OTHER)
        counts, seconds = values.get(key, ((0,) * (len(BOUNDS_S) + 1), 0.0))
        added = [a + b for a, b in zip(counts, row[buckets], strict=True)]
        values[key] = added, seconds + row[total]
    return Histogram(
        name, text, BOUNDS_S,
        [
            ({"queue": queue, "job_type": job_type}, *found)
            for (queue, job_type), found in values.items()
        ],
    )


def _as_values(
    labels: Sequence[str], values: Mapping[Key, float]
) -> list[tuple[dict[str, str], float]]:
    return [(dict(zip(labels, key, strict=True)), value) for key, value in sorted(values.items())]


def _seconds(age: timedelta) -> float:
    return age.total_seconds()
