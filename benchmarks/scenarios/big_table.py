"""Claim and complete in a table that is full of other rows, against an empty table."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from pgjobs.database import Database

from ..bench import Bench
from ..systems import SYSTEMS

BATCH = 100
CYCLES = 40  # per run and variant
ROUNDS = 4  # per run, the variants in turn: every variant meets the same noise
TYPES = ["noop"]
FOREIGN = 20
COMPLETED = """
    insert into jobs (job_type, status, attempt, created_at, updated_at, finished_at)
    select 'type_' || n % 7, 'completed', 1, now() - '2 days'::interval, now() - '1 day'::interval,
        now() - '1 day'::interval - n * '1 ms'::interval
    from generate_series(1, $1::int) n"""
FUTURE = """
    insert into jobs (job_type, run_at)
    select case n % 4 when 0 then 'noop' else 'type_' || n % 7 end,
        now() + '1 hour'::interval + n * '1 ms'::interval
    from generate_series(1, $1::int) n"""
FOREIGN_DUE = f"""
    insert into jobs (job_type, run_at)
    select 'foreign_' || n % {FOREIGN}, now() - '1 hour'::interval + n * '1 ms'::interval
    from generate_series(1, $1::int) n"""
NEVER = "alter table jobs set (autovacuum_enabled = off)"
GENERIC = "set plan_cache_mode = force_generic_plan"
# Name: statements that fill the table, whether it is analysed, a setting of the session.
VARIANTS: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "empty": ((), True, ""),
    "completed and future": ((COMPLETED, FUTURE), True, ""),
    "completed and future, never analysed": ((COMPLETED, FUTURE), False, ""),
    "completed and future, generic plan": ((COMPLETED, FUTURE), True, GENERIC),
    "due of foreign types": ((FOREIGN_DUE,), True, ""),
    "due of foreign types, never analysed": ((FOREIGN_DUE,), False, ""),
    "all of these": ((COMPLETED, FUTURE, FOREIGN_DUE), True, ""),
}


async def big_table(bench: Bench) -> None:
    """Median milliseconds of a claim of 100 and its completion, by the functions that a worker
    calls, without floors and with one type.
    """
    rows = bench.options.jobs or 0
    async with AsyncExitStack() as stack:
        connections = {
            name: await _filled(bench, stack, rows, *variant)
            for name, variant in VARIANTS.items()
        }
        await bench.settle()
        for _ in range(bench.options.runs):
            times: dict[str, list[float]] = {name: [] for name in VARIANTS}
            for _ in range(ROUNDS):
                for name, connection in connections.items():
                    times[name] += await _cycles(connection, CYCLES // ROUNDS)
            for name, seconds in times.items():
                bench.table.add(
                    "pgjobs", "claim + complete of 100", statistics.median(seconds) * 1e3, "ms",
                    setting=name, jobs=rows,
                )
    for name in VARIANTS:
        if name != "empty":
            bench.table.ratio(
                f"{name}, against empty", ("pgjobs", "claim + complete of 100", name),
                ("pgjobs", "claim + complete of 100", "empty"),
            )


async def _filled(
    bench: Bench, stack: AsyncExitStack, rows: int, fill: tuple[str, ...], analysed: bool,
    session: str,
) -> Any:
    database = await stack.enter_async_context(bench.database(SYSTEMS["pgjobs"]))
    connection = await stack.enter_async_context(bench.connect(database))
    # Autovacuum would come at another moment in each variant. NOTIFY is off as well.
    await connection.execute(NEVER)
    await connection.execute("alter table jobs disable trigger jobs_notify")
    for statement in fill:
        await connection.execute(statement, rows, timeout=1800)
    if analysed:
        await connection.execute("vacuum (analyze) jobs", timeout=1800)
    if session:
        await connection.execute(session)
    return connection


async def _cycles(connection: Any, count: int) -> list[float]:
    await connection.execute(
        "insert into jobs (job_type) select 'noop' from generate_series(1, $1::int)", count * BATCH
    )
    database = Database(connection)
    lease = timedelta(minutes=1)
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        rows = await database.claim("bench", ["default"], BATCH, lease, TYPES, None)
        ids, attempts = [row["id"] for row in rows], [row["attempt"] for row in rows]
        done = await database.complete_many("bench", ids, attempts, [None] * len(ids), True)
        seconds.append(time.perf_counter() - began)
        if len(done) != BATCH:
            raise RuntimeError(f"{len(done)} of {BATCH} jobs were claimed and completed")
        await asyncio.sleep(0)
    return seconds
