"""A worker is free: how long a due job waits, whatever another worker or a producer does."""

import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ..bench import Bench, Worker
from ..orders import Order, Report
from ..systems import SYSTEMS

TARGET = 0.3  # seconds
SITUATIONS = 20  # per case
LANES = 4  # databases with two workers each, which share the situations of a case
SLOTS = 10
OPEN_FOR = 20.0  # seconds
OPENED_WITHIN = 5.0  # seconds
FLOW = 300  # jobs per second
SHORT_JOBS = 300  # one after the other: they make a worker poll
LONE_SHARE = 0.25
LONE_PAUSE = (0.32, 0.4)  # seconds after a job: no later job wakes a worker for it in time
SHORT_PAUSE = (0.002, 0.02)
LONE_AFTER_FLOW = 10  # jobs
SETTLE = 0.2  # seconds until jobs that occupy the worker have surely started
PAST = "1 minute"
SHOWN = 10
INSERT = """
    insert into jobs (job_type, payload, run_at)
    values ('noop', jsonb_build_object('label', $1::text),
            clock_timestamp() - $2::text::interval)"""
OTHER = "insert into jobs (job_type, queue, payload) values ($1, 'other', $2::text::jsonb)"
# No function of the schema tells it, and a later schema may not have the column.
POLLING = """select (m.mode = 'polling')::text from jobs_workers w
    join _jobs_worker_modes() m on m.worker = w.worker where 'other' = any (w.queues)"""


@dataclass
class Lane:
    """A database with two workers. Only the busy worker serves the queue ``other``, whose jobs
    occupy it. The free worker and the busy one both serve the queue of the jobs that are measured.
    """

    bench: Bench
    database: str
    stack: AsyncExitStack
    connection: Any
    busy: Worker | None = None
    reports: list[Report] = field(default_factory=list)
    committed: dict[str, float] = field(default_factory=dict)
    polled: int = 0  # situations in which the busy worker polled

    async def start(self, *queues: str) -> Worker:
        tuning = {"concurrency": SLOTS, "queues": ["default", *queues]}
        order = Order("pgjobs", self.bench.dsn(self.database), tuning, "probe", until_empty=False)
        before = await self.connection.fetchval("select count(*) from jobs_workers")
        worker = await self.stack.enter_async_context(self.bench.worker(order))
        await self.until(f"select count(*) > {before} from jobs_workers")
        return worker

    async def until(self, query: str, *arguments: Any) -> None:
        while not await self.connection.fetchval(query, *arguments):
            await asyncio.sleep(0.1)

    async def until_idle(self, *more_queues: str) -> None:
        unfinished = f"{SYSTEMS['pgjobs'].unfinished} and queue = any ($1)"
        await self.until(f"select ({unfinished}) = 0", ["default", *more_queues])

    async def make_poll(self) -> None:
        """Makes the busy worker poll, so that producers count on it."""
        for _ in range(SHORT_JOBS):
            await self.connection.execute(OTHER, "noop", "{}")
        self.polled += await self.connection.fetchval(POLLING) == "true"

    async def occupy(self, job_type: str, count: int, seconds: float) -> None:
        payload = json.dumps({"seconds": seconds})
        await self.connection.executemany(OTHER, [(job_type, payload)] * count)

    async def commit(self, past: str = "0") -> None:
        """Commits one job that is measured."""
        label = self._label("job")
        await self.connection.execute(INSERT, label, past)
        self.committed[label] = time.monotonic()

    async def commit_each(self, pauses: Sequence[float]) -> None:
        for pause in pauses:
            await self.commit()
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def open_transaction(self) -> AsyncIterator[None]:
        """A producer's transaction, until the end of the block. Its job is measured too, from the
        commit on, and has then been due for as long as the transaction was open.
        """
        async with self.bench.connect(self.database) as connection:
            label = self._label("job of an open transaction")
            async with connection.transaction():
                await connection.execute(INSERT, label, "0")
                yield
            self.committed[label] = time.monotonic()

    def _label(self, kind: str) -> str:
        label = f"{kind}, {len(self.committed)}"
        self.committed[label] = 0.0
        return label


async def _beside_open_transactions(lane: Lane, _: int, jobs: int) -> None:
    """All transactions are open at the same time. Half of them end after the many single jobs, when
    few come in.
    """
    lane.busy = lane.busy or await lane.start("other")
    open_for = lane.bench.options.seconds or OPEN_FOR

    async def one() -> None:
        await asyncio.sleep(random.uniform(0, OPENED_WITHIN))
        async with lane.open_transaction():
            await asyncio.sleep(open_for)

    async with asyncio.TaskGroup() as group:
        for _ in range(SITUATIONS):
            group.create_task(one())
        await _flow(lane.commit, max(jobs, int((open_for + OPENED_WITHIN / 2) * FLOW)))
        await lane.commit_each([random.uniform(*LONE_PAUSE) for _ in range(LONE_AFTER_FLOW)])


async def _beside_a_full_worker(lane: Lane, number: int, jobs: int) -> None:
    """In each second situation an open transaction keeps the worker from another mode."""
    lane.busy = lane.busy or await lane.start("other")
    pauses = _pauses(jobs)
    await lane.make_poll()
    async with AsyncExitStack() as stack:
        if number % 2:
            await stack.enter_async_context(lane.open_transaction())
        await lane.occupy("sleep", SLOTS, _length(pauses))
        await asyncio.sleep(random.uniform(0, SETTLE))
        await lane.commit_each(pauses)
    await lane.until_idle("other")


async def _beside_a_blocked_worker(lane: Lane, _: int, jobs: int) -> None:
    lane.busy = lane.busy or await lane.start("other")
    pauses = _pauses(jobs)
    await lane.make_poll()
    await lane.occupy("block", 1, _length(pauses))
    await asyncio.sleep(SETTLE)
    await lane.commit_each(pauses)
    await lane.until_idle("other")


async def _beside_a_stopping_worker(lane: Lane, _: int, jobs: int) -> None:
    worker = await lane.start("other")
    pauses = _pauses(jobs)
    await lane.occupy("sleep", 1, _length(pauses) + SHORT_JOBS / FLOW)
    await lane.make_poll()
    worker.tell_to_stop()
    await lane.commit_each(pauses)
    lane.reports.append(await worker.report())


async def _due_in_the_past(lane: Lane, number: int, jobs: int) -> None:
    """Each comes a moment after another job, with both workers free in one situation, and with one
    worker full in the next. In the third it comes among many jobs.
    """
    lane.busy = lane.busy or await lane.start("other")
    pauses = _pauses(jobs)
    among_many = number % 3 == 2
    if number % 3 == 1:
        await lane.occupy("sleep", SLOTS, _length(pauses) + jobs * SHORT_PAUSE[1])
        await asyncio.sleep(SETTLE)
    async with lane.bench.connect(lane.database) as connection:

        async def another() -> None:
            await connection.execute("insert into jobs (job_type) values ('noop')")

        flow = asyncio.create_task(_flow(another)) if among_many else None
        for pause in pauses:
            if flow is None:
                await another()
                await asyncio.sleep(random.uniform(*SHORT_PAUSE))
            await lane.commit(PAST)
            await asyncio.sleep(pause)
        if flow is not None:
            flow.cancel()
            with suppress(asyncio.CancelledError):
                await flow
    await lane.until_idle("other")


Case = Callable[[Lane, int, int], Awaitable[None]]
CASES: dict[str, Case] = {
    "producers' transactions stay open": _beside_open_transactions,
    "another worker polls and is full": _beside_a_full_worker,
    "another worker polls and is blocked": _beside_a_blocked_worker,
    "another worker polled and stops": _beside_a_stopping_worker,
    "run_at a minute ago": _due_in_the_past,
}


async def promptness(bench: Bench) -> None:
    """A job waits from the return of its commit until its handler's first line."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for name, case in CASES.items():
            began = time.monotonic()
            lanes = await _lanes(bench, case, jobs)
            waits = {
                (number, label): wait
                for number, lane in enumerate(lanes, start=1)
                for label, wait in _waits(lane).items()
            }
            lines = [
                f"lane {key[0]}, {key[1]}: committed at"
                f" {lanes[key[0] - 1].committed[key[1]] - began:.3f} s, waited {wait * 1e3:.0f} ms"
                for key, wait in sorted(waits.items(), key=lambda item: -item[1])[:SHOWN]
                if wait > TARGET
            ]
            figures = [
                ("worst wait", max(waits.values()) * 1e3, "ms"),
                ("p50", statistics.median(waits.values()) * 1e3, "ms"),
                ("waited over 0.3 s", sum(wait > TARGET for wait in waits.values()), "jobs"),
            ]
            if case is not _due_in_the_past and case is not _beside_open_transactions:
                polled = sum(lane.polled for lane in lanes)
                figures.append(("the other worker polled", polled, f"of {SITUATIONS} situations"))
            for measure, value, unit in figures:
                bench.table.add(
                    "pgjobs", measure, value, unit, setting=name, jobs=len(waits), worst=lines
                )
            for line in lines:
                print(f"    {line}", flush=True)


async def _lanes(bench: Bench, case: Case, jobs: int) -> list[Lane]:
    """Runs all situations of one case."""
    count, situations = (1, 1) if case is _beside_open_transactions else (LANES, SITUATIONS)
    async with AsyncExitStack() as stack, asyncio.timeout(120 + jobs / 5):
        lanes = []
        for _ in range(count):
            database = await stack.enter_async_context(bench.database(SYSTEMS["pgjobs"]))
            connection = await stack.enter_async_context(bench.connect(database))
            lanes.append(Lane(bench, database, stack, connection))
        await bench.settle()
        async with asyncio.TaskGroup() as group:
            for first, lane in enumerate(lanes):
                numbers = range(first * situations // count, (first + 1) * situations // count)
                group.create_task(_situations(lane, case, numbers, max(jobs // situations, 1)))
    return lanes


async def _situations(lane: Lane, case: Case, numbers: Sequence[int], jobs: int) -> None:
    free = await lane.start()
    for number in numbers:
        await case(lane, number, jobs)
    # A worker that stopped may have left jobs in its own queue.
    await lane.until_idle()
    for worker in (free, lane.busy):
        if worker is not None:
            lane.reports.append(await worker.stop())


def _waits(lane: Lane) -> dict[str, float]:
    started: dict[str, float] = {}
    for when, label in sorted(start for report in lane.reports for start in report.starts):
        started.setdefault(label, when)
    if len(started) != len(lane.committed):
        raise RuntimeError(f"{len(started)} of {len(lane.committed)} jobs were run")
    return {label: started[label] - when for label, when in lane.committed.items()}


async def _flow(one: Callable[[], Awaitable[None]], jobs: int = 1_000_000) -> None:
    due = time.monotonic()
    for _ in range(jobs):
        await one()
        due += random.uniform(0, 2 / FLOW)
        await asyncio.sleep(due - time.monotonic())


def _pauses(jobs: int) -> list[float]:
    """After each job; in a random order, the same number of long ones each time."""
    lone = max(round(jobs * LONE_SHARE), 1)
    ranges = [LONE_PAUSE] * lone + [SHORT_PAUSE] * (jobs - lone)
    random.shuffle(ranges)
    return [random.uniform(*pause) for pause in ranges]


def _length(pauses: Sequence[float]) -> float:
    """Seconds that a worker has to be occupied while the jobs come in."""
    return SETTLE + sum(pauses) + len(pauses) / FLOW + 0.5
