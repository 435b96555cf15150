"""Long jobs beside short ones: a worker fills a free slot at once."""

from ..bench import Bench
from ..orders import Order
from ..systems import SYSTEMS

LONG = 100
SECONDS = 1.0
SLOTS = 150  # 50 of them are free while the long jobs run


async def mixed(bench: Bench) -> None:
    """The same short jobs after long ones, and alone on as many slots as the long jobs leave.

    ``longest pause``: between the starts of two short jobs while others waited. A worker that
    claims a batch and waits for all of it pauses for a second.
    """
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for long, slots in ((LONG, SLOTS), (0, SLOTS - LONG)):
            setting = f"beside {long} of {SECONDS:.0f} s" if long else "alone"
            starts = await _starts(bench, jobs, long, slots)
            seconds = starts[-1] - starts[0]
            pause = max(b - a for a, b in zip(starts, starts[1:], strict=False))
            for measure, value, unit in (
                ("short jobs started", jobs / seconds, "jobs/s"),
                ("longest pause", pause * 1e3, "ms"),
            ):
                bench.table.add("pgjobs", measure, value, unit, setting=setting, jobs=jobs)
    bench.table.ratio(
        "short jobs beside long ones against alone",
        ("pgjobs", "short jobs started", f"beside {LONG} of {SECONDS:.0f} s"),
        ("pgjobs", "short jobs started", "alone"),
    )


async def _starts(bench: Bench, jobs: int, long: int, slots: int) -> list[float]:
    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, bench.connect(database) as connection:
        await connection.execute(
            """
            insert into jobs (job_type, payload)
            select 'sleep', jsonb_build_object('seconds', $2::float8, 'label', 'long')
            from generate_series(1, $1::int)
            """,
            long, SECONDS,
        )
        await connection.execute(
            """
            insert into jobs (job_type, payload)
            select 'noop', '{"label": "short"}' from generate_series(1, $1::int)
            """,
            jobs,
        )
        order = Order(
            "pgjobs", bench.dsn(database), {"concurrency": slots}, "probe", jobs + long
        )
        report = await bench.drain(order)
    return [when for when, label in report.starts if label == "short"]
