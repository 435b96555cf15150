"""From the call of enqueue to the first line of the handler, in another process."""

import asyncio
import contextlib
import itertools
import random
import statistics
import time
from collections.abc import Sequence

from ..bench import Bench, Worker
from ..orders import Order
from ..systems import SYSTEMS, System

# Seconds between two jobs, at random, so that no poll falls into step with them. The worker is idle
# between any two jobs; in the longer pauses its code and data leave the processor's caches.
PACES = {"10 to 15 ms apart": (0.01, 0.015), "40 to 80 ms apart": (0.04, 0.08)}
HERD_PACE = (0.02, 0.02)
HERD = 16


async def latency(bench: Bench) -> None:
    """Default tuning: another tuning would not help an idle worker."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for (setting, pace), system in itertools.product(PACES.items(), bench.systems):
            async with bench.database(system) as database:
                order = Order(
                    system.name, bench.dsn(database), system.tunings["default"], "probe",
                    until_empty=False,
                )
                async with bench.worker(order) as worker, asyncio.timeout(600):
                    delays, returned = await probe(bench, system, database, [worker], jobs, pace)
            _add(bench, system.name, delays, setting, jobs)
            bench.table.add(
                system.name, "of which enqueue, p50", statistics.median(returned) * 1e3, "ms",
                setting=setting, jobs=jobs,
            )
    for name, setting in itertools.product(bench.options.systems[1:], PACES):
        bench.table.ratio(
            f"p50 against {name}, {setting}", ("pgjobs", "p50", setting), (name, "p50", setting)
        )


async def herd(bench: Bench) -> None:
    """Counts the claims by PostgreSQL's function statistics."""
    jobs = bench.options.jobs or 0
    system = SYSTEMS["pgjobs"]
    for _ in range(bench.options.runs):
        for count in (1, HERD):
            setting = f"{count} workers"
            async with bench.database(system) as database, contextlib.AsyncExitStack() as stack:
                order = Order("pgjobs", bench.dsn(database), {}, "probe", until_empty=False)
                workers = [
                    await stack.enter_async_context(bench.worker(order)) for _ in range(count)
                ]
                async with asyncio.timeout(600):
                    await registered(bench, database, count)
                    # An idle session reports its statistics after 10 s: now those of the start are
                    # included.
                    await asyncio.sleep(11.5)
                    before = await claims_made(bench, database)
                    delays, _ = await probe(bench, system, database, workers, jobs, HERD_PACE)
                    claims = await claims_made(bench, database) - before
            bench.table.add(
                "pgjobs", "claims per job", claims / jobs, "", setting=setting, jobs=jobs
            )
            _add(bench, "pgjobs", delays, setting, jobs)
    bench.table.ratio(
        f"p50 of {HERD} workers against one",
        ("pgjobs", "p50", f"{HERD} workers"), ("pgjobs", "p50", "1 workers"),
    )


def _add(bench: Bench, name: str, delays: Sequence[float], setting: str, jobs: int) -> None:
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    for measure, value in (("p50", cuts[49]), ("p99", cuts[98])):
        bench.table.add(name, measure, value * 1e3, "ms", setting=setting, jobs=jobs)


async def probe(
    bench: Bench, system: System, database: str, workers: list[Worker], jobs: int,
    pace: tuple[float, float],
) -> tuple[list[float], list[float]]:
    """Delays of the handlers' starts, and how long each call of enqueue took."""
    async with system.producer(bench.dsn(database)) as producer:
        # Wait until a worker has started the first job; then all workers have time to become idle.
        await producer.one({"n": -1})
        firsts = [asyncio.create_task(worker.first()) for worker in workers]
        await asyncio.wait(firsts, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(1)
        due = time.monotonic()
        returned: list[float] = []
        for _ in range(jobs):
            sent = time.monotonic()
            await producer.one({"sent": sent})
            returned.append(time.monotonic() - sent)
            due += random.uniform(*pace)
            await asyncio.sleep(due - time.monotonic())
        await asyncio.sleep(0.5)
        async with bench.connect(database) as connection:
            while await connection.fetchval(system.unfinished):
                await asyncio.sleep(0.5)
    for first in firsts:
        first.cancel()
    await asyncio.gather(*firsts, return_exceptions=True)
    delays = [delay for worker in workers for delay in (await worker.stop()).delays]
    if len(delays) != jobs:
        raise RuntimeError(f"{system.name} ran {len(delays)} of {jobs} jobs")
    return delays, returned


async def registered(bench: Bench, database: str, count: int) -> None:
    """Waits until so many workers of pgjobs run."""
    async with bench.connect(database) as connection:
        while await connection.fetchval("select count(*) from jobs_workers") < count:
            await asyncio.sleep(0.1)


async def claims_made(bench: Bench, database: str) -> int:
    """How many calls of jobs_claim the sessions have reported."""
    async with bench.connect(database) as connection:
        calls = await connection.fetchval(
            "select sum(calls) from pg_stat_user_functions where funcname = 'jobs_claim'"
        )
    return int(calls or 0)
