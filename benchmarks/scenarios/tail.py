"""Random bursts for three workers: whether a job waits although a slot is free."""

import asyncio
import bisect
import itertools
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import asyncpg

from pgjobs import App

from ..bench import Bench
from ..orders import Order, Report
from ..systems import SYSTEMS

WORKERS = 3
SLOTS = 20
BURST = (1, 200)  # jobs
RATE = 750  # jobs per second, on average
RUNS_FOR = (0.0, 0.06)  # seconds
LONG, LONG_SHARE = 0.5, 0.01  # seconds, and how many of the jobs take so long
CONNECTIONS = 8  # of the producer that inserts one by one
LATE = 0.1  # seconds
SHOWN = 10


@dataclass(frozen=True)
class Late:
    """A job that waited long. ``free``: the fewest free slots of one worker meanwhile. ``pause``:
    the longest time in which this worker started nothing. It is the worker with the longest pause
    of those that had a free slot all the time, if there are any.
    """

    label: str
    committed: float
    started: float
    worker: int
    free: int
    pause: float

    @property
    def wait(self) -> float:
        return self.started - self.committed

    def line(self, began: float) -> str:
        return (
            f"job {self.label}: committed at {self.committed - began:.3f} s, started at"
            f" {self.started - began:.3f} s, waited {self.wait * 1e3:.0f} ms; worker {self.worker}"
            f" had {self.free} or more free slots, and started nothing for"
            f" {self.pause * 1e3:.0f} ms"
        )


class Slots:
    """How many slots of one worker were free, from the starts and ends of its handlers."""

    def __init__(self, report: Report) -> None:
        self.starts = sorted(when for when, _ in report.starts)
        steps = [(when, -1) for when in self.starts] + [(when, 1) for when, _ in report.ends]
        steps.sort()
        self._times = [when for when, _ in steps]
        self._free = list(itertools.accumulate((step for _, step in steps), initial=SLOTS))

    def fewest_free(self, began: float, ended: float) -> int:
        """The lowest number of free slots at any time from ``began`` until just before
        ``ended``.
        """
        first = bisect.bisect_right(self._times, began)
        last = max(first, bisect.bisect_left(self._times, ended))
        return min(self._free[first:last + 1])

    def longest_pause(self, began: float, ended: float) -> float:
        """The longest time between the two times in which no handler was started."""
        first = bisect.bisect_right(self.starts, began)
        times = [began, *self.starts[first:bisect.bisect_left(self.starts, ended)], ended]
        return max(b - a for a, b in itertools.pairwise(times))


async def tail(bench: Bench) -> None:
    """A job waits from the return of the call that committed it until its handler's first line.

    A slot counts as free from the last line of its handler until the first line of the next one.
    So a worker that is never idle has free slots too, while its next claim is on the way. Only a
    pause of its starts tells that it could have run the job.
    """
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        began = time.monotonic()
        committed, longest_call, reports = await _run(bench, jobs)
        started = {label: when for report in reports for when, label in report.starts}
        if len(started) != jobs or sum(report.handled for report in reports) != jobs:
            raise RuntimeError(f"{len(started)} of {jobs} jobs were run")
        waits = sorted(started[label] - committed[label] for label in started)
        late = _late(committed, started, reports)
        with_slot = [job for job in late if job.free]
        with_slot.sort(key=lambda job: (job.pause > LATE, job.wait), reverse=True)
        lines = [job.line(began) for job in _apart(with_slot)[:SHOWN]]
        for measure, value, unit in (
            ("p50", statistics.median(waits) * 1e3, "ms"),
            ("worst wait", waits[-1] * 1e3, "ms"),
            ("longest call of enqueue", longest_call * 1e3, "ms"),
            ("waited over 100 ms", len(late), "jobs"),
            ("of which a worker had a free slot all the time", len(with_slot), "jobs"),
            ("of which it started nothing for over 100 ms",
             sum(job.pause > LATE for job in with_slot), "jobs"),
        ):
            bench.table.add("pgjobs", measure, value, unit, jobs=jobs, worst=lines)
        for line in lines:
            print(f"    {line}", flush=True)


def _late(
    committed: Mapping[str, float], started: Mapping[str, float], reports: Sequence[Report]
) -> list[Late]:
    workers = [Slots(report) for report in reports]
    late = []
    for label, when in started.items():
        span = committed[label], when
        if when - committed[label] > LATE:
            found = [
                Late(label, *span, number, slots.fewest_free(*span), slots.longest_pause(*span))
                for number, slots in enumerate(workers, start=1)
            ]
            late.append(max(found, key=lambda job: (job.free > 0, job.pause)))
    return late


def _apart(late: Sequence[Late]) -> list[Late]:
    """The first of all jobs that were committed at about the same time: most have one cause."""
    first: list[Late] = []
    for job in late:
        if all(abs(job.committed - other.committed) > LATE for other in first):
            first.append(job)
    return first


async def _run(bench: Bench, jobs: int) -> tuple[dict[str, float], float, list[Report]]:
    system = SYSTEMS["pgjobs"]
    async with (
        bench.database(system) as database, AsyncExitStack() as stack,
        asyncio.timeout(120 + 3 * jobs / RATE),
    ):
        order = Order(
            "pgjobs", bench.dsn(database), {"concurrency": SLOTS}, "probe", until_empty=False
        )
        workers = [await stack.enter_async_context(bench.worker(order)) for _ in range(WORKERS)]
        connection = await stack.enter_async_context(bench.connect(database))
        while await connection.fetchval("select count(*) from jobs_workers") < WORKERS:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        async with App(bench.dsn(database)) as app, asyncpg.create_pool(
            bench.dsn(database), min_size=CONNECTIONS, max_size=CONNECTIONS
        ) as pool:
            producer = _Producer(app, pool)
            await producer.send(jobs)
        while await connection.fetchval(system.unfinished):
            await asyncio.sleep(0.1)
        reports = [await worker.stop() for worker in workers]
    return producer.committed, producer.longest_call, reports


class _Producer:
    """Sends bursts at random times, each in one of three ways."""

    def __init__(self, app: App, pool: Any) -> None:
        self._app = app
        self._pool = pool
        self.committed: dict[str, float] = {}
        self.longest_call = 0.0

    async def send(self, jobs: int) -> None:
        ways = (self._in_one_call, self._at_once, self._one_by_one)
        due, sent = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while sent < jobs:
                size = min(random.randint(*BURST), jobs - sent)
                payloads = [_payload(n) for n in range(sent, sent + size)]
                group.create_task(random.choice(ways)(payloads))
                sent += size
                due += random.expovariate(RATE / size)
                await asyncio.sleep(due - time.monotonic())

    async def _in_one_call(self, payloads: list[dict[str, Any]]) -> None:
        called = time.monotonic()
        await self._app.enqueue_many("sleep", payloads)
        for payload in payloads:
            self._returned(payload, called)

    async def _at_once(self, payloads: list[dict[str, Any]]) -> None:
        async def one(payload: dict[str, Any]) -> None:
            called = time.monotonic()
            await self._app.enqueue("sleep", payload)
            self._returned(payload, called)

        await asyncio.gather(*map(one, payloads))

    async def _one_by_one(self, payloads: list[dict[str, Any]]) -> None:
        async with self._pool.acquire() as connection:
            for payload in payloads:
                called = time.monotonic()
                await connection.execute(
                    "insert into jobs (job_type, payload) values ('sleep', jsonb_build_object("
                    "'label', $1::text, 'seconds', $2::float8))",
                    payload["label"], payload["seconds"],
                )
                self._returned(payload, called)

    def _returned(self, payload: Mapping[str, Any], called: float) -> None:
        now = time.monotonic()
        self.committed[payload["label"]] = now
        self.longest_call = max(self.longest_call, now - called)


def _payload(number: int) -> dict[str, Any]:
    seconds = LONG if random.random() < LONG_SHARE else random.uniform(*RUNS_FOR)
    return {"label": str(number), "seconds": seconds}
