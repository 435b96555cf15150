"""What it costs to enqueue jobs."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from pgjobs import App

from ..bench import Bench
from ..systems import SYSTEMS

COROUTINES = 64
POOL = 16
BLOCK = 100  # calls of one kind in a row: the kinds alternate and meet the same noise


async def many(bench: Bench) -> None:
    """Waits for the ids, or for what the system returns instead."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for system in bench.systems:
            count = max(int(jobs * max(system.share, 0.2)), 1_000)
            async with bench.database(system) as database:
                await bench.settle()
                seconds = await system.enqueue_many_seconds(bench.dsn(database), count, 1_000)
            bench.table.add(system.name, "enqueue", count / seconds, "jobs/s", jobs=count)


async def concurrent(bench: Bench) -> None:
    """Calls that share a statement, against calls through a pool with a statement each."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for setting, count in (("coalesced", jobs), (f"pool of {POOL}", jobs // 5)):
            async with bench.database(SYSTEMS["pgjobs"]) as database:
                await bench.settle()
                dsn = bench.dsn(database)
                sizes = {"min_size": POOL, "max_size": POOL}
                async with App(dsn) as app, asyncpg.create_pool(dsn, **sizes) as pool:
                    seconds = await _many_callers(
                        app, None if setting == "coalesced" else pool, count
                    )
                async with bench.connect(database) as connection:
                    added = await connection.fetchval("select count(*) from jobs")
            if added != count + COROUTINES:
                raise RuntimeError(f"{added} jobs were added, not {count + COROUTINES}")
            bench.table.add(
                "pgjobs", "enqueue", count / seconds, "jobs/s", setting=setting, jobs=count
            )
    bench.table.ratio(
        "coalesced against the pool",
        ("pgjobs", "enqueue", "coalesced"), ("pgjobs", "enqueue", f"pool of {POOL}"),
    )


async def _many_callers(app: App, conn: Any, jobs: int) -> float:
    async def call(number: int) -> None:
        await app.enqueue("noop", {"n": number}, conn=conn)

    await asyncio.gather(*(call(-1) for _ in range(COROUTINES)))
    numbers = iter(range(jobs))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(COROUTINES):
            group.create_task(caller())
    return time.perf_counter() - began


async def sequential(bench: Bench) -> None:
    """The kinds alternate in blocks, on one table; INSERT and ``conn=`` on one connection."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        async with bench.database(SYSTEMS["pgjobs"]) as database:
            dsn = bench.dsn(database)
            connection = await asyncpg.connect(dsn)
            async with App(dsn) as app:
                found = await _in_turn(
                    {
                        "app.enqueue(...)": lambda n: app.enqueue("noop", {"n": n}),
                        "app.enqueue(..., conn=)": lambda n: app.enqueue(
                            "noop", {"n": n}, conn=connection
                        ),
                        "bare INSERT": lambda n: connection.fetchrow(
                            "insert into jobs (job_type, payload) values ($1, $2) returning *",
                            "noop", json.dumps({"n": n}),
                        ),
                    },
                    jobs,
                )
            await connection.close()
        for setting, seconds in found.items():
            bench.table.add(
                "pgjobs", "enqueue", jobs / seconds, "jobs/s", setting=setting, jobs=jobs
            )
    for setting in ("app.enqueue(...)", "app.enqueue(..., conn=)"):
        bench.table.ratio(
            f"{setting} against a bare INSERT",
            ("pgjobs", "enqueue", setting), ("pgjobs", "enqueue", "bare INSERT"),
        )


async def _in_turn(
    calls: dict[str, Callable[[int], Awaitable[object]]], jobs: int
) -> dict[str, float]:
    seconds = dict.fromkeys(calls, 0.0)
    order: Sequence[str] = list(calls)
    for setting in order:
        for _ in range(20):
            await calls[setting](-1)
    for start in itertools.count(0, BLOCK):
        if start >= jobs:
            return seconds
        for setting in order:
            began = time.perf_counter()
            for number in range(start, min(start + BLOCK, jobs)):
                await calls[setting](number)
            seconds[setting] += time.perf_counter() - began
        # Rotates: each kind must be equally often the one that pays for a flush of earlier pages.
        order = [*order[1:], order[0]]
    return seconds
