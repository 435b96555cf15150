"""A slow line between the workers and the server: the answer to a large claim takes long."""

import asyncio
from typing import Any

import asyncpg
import pytest
from chaos.load import ENDED, Size, add, counted, ended
from chaos.processes import Processes
from chaos.proxy import Proxy
from chaos.report import Note

CHARACTERS = 500_000  # of each payload
ADD = """select from jobs_enqueue_many((
    select jsonb_agg(jsonb_build_object(
        'job_type', 'bulky', 'payload', jsonb_build_object('text', repeat('x', $2::int))))
    from generate_series(1, $1::int)))"""
RECOVERED = 20  # seconds from the recovery of the line until all jobs have ended


@pytest.mark.fault(
    17,
    "a worker at a line of 2 MB/s, and 60 jobs of 500 kB: all of them in one claim would take 15 s",
    "the worker claims fewer jobs at a time, and all are completed within 90 s",
)
async def test_jobs_that_a_line_is_too_slow_for_in_one_claim_run_in_smaller_claims(
    ledger: Any, pgjobs_dsn: str, workers: Processes, size: Size, figures: Note
) -> None:
    # The short test is a line of half that speed, and half the jobs.
    jobs, speed, limit, slots = (60, 2e6, 90, 100) if size.times > 2 else (30, 1e6, 60, 30)
    await ledger.fetch(ADD, jobs, CHARACTERS)
    async with Proxy(pgjobs_dsn, answers=speed) as proxy:
        worker = workers.start(dsn=proxy.dsn, concurrency=slots)
        took = await _ended_within(ledger, limit)
    counts = await counted(ledger, jobs)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, seconds=took,
            what="until all jobs had ended" if took < limit else "and not all jobs had ended")
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)
    assert worker.poll() is None


@pytest.mark.fault(
    17,
    "the line of a worker carries 200 kB/s for a minute while jobs of 500 kB wait, and recovers",
    "all jobs are completed within 20 s of the recovery, and small jobs run as fast as before",
)
async def test_a_line_that_recovers_carries_as_many_jobs_as_before(
    ledger: Any, pgjobs_dsn: str, workers: Processes, size: Size, figures: Note
) -> None:
    jobs, seconds = (60, 60) if size.times > 2 else (30, 15)
    async with Proxy(pgjobs_dsn) as proxy:
        worker = workers.start(dsn=proxy.dsn, concurrency=100)
        await add(ledger, 10, 0)
        await ended(ledger)
        before = await _small_jobs(ledger, size.jobs)
        proxy.answers = 200_000
        await ledger.fetch(ADD, jobs, CHARACTERS)
        await asyncio.sleep(seconds)
        proxy.answers = float("inf")
        took = await _ended_within(ledger, 3 * RECOVERED)
        after = await _small_jobs(ledger, size.jobs)
    counts = await counted(ledger, 10 + 2 * size.jobs + jobs)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, seconds=took,
            what=f"from the recovery until all jobs had ended; {size.jobs:,} small jobs took"
                 f" {before:.1f} s before and {after:.1f} s after it")
    assert (counts.lost, counts.retries, counts.stale) == (0, 0, 0)
    assert took < RECOVERED
    assert after < 2 * before + 2
    assert worker.poll() is None


async def _small_jobs(conn: asyncpg.Connection, jobs: int) -> float:
    await add(conn, jobs, 0)
    return await ended(conn)


async def _ended_within(conn: asyncpg.Connection, limit: float) -> float:
    """The seconds until all jobs have ended, or the limit."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while not await conn.fetchval(ENDED) and clock() < began + limit:
        await asyncio.sleep(0.05)
    return min(clock() - began, limit)
