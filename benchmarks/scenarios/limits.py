"""Limits, rates and groups: claims beside jobs that a limit holds back, and real workers."""

import asyncio
import statistics
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ..bench import Bench
from ..systems import SYSTEMS
from .limited_workers import limited, one_at_a_time, rates, tenants

# The tables of the blocked jobs take 500 MB: with smaller caches the claims would read from disk.
SETTINGS = {"shared_buffers": "2GB"}

BATCH = 50
PAIRS = 50  # claims of each of the two databases, in each run
GROUPS = 60
READY = """insert into jobs (job_type, group_key) select 'noop', 'ready ' || n % $1
    from generate_series(1, $1::int * 2000) n"""
# The limits; and what they block, in statements that are given the number of blocked jobs.
BLOCKED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "1 full group": (
        "max_running_per_group => 200",
        ("""insert into jobs (job_type, group_key, status, worker, attempt, lease_until)
        select 'noop', 'full', 'processing', 'other', 1, now() + '1 day'::interval
        from generate_series(1, 200) n where $1::int > 0""",
         """insert into jobs (job_type, group_key) select 'noop', 'full'
        from generate_series(1, $1::int) n"""),
    ),
    "groups that wait for a retry, in order": (
        "max_running_per_group => 200, in_order => true",
        ("""insert into jobs (job_type, group_key, attempt, run_at)
        select 'noop', 'blocked ' || n, 1, now() + '1 day'::interval
        from generate_series(1, $1::int / 10) n""",
         """insert into jobs (job_type, group_key) select 'noop', 'blocked ' || n
        from generate_series(1, $1::int / 10) n"""),
    ),
    "groups without a token": (
        "group_rate_count => 100000, group_rate_period => '1 day'",
        ("""insert into jobs_starts
        select 'default', 'blocked ' || n, array[now()], array[100000], now() + '1 day'::interval
        from generate_series(1, $1::int / 10) n""",
         """insert into jobs (job_type, group_key) select 'noop', 'blocked ' || n
        from generate_series(1, $1::int / 10) n"""),
    ),
}

CLIENTS = 16
CLIENTS_BATCH = 20
CLIENTS_FOR = 3  # seconds
CLIENTS_JOBS = 80_000
CLIENTS_GROUPS = 1000
CLIENTS_LIMITS: Mapping[str, str | None] = {
    "no groups": None, "1,000 groups, no limit": "null", "1,000 groups, 5 at once": "5",
    "1,000 groups, 1 at once": "1",
}
CLAIM_AND_COMPLETE = f"""
select quote_literal(coalesce(array_agg(id), '{{}}')::text) as ids,
    quote_literal(coalesce(array_agg(attempt), '{{}}')::text) as attempts,
    quote_literal(coalesce(array_agg(null::jsonb), '{{}}')::text) as results,
    count(*) > 0 as some
from jobs_claim('w' || :client_id, max_jobs => {CLIENTS_BATCH}) \\gset
\\if :some
select count(*) from jobs_complete_many('w' || :client_id, :ids, :attempts, :results::jsonb[]);
\\endif
"""

async def limits(bench: Bench) -> None:
    """The databases with the blocked jobs are filled once, and measured in each run."""
    jobs = bench.options.jobs or 0
    async with AsyncExitStack() as stack:
        pairs = {name: await _pair(bench, stack, name, jobs) for name in BLOCKED}
        for _ in range(bench.options.runs):
            for name, (alone, beside) in pairs.items():
                await bench.settle()
                await _compare(bench, name, alone, beside, jobs)
    for _ in range(bench.options.runs):
        for name, limit in CLIENTS_LIMITS.items():
            await _claimers(bench, name, limit)
    for name in list(CLIENTS_LIMITS)[1:]:
        bench.table.ratio(f"{name}: against no groups", ("pgjobs", _claimed(), name),
                          ("pgjobs", _claimed(), "no groups"))
    await one_at_a_time(bench)
    await tenants(bench, jobs)
    await rates(bench)


async def _pair(
    bench: Bench, stack: AsyncExitStack, name: str, jobs: int
) -> tuple[Any, Any]:
    """Connections to the ready groups alone, and to the same beside the blocked jobs."""
    limit, blocked = BLOCKED[name]
    connections = []
    for count in (0, jobs):
        database = await stack.enter_async_context(bench.database(SYSTEMS["pgjobs"]))
        connection = await stack.enter_async_context(bench.connect(database))
        await connection.execute(READY, GROUPS, timeout=600)
        for statement in blocked:
            await connection.execute(statement, count, timeout=600)
        await connection.execute(f"select jobs_limit('default', {limit})")
        await connection.execute("vacuum (analyze) jobs", timeout=600)
        connections.append(connection)
    alone, beside = connections
    # The first visit of a blocked group puts it off, and such a claim may come back short.
    while await beside.fetchval(
        "select exists (select from jobs_turns where turn_at <= now() and group_key like 'blo%')"
    ):
        for connection in connections:
            await _claim(connection)
    for connection in connections:
        await connection.execute("vacuum (analyze) jobs_turns")
    return alone, beside


async def _compare(bench: Bench, name: str, alone: Any, beside: Any, jobs: int) -> None:
    """A claim of one database after a claim of the other."""
    took: dict[str, list[float]] = {"": [], f"beside {name}": []}
    for _ in range(PAIRS):
        for setting, connection in zip(took, (alone, beside), strict=True):
            took[setting].append(await _claim(connection, at_least=BATCH))
    first, second = (statistics.median(times) * 1e3 for times in took.values())
    bench.table.add("pgjobs", f"claim of {BATCH}", first, "ms", setting=f"limits of: {name}")
    bench.table.add("pgjobs", f"claim of {BATCH}", second, "ms", setting=f"beside {name}",
                    jobs=jobs if "full" in name else jobs // 10)
    bench.table.add("pgjobs", "against the ready groups alone", second / first, "×", setting=name)


async def _claim(connection: Any, at_least: int = 0) -> float:
    """Seconds of a claim; its jobs are completed afterwards."""
    began = time.perf_counter()
    rows = await connection.fetch("select id, attempt from jobs_claim('w', max_jobs => $1)", BATCH)
    took = time.perf_counter() - began
    if len(rows) < at_least:
        raise RuntimeError(f"the claim gave {len(rows)} jobs")
    await connection.execute(
        "select jobs_complete_many('w', $1, $2, $3)",
        [row["id"] for row in rows], [row["attempt"] for row in rows], [None] * len(rows),
    )
    return took


def _claimed() -> str:
    return f"{CLIENTS} clients claim and complete"


async def _claimers(bench: Bench, name: str, limit: str | None) -> None:
    """pgbench has no handlers: so what is measured is the server."""
    async with limited(bench, None if limit is None else f"max_running_per_group => {limit}") as (
        database, connection,
    ):
        await connection.execute(
            """insert into jobs (job_type, group_key)
            select 'noop', case when $2::bool then 'group ' || n % $3::int end
            from generate_series(1, $1::int) n""",
            CLIENTS_JOBS, limit is not None, CLIENTS_GROUPS,
        )
        await connection.execute("vacuum (analyze) jobs")
        await bench.settle()
        process = await asyncio.create_subprocess_exec(
            str(Path(bench.bin) / "pgbench"), "-n", "-c", str(CLIENTS), "-T", str(CLIENTS_FOR),
            "-f", "-", bench.dsn(database),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await process.communicate(CLAIM_AND_COMPLETE.encode())
        if process.returncode:
            raise RuntimeError(f"pgbench ended with status {process.returncode}")
        done = await connection.fetchrow(
            """select count(*) as jobs,
                extract(epoch from max(finished_at) - min(started_at))::float as seconds
            from jobs where status = 'completed'"""
        )
    bench.table.add("pgjobs", _claimed(), done["jobs"] / done["seconds"], "jobs/s", setting=name)
