"""Waiting for jobs: how late a result is heard, and what ten thousand waiters cost a drain."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from pgjobs import App

from ..bench import Bench
from ..orders import Order
from ..systems import SYSTEMS
from ..systems.pgjobs_ import TYPE

# As in latency; so many jobs of each kind of call.
PACE_S = (0.04, 0.08)
PROBES = 200
SEEN_WITHIN_S = 30.0
TIMEOUT_S = 120.0
STARTED, HEARD = "handler started, p50", "result heard, p50"
UNWATCHED, WATCHED = "nobody waits", "each job is waited for"


async def wait(bench: Bench) -> None:
    """All waiters are in this process, and the worker is in another one."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for setting, call in (("job.wait", _by_coroutine), ("sync.wait", _by_thread)):
            await _probe(bench, setting, call, min(PROBES, jobs))
        for setting in (UNWATCHED, WATCHED):
            await _drain(bench, setting, jobs)
    bench.table.ratio(
        "drain while each job is waited for, against nobody waits",
        ("pgjobs", "drain", WATCHED), ("pgjobs", "drain", UNWATCHED),
    )


async def _by_coroutine(app: App[Any]) -> None:
    job = await app.enqueue(TYPE, {"sent": time.monotonic()})
    await job.wait()


async def _by_thread(app: App[Any]) -> None:
    def call() -> None:
        job = app.sync.enqueue(TYPE, {"sent": time.monotonic()})
        app.sync.wait([job])

    await asyncio.to_thread(call)


async def _probe(
    bench: Bench, setting: str, call: Callable[[App[Any]], Coroutine[Any, Any, None]], jobs: int
) -> None:
    """One job at a time, on an idle worker."""
    system = SYSTEMS["pgjobs"]
    heard: list[float] = []
    async with bench.database(system) as database, App(bench.dsn(database)) as app:
        order = Order("pgjobs", bench.dsn(database), {}, "probe", until_empty=False)
        async with bench.worker(order) as worker, asyncio.timeout(TIMEOUT_S):
            await (await app.enqueue(TYPE, {"n": -1})).wait()
            for _ in range(jobs):
                await asyncio.sleep(random.uniform(*PACE_S))
                began = time.monotonic()
                await call(app)
                heard.append(time.monotonic() - began)
            started = (await worker.stop()).delays
        app.sync.close()
    _add(bench, setting, started, heard)


def _add(bench: Bench, setting: str, started: Sequence[float], heard: Sequence[float]) -> None:
    later = [h - s for h, s in zip(heard, started, strict=True)]
    for measure, value in (
        (STARTED, statistics.median(started)), (HEARD, statistics.median(heard)),
        ("result heard after the handler's start, p50", statistics.median(later)),
        ("result heard after the handler's start, p99", statistics.quantiles(later, n=100)[98]),
    ):
        bench.table.add(
            "pgjobs", measure, value * 1e3, "ms", setting=setting, jobs=len(later)
        )


async def _drain(bench: Bench, setting: str, jobs: int) -> None:
    """From the worker's start until its end, or until the last waiter has heard."""
    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, App(bench.dsn(database)) as app:
        ids = await app.enqueue_many(TYPE, [{"n": n} for n in range(jobs)])
        async with bench.connect(database) as connection, asyncio.TaskGroup() as tasks:
            waits: list[asyncio.Task[Any]] = []
            if setting == WATCHED:
                waits = [tasks.create_task(app.wait([job_id])) for job_id in ids]
                async with asyncio.timeout(SEEN_WITHIN_S):
                    while await connection.fetchval("select count(*) from jobs_watched") < jobs:
                        await asyncio.sleep(0.1)
            await connection.execute("analyze")
            tuning = system.tunings["default"]
            report = await bench.drain(Order("pgjobs", bench.dsn(database), tuning, jobs=jobs))
            if waits:
                async with asyncio.timeout(TIMEOUT_S):
                    await asyncio.wait(waits)
            ended = max(report.ended, time.monotonic()) if waits else report.ended
    bench.table.add(
        "pgjobs", "drain", jobs / (ended - report.began), "jobs/s", setting=setting, jobs=jobs
    )
