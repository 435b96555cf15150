"""Waiting for jobs: how late a result is heard, and what ten thousand waiters cost a drain."""

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any

from pgjobs import App, Outcome

from ..bench import Bench
from ..orders import Order
from ..systems import SYSTEMS
from ..systems.pgjobs_ import TYPE

# As in latency; so many jobs of each kind of call.
PACE_S = (0.04, 0.08)
PROBES = 150
# A drain takes half a second. So each run has several, of each kind in turn.
DRAINS = 3
SEEN_WITHIN_S = 30.0
TIMEOUT_S = 120.0
UNWATCHED, WATCHED = "nobody waits", "each job is waited for"

Call = Callable[[App[Any]], Coroutine[Any, Any, Outcome]]


async def wait(bench: Bench) -> None:
    """All waiters are in this process, and the worker is in another one."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for setting, call in (("app.wait", _by_coroutine), ("app.sync.wait", _by_thread)):
            await _probe(bench, setting, call, min(PROBES, jobs))
        seconds = dict.fromkeys((UNWATCHED, WATCHED), 0.0)
        for _ in range(DRAINS):
            for setting in seconds:
                seconds[setting] += await _drain(bench, setting, jobs)
        for setting, took in seconds.items():
            bench.table.add(
                "pgjobs", "drain", DRAINS * jobs / took, "jobs/s", setting=setting, jobs=jobs
            )
    bench.table.ratio(
        "drain while each job is waited for, against nobody waits",
        ("pgjobs", "drain", WATCHED), ("pgjobs", "drain", UNWATCHED),
    )


async def _by_coroutine(app: App[Any]) -> Outcome:
    job = await app.enqueue(TYPE, {"sent": time.monotonic()})
    return (await app.wait([job]))[0]


async def _by_thread(app: App[Any]) -> Outcome:
    def call() -> Outcome:
        job = app.sync.enqueue(TYPE, {"sent": time.monotonic()})
        return app.sync.wait([job])[0]

    return await asyncio.to_thread(call)


async def _probe(bench: Bench, setting: str, call: Call, jobs: int) -> None:
    """One job at a time, on an idle worker. The server's clock is that of this machine."""
    heard: list[float] = []
    later: list[float] = []
    async with bench.database(SYSTEMS["pgjobs"]) as database, App(bench.dsn(database)) as app:
        order = Order("pgjobs", bench.dsn(database), {}, "probe", until_empty=False)
        async with bench.worker(order) as worker, asyncio.timeout(TIMEOUT_S):
            await (await app.enqueue(TYPE, {"n": -1})).wait()
            for _ in range(jobs):
                await asyncio.sleep(random.uniform(*PACE_S))
                began = time.monotonic()
                outcome = await call(app)
                now = time.time()
                heard.append(time.monotonic() - began)
                assert outcome.finished_at is not None
                later.append(now - outcome.finished_at.timestamp())
            started = (await worker.stop()).delays
        app.sync.close()
    for measure, value in (
        ("enqueue called until the handler started, p50", statistics.median(started)),
        ("enqueue called until the result was heard, p50", statistics.median(heard)),
        ("the job's end until the result was heard, p50", statistics.median(later)),
        ("the job's end until the result was heard, p99", statistics.quantiles(later, n=100)[98]),
    ):
        bench.table.add("pgjobs", measure, value * 1e3, "ms", setting=setting, jobs=jobs)


async def _drain(bench: Bench, setting: str, jobs: int) -> float:
    """Seconds from the worker's start until its end, or until the last waiter has heard."""
    last_heard = 0.0

    async def hear(app: App[Any], job_id: int) -> None:
        nonlocal last_heard
        await app.wait([job_id])
        last_heard = time.monotonic()

    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, App(bench.dsn(database)) as app:
        ids = await app.enqueue_many(TYPE, [{"n": n} for n in range(jobs)])
        async with bench.connect(database) as connection, asyncio.TaskGroup() as waits:
            if setting == WATCHED:
                for job_id in ids:
                    waits.create_task(hear(app, job_id))
                async with asyncio.timeout(SEEN_WITHIN_S):
                    while await connection.fetchval("select count(*) from jobs_watched") < jobs:
                        await asyncio.sleep(0.1)
            await connection.execute("analyze")
            tuning = system.tunings["default"]
            report = await bench.drain(Order("pgjobs", bench.dsn(database), tuning, jobs=jobs))
    return max(report.ended, last_heard) - report.began
