"""A snapshot that was taken before the jobs were added keeps every dead row and index entry."""

import asyncio
import itertools
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..bench import Bench
from ..orders import EVERY, Order, Report
from ..systems import System
from .latency import probe

CONCURRENCIES = ("c50", "c100")
PART = 0.1  # of the jobs, at least: the effect of dead rows shows only after some
FINISHED = (0.0, 0.15, 1.0)  # of the jobs, before the lone ones
LONE = 400  # jobs
LONE_PACE = (0.01, 0.015)  # seconds between two of them


async def held_snapshot(bench: Bench) -> None:
    """Jobs in two queues, where the system has queues, and three priorities."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for system in bench.systems:
            for setting in CONCURRENCIES:
                count = max(int(jobs * max(system.share, PART)), 6 * EVERY)
                report = await _drain(bench, system, setting, count)
                sixth = count // 6
                first, last = _rate(report, 0, sixth), _rate(report, count - sixth, count)
                bench.table.add(
                    system.name, "last sixth / first sixth", last / first, "", setting=setting,
                    jobs=count, over_time=_over_time(report, count),
                )
                bench.table.add(
                    system.name, "drain", count / report.seconds, "jobs/s", setting=setting,
                    jobs=count,
                )


async def _drain(bench: Bench, system: System, setting: str, jobs: int) -> Report:
    async with bench.database(system) as database, _snapshot(bench, database):
        await bench.fill(system, database, jobs, mixed=True)
        order = Order(system.name, bench.dsn(database), system.tunings[setting], jobs=jobs)
        report = await bench.drain(order)
    report.marks.append((report.handled, report.ended))
    return report


@asynccontextmanager
async def _snapshot(bench: Bench, database: str) -> AsyncIterator[None]:
    async with bench.connect(database) as holder:
        await holder.execute("begin isolation level repeatable read")
        # The first statement takes the snapshot, and its transaction id keeps xmin from advancing.
        await holder.execute("select pg_current_xact_id()")
        yield
        await holder.execute("rollback")


async def lone(bench: Bench) -> None:
    """A worker of the best tuning runs the jobs; then a worker of the default tuning, which has
    nothing else to do, gets one job after the other. If a system needs longer for a job than the
    time between two jobs, its jobs queue up, and its figures are those of the queue.
    """
    jobs = bench.options.jobs or 0
    counts = [int(jobs * part) for part in FINISHED]
    for _ in range(bench.options.runs):
        for count, system in itertools.product(counts, bench.systems):
            cuts = statistics.quantiles(
                await _lone(bench, system, count), n=20, method="inclusive"
            )
            for measure, value in (("p50", cuts[9]), ("p95", cuts[18])):
                bench.table.add(
                    system.name, measure, value * 1e3, "ms", setting=_after(count), jobs=LONE
                )
    for system, count, measure in itertools.product(bench.systems, counts[1:], ("p50", "p95")):
        bench.table.ratio(
            f"{measure} {_after(count)} against {_after(0)}",
            (system.name, measure, _after(count)), (system.name, measure, _after(0)),
        )


async def _lone(bench: Bench, system: System, finished: int) -> list[float]:
    async with bench.database(system) as database, _snapshot(bench, database):
        if finished:
            await bench.fill(system, database, finished)
            await bench.drain(
                Order(system.name, bench.dsn(database), system.tunings["best"], jobs=finished)
            )
        await bench.settle()
        order = Order(
            system.name, bench.dsn(database), system.tunings["default"], "probe",
            until_empty=False,
        )
        async with bench.worker(order) as worker, asyncio.timeout(600):
            delays, _ = await probe(bench, system, database, [worker], LONE, LONE_PACE)
    return delays


def _after(finished: int) -> str:
    return f"after {finished:,} jobs"


def _rate(report: Report, begin: int, end: int) -> float:
    """Jobs per second between the marks nearest to two counts."""
    a = min(report.marks, key=lambda mark: abs(mark[0] - begin))
    b = min(report.marks, key=lambda mark: abs(mark[0] - end))
    return (b[0] - a[0]) / (b[1] - a[1])


def _over_time(report: Report, jobs: int) -> list[tuple[float, float]]:
    """Share of the jobs done, and the rate there, in 20 steps."""
    step = max(jobs // 20, EVERY)
    return [
        ((begin + step / 2) / jobs, _rate(report, begin, begin + step))
        for begin in range(0, jobs - step + 1, step)
    ]
