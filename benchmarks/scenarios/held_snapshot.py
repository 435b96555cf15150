"""A snapshot that was taken before the jobs were added keeps every dead row and index entry."""

from ..bench import Bench
from ..orders import EVERY, Order, Report
from ..systems import System

CONCURRENCIES = ("c50", "c100")
PART = 0.1  # of the jobs, at least: the effect of dead rows shows only after some


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
    async with bench.database(system) as database, bench.connect(database) as holder:
        await holder.execute("begin isolation level repeatable read")
        # The first statement takes the snapshot, and its transaction id keeps xmin from advancing.
        await holder.execute("select pg_current_xact_id()")
        await bench.fill(system, database, jobs, mixed=True)
        order = Order(system.name, bench.dsn(database), system.tunings[setting], jobs=jobs)
        report = await bench.drain(order)
        await holder.execute("rollback")
    report.marks.append((report.handled, report.ended))
    return report


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
