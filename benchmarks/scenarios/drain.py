"""How fast a worker runs waiting jobs, its start included."""

import asyncio

from ..bench import Bench
from ..orders import Kind, Order
from ..systems import SYSTEMS

SHARE_UNLESS_BEST = 0.2  # of the jobs, for a tuning that is not the best


async def drain(bench: Bench) -> None:
    """Each system at its best, at its defaults and at three concurrencies, in turn."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for system in bench.systems:
            for setting, tuning in system.tunings.items():
                if setting == "c50":
                    continue
                # A slow system gets fewer jobs: its rate is the same, and measured sooner.
                part = 1.0 if setting.startswith("best") else SHARE_UNLESS_BEST
                count = max(int(jobs * part * system.shares.get(setting, system.share)), 500)
                async with bench.database(system) as database:
                    await bench.fill(system, database, count)
                    report = await bench.drain(
                        Order(system.name, bench.dsn(database), tuning, jobs=count)
                    )
                bench.table.add(
                    system.name, "drain", count / report.seconds, "jobs/s", setting=setting,
                    jobs=count, tuning=dict(tuning),
                )
    for name in bench.options.systems[1:]:
        for ours in ("best", "best, completed deleted"):
            bench.table.ratio(
                f"{ours}, against {name} at its best",
                ("pgjobs", "drain", ours), (name, "drain", "best"),
            )


async def processes(bench: Bench) -> None:
    """Measures from the start of the first process to the end of the last process."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        await _processes(bench, "noop", jobs)
        await _processes(bench, "burn", jobs // 10)
    for kind in ("noop", "burn"):
        bench.table.ratio(
            f"two processes against one, {kind}",
            ("pgjobs", kind, "2 processes"), ("pgjobs", kind, "1 processes"),
        )


async def _processes(bench: Bench, kind: Kind, jobs: int) -> None:
    system = SYSTEMS["pgjobs"]
    for count in (1, 2):
        async with bench.database(system) as database:
            await bench.fill(system, database, jobs)
            await bench.settle()
            order = Order("pgjobs", bench.dsn(database), system.tunings["c100"], kind, jobs)
            async with (
                bench.worker(order) as one,
                bench.worker(order if count == 2 else _nothing(order)) as two,
                asyncio.timeout(900),
            ):
                workers = [one, two] if count == 2 else [one]
                reports = [await worker.report() for worker in workers]
        if sum(report.handled for report in reports) != jobs:
            raise RuntimeError("jobs were left")
        seconds = max(r.ended for r in reports) - min(r.began for r in reports)
        bench.table.add(
            "pgjobs", kind, jobs / seconds, "jobs/s", setting=f"{count} processes", jobs=jobs,
            shares=[report.handled for report in reports],
        )


def _nothing(order: Order) -> Order:
    """A process that starts like the other, and serves an empty queue."""
    return Order(order.system, order.dsn, {"queues": ["nothing"]}, order.kind)
