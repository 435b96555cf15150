"""Real workers at limits: from an end to the next start, a large tenant, rates."""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from ..bench import Bench
from ..orders import Order, Report
from ..systems import SYSTEMS
from .latency import registered

HANDED_OVER = 60
HANDLER_S = 0.03
# One job runs at a time: by a worker with one slot, or by limits.
ONE_AT_A_TIME: Mapping[str, str | None] = {
    "a worker with 1 slot": None, "max_running_per_group 1": "max_running_per_group => 1",
    "in_order": "in_order => true", "max_running 1": "max_running => 1",
}

TENANT_HANDLER_S = 0.01
SMALL_TENANTS = 5
SMALL_JOBS_PER_S = 20

RATES: Mapping[str, tuple[str, int, int]] = {  # limits, starts per second in all, groups
    "100/s": ("rate_count => 100, rate_period => '1 s'", 100, 0),
    "5/s for each of 10 groups": ("group_rate_count => 5, group_rate_period => '1 s'", 50, 10),
}
RATES_FOR = 30  # seconds


async def one_at_a_time(bench: Bench) -> None:
    """By a worker with one slot, and by each limit that has the same effect."""
    for _ in range(bench.options.runs):
        for (name, limit), workers in itertools.product(ONE_AT_A_TIME.items(), (1, 2)):
            if limit is not None or workers == 1:
                await _hand_over(bench, name, limit, workers)


async def tenants(bench: Bench, jobs: int) -> None:
    """A tenant with so many jobs, and small ones whose jobs come one at a time."""
    async with limited(bench, None) as (database, connection):
        await connection.execute(
            """insert into jobs (job_type, group_key, payload)
            select 'sleep', 'large', jsonb_build_object('seconds', $2::float)
            from generate_series(1, $1::int) n""",
            jobs, TENANT_HANDLER_S, timeout=600,
        )
        await connection.execute("vacuum (analyze) jobs", timeout=600)
        for _ in range(bench.options.runs):
            await _beside_a_tenant(bench, database, connection)


async def rates(bench: Bench) -> None:
    """All rates at the same time, each in a database of its own."""
    for _ in range(bench.options.runs):
        async with asyncio.TaskGroup() as group:
            for name in RATES:
                group.create_task(_rate(bench, name))


@asynccontextmanager
async def limited(bench: Bench, limit: str | None) -> AsyncIterator[tuple[str, Any]]:
    """A database whose queue has this limit, and a connection to it."""
    async with bench.database(SYSTEMS["pgjobs"]) as database, bench.connect(database) as connection:
        if limit is not None:
            await connection.execute(f"select jobs_limit('default', {limit})")
        yield database, connection


async def _hand_over(bench: Bench, name: str, limit: str | None, workers: int) -> None:
    """From the last line of a handler to the first line of the next one."""
    tuning = {"concurrency": 1} if limit is None else {}
    async with limited(bench, limit) as (database, connection), AsyncExitStack() as stack:
        order = Order("pgjobs", bench.dsn(database), tuning, "probe", until_empty=False)
        running = [await stack.enter_async_context(bench.worker(order)) for _ in range(workers)]
        await registered(bench, database, workers)
        await connection.execute(
            """insert into jobs (job_type, group_key, payload)
            select 'sleep', $3, jsonb_build_object('label', n::text, 'seconds', $2::float)
            from generate_series(1, $1::int) n""",
            HANDED_OVER, HANDLER_S, "group" if limit and "running =" not in limit else None,
        )
        await _until_none(connection)
        reports = [await worker.stop() for worker in running]
    starts = sorted((when, number) for number, report in enumerate(reports)
                    for when, _ in report.starts)
    ends = sorted((when, number) for number, report in enumerate(reports)
                  for when, _ in report.ends)
    gaps: dict[str, list[float]] = {"on the same worker": [], "on another worker": []}
    for (ended, by), (started, then) in zip(ends[4:], starts[5:], strict=False):
        if started < ended:
            raise RuntimeError(f"{name}: two jobs ran at the same time")
        gaps["on the same worker" if by == then else "on another worker"].append(started - ended)
    for where, found in gaps.items():
        # Two workers are there for the sake of the other one.
        if found and (where == "on another worker") == (workers == 2):
            bench.table.add(
                "pgjobs", "from an end to the next start", statistics.median(found) * 1e3, "ms",
                setting=f"{name}, {where}", jobs=HANDED_OVER,
            )


async def _beside_a_tenant(bench: Bench, database: str, connection: Any) -> None:
    """A job of a small tenant waits from its commit to its handler's first line."""
    seconds = bench.options.seconds or 0
    committed = {}
    await bench.settle()
    order = Order("pgjobs", bench.dsn(database), {}, "probe", until_empty=False)
    async with bench.worker(order) as worker:
        await worker.first()
        await asyncio.sleep(1)
        for n in range(int(seconds * SMALL_JOBS_PER_S)):
            await connection.execute(
                """insert into jobs (job_type, group_key, payload)
                values ('noop', $1, jsonb_build_object('label', $2::text))""",
                f"small {n % SMALL_TENANTS}", str(n),
            )
            committed[str(n)] = time.monotonic()
            await asyncio.sleep(random.uniform(0, 2 / SMALL_JOBS_PER_S))
        await asyncio.sleep(1)
        report = await worker.stop()
    if not await connection.fetchval(
        "select exists (select from jobs where status = 'pending' and group_key = 'large')"
    ):
        raise RuntimeError("the large tenant's jobs ran out")
    started = {label: when for when, label in report.starts}
    waits = sorted(started[label] - when for label, when in committed.items())
    for measure, wait in (("median", statistics.median(waits)),
                          ("95 %", waits[int(len(waits) * 0.95)]), ("the longest", waits[-1])):
        bench.table.add("pgjobs", f"wait of a small tenant's job, {measure}", wait * 1e3, "ms",
                        setting="beside a large tenant", jobs=len(waits))


async def _rate(bench: Bench, name: str) -> None:
    limit, allowed, groups = RATES[name]
    async with limited(bench, limit) as (database, connection):
        order = Order("pgjobs", bench.dsn(database), {}, "probe", until_empty=False)
        async with bench.worker(order) as worker:
            await registered(bench, database, 1)
            await connection.execute(
                """insert into jobs (job_type, group_key, payload)
                select 'noop', case when $2::int > 0 then 'group ' || g end,
                    jsonb_build_object('label', g::text)
                from (select n % greatest($2::int, 1) as g
                      from generate_series(1, $1::int * 2) n) n""",
                allowed * RATES_FOR, groups,
            )
            await asyncio.sleep(RATES_FOR + 2)
            report = await worker.stop()
    began = min(when for when, _ in report.starts)
    within = sum(when < began + RATES_FOR for when, _ in report.starts)
    bench.table.add("pgjobs", f"starts in {RATES_FOR} s, of those allowed",
                    within / (allowed * RATES_FOR) * 100, "%", setting=name, jobs=within)
    most = max(_most_in_a_second(starts) for starts in _by_label(report).values())
    bench.table.add("pgjobs", "most starts in any second", most, "jobs", setting=name)


def _by_label(report: Report) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for when, label in sorted(report.starts):
        found.setdefault(label, []).append(when)
    return found


def _most_in_a_second(starts: Iterable[float]) -> int:
    """Counted at the first line of the handler; ``starts``: the earliest first."""
    most = 0
    window: list[float] = []
    for when in starts:
        window = [earlier for earlier in window if earlier > when - 1] + [when]
        most = max(most, len(window))
    return most


async def _until_none(connection: Any) -> None:
    while await connection.fetchval(SYSTEMS["pgjobs"].unfinished):
        await asyncio.sleep(0.1)
