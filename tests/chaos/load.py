"""Adds jobs, and counts their runs in the ledger that the handlers write to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from chaos.processes import eventually

from pgjobs import PgjobsError

# What a call raises whose connection or server dies.
REFUSALS = (
    OSError, TimeoutError, PgjobsError, asyncpg.PostgresError, asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
ENDED = "select not exists (select from jobs where status in ('pending', 'processing'))"
HOLDS = "select exists (select from jobs where status = 'processing' and worker = $1)"
HOLDS_NOTHING = f"select not ({HOLDS})"
# Whether a handler of the worker has begun and goes on: its run stands in the ledger.
RUNS = """select exists (select from jobs j
    join ledger l on l.job_id = j.id and l.attempt = j.attempt
    where j.status = 'processing' and j.worker = $1)"""
# Jobs that ran again: process, attempt and start of one run, attempt and start of the run after it,
# and how often the job lost its worker. Ordered by attempt, since a stopped process starts an early
# attempt only when it continues.
REPEATS = """select job_id, l.attempt, pid, at, next_attempt, next_at, crash_count from (
    select l.*, lead(attempt) over w as next_attempt, lead(at) over w as next_at
    from ledger l
    window w as (partition by job_id order by attempt, at)) l
    left join jobs j on j.id = job_id
    where next_at is not null"""
LONGEST_PAUSE = """select max(extract(epoch from at - before))::float from (
    select at, lag(at) over (order by at) as before from ledger) l"""
COUNTS = """with runs as (select job_id, count(*) as runs from ledger group by job_id)
    select count(*) as jobs,
        $1 - count(*) filter (where j.status = 'completed' and r.runs > 0) as lost,
        count(*) filter (where r.runs > 1) as twice,
        coalesce(max(j.retry_count), 0) as retries,
        coalesce(max(j.crash_count), 0) as crashes,
        count(*) filter (where exists (
            select from ledger l
            where l.run = (j.result ->> 'run')::uuid and l.attempt <> j.attempt)) as stale
    from jobs j left join runs r on r.job_id = j.id
    where j.job_type <> all ($2)"""


@dataclass(frozen=True)
class Size:
    """The size of a test: ``jobs``, ``seconds`` of disturbance, number of disturbances."""

    jobs: int
    seconds: float
    times: int


SHORT = Size(jobs=600, seconds=3, times=2)
FULL = Size(jobs=10_000, seconds=60, times=10)


@dataclass(frozen=True)
class Counts:
    """``lost``: expected jobs that are not completed or have no run. ``stale``: jobs that a run of
    an earlier attempt completed, which the fence must prevent."""

    jobs: int
    lost: int
    twice: int
    retries: int
    crashes: int
    stale: int


async def add(
    conn: asyncpg.Connection, jobs: int, seconds: float, *, job_type: str = "work",
    every_tenth: str | None = None,
) -> list[int]:
    """Adds jobs that take ``seconds`` each; returns their ids, in order."""
    rows = await conn.fetch(
        """select jobs_enqueue_many as id from jobs_enqueue_many((
        select jsonb_agg(jsonb_build_object(
            'job_type', case when n % 10 = 0 then $4::text else $3::text end,
            'payload', jsonb_build_object('seconds', $2::float)) order by n)
        from generate_series(1, $1::int) n))""",
        jobs, seconds, job_type, every_tenth or job_type,
    )
    return [row["id"] for row in rows]


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that ends with the block, also if the test fails or the server is gone."""
    conn = await asyncpg.connect(dsn)
    try:
        yield conn
    finally:
        conn.terminate()


async def begun(conn: asyncpg.Connection, runs: int, seconds: float = 120) -> float:
    """Waits until so many runs have begun; returns the seconds that it took."""
    query = "select count(*) >= $1 from ledger"
    return await eventually(lambda: conn.fetchval(query, runs), f"{runs} runs", seconds)


async def ended(conn: asyncpg.Connection, seconds: float = 300) -> float:
    """Waits until every job has ended; returns the seconds that it took."""
    return await eventually(lambda: conn.fetchval(ENDED), "all jobs have ended", seconds)


async def counted(
    conn: asyncpg.Connection, expected: int, *, but: tuple[str, ...] = ()
) -> Counts:
    """Counts the jobs, except those of the types ``but``."""
    row = await conn.fetchrow(COUNTS, expected, list(but))
    assert row is not None
    return Counts(**row)
