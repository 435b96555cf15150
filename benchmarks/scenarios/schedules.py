"""Schedules: how late they fire, many at once, and what those cost that are not due."""

import asyncio
import statistics
import time
from typing import Any

from ..bench import Bench
from ..orders import Order
from ..systems import SYSTEMS

WAITING = 100_000
FIRINGS = 100
TICKS_PER_S = 10
PROBES = 200
# All of them at the same moment, a little later than now.
DUE_TOGETHER = """update jobs_schedules
    set next_at = clock_timestamp() + interval '3 s', last_at = null"""
# As many schedules as ticks in a second, each a part of a second after the one before.
EACH_SECOND = """select jobs_schedule('s' || n, 'noop', every => '1 s', payload => '{"n": 1}',
    starts_at => date_trunc('second', clock_timestamp()) + n * interval '1 s' / $1)
    from generate_series(0, $1 - 1) n"""
NOT_DUE = """insert into jobs_schedules (name, job_type, every, next_at)
    select 'w' || n, 'noop', '1 day', clock_timestamp() + interval '1 hour'
    from generate_series(1, $1) n"""
LATENESS = """select extract(epoch from
        created_at - (headers ->> 'pgjobs.scheduled_for')::timestamptz)::float * 1000 as ms
    from jobs where headers ? 'pgjobs.scheduled_for' order by id limit $1"""


async def schedules(bench: Bench) -> None:
    """Each measure has a database of its own, and one worker with default settings."""
    due = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        await _lateness(bench)
        await _together(bench, due)
        await _not_due(bench)


async def _lateness(bench: Bench) -> None:
    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, bench.connect(database) as connection:
        order = Order("pgjobs", bench.dsn(database), until_empty=False)
        async with bench.worker(order) as worker:
            await _ready(connection)
            await connection.execute(EACH_SECOND, TICKS_PER_S)
            await asyncio.sleep(FIRINGS / TICKS_PER_S + 2)
            await worker.stop()
        late = [row["ms"] for row in await connection.fetch(LATENESS, FIRINGS)]
    if len(late) < FIRINGS:
        raise RuntimeError(f"only {len(late)} ticks were fired")
    bench.table.add("pgjobs", "lateness, median", statistics.median(late), "ms", jobs=FIRINGS)
    bench.table.add("pgjobs", "lateness, the latest", max(late), "ms", jobs=FIRINGS)


async def _together(bench: Bench, due: int) -> None:
    system = SYSTEMS["pgjobs"]
    async with (
        bench.database(system) as database, bench.connect(database) as connection,
        bench.connect(database) as beside,
    ):
        await connection.execute(
            """select jobs_schedule('d' || n, 'noop', every => '1 hour', payload => '{"n": 1}')
            from generate_series(1, $1) n""", due,
        )
        await connection.execute("select jobs_enqueue('t', queue => 'beside') "
                                 "from generate_series(1, 20000)")
        await connection.execute("analyze")
        await bench.settle()
        order = Order("pgjobs", bench.dsn(database), until_empty=False)
        async with bench.worker(order) as worker:
            await _ready(connection)
            await connection.execute(DUE_TOGETHER)
            await connection.execute("select _jobs_schedule_signal('d1')")
            quiet = await _claims(beside, connection, "select count(*) = 0 from jobs where headers"
                                  " ? 'pgjobs.schedule' and $1 > 0", due)
            busy = await _claims(beside, connection, "select count(*) < $1 from jobs where headers"
                                 " ? 'pgjobs.schedule'", due)
            await worker.stop()
        last = await connection.fetchval(
            """select max(extract(epoch from created_at
                - (headers ->> 'pgjobs.scheduled_for')::timestamptz))::float
            from jobs where headers ? 'pgjobs.schedule'"""
        )
    bench.table.add("pgjobs", "until all that are due at once are fired", last, "s", jobs=due)
    bench.table.add("pgjobs", "a claim before", statistics.median(quiet), "ms", jobs=len(quiet))
    bench.table.add("pgjobs", "a claim meanwhile", statistics.median(busy), "ms", jobs=len(busy))


async def _claims(beside: Any, connection: Any, condition: str, due: int) -> list[float]:
    """Claims one job of another queue each 5 ms while the condition holds; milliseconds each."""
    took = []
    watch = time.monotonic()
    holds = True
    while holds:
        began = time.perf_counter()
        await beside.fetch("select id from jobs_claim('beside', '{beside}')")
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.005)
        if time.monotonic() - watch > 0.2:
            watch = time.monotonic()
            holds = await connection.fetchval(condition, due)
    return took


async def _not_due(bench: Bench) -> None:
    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, bench.connect(database) as connection:
        for waiting in (0, WAITING):
            if waiting:
                await connection.execute(NOT_DUE, waiting)
                await connection.execute("vacuum (analyze) jobs_schedules")
            took = []
            for _ in range(PROBES):
                began = time.perf_counter()
                await connection.fetch("select _jobs_schedule_due()")
                took.append((time.perf_counter() - began) * 1000)
            bench.table.add(
                "pgjobs", "a tick's look at the schedules", statistics.median(took), "ms",
                setting=f"{waiting:,} not due",
            )


async def _ready(connection: Any) -> None:
    """Returns once the worker is registered and has ticked."""
    while not await connection.fetchval("select exists (select from jobs_workers)"):
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
