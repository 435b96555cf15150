"""Wrong clocks: a worker's has no effect, the database's makes jobs run twice at most."""

from datetime import timedelta
from typing import Any

import pytest
from chaos.load import REPEATS, Size, add, begun, counted, ended
from chaos.processes import Processes, eventually
from chaos.report import Note

HOUR = timedelta(hours=1)


@pytest.mark.fault(
    9,
    "the clock of one worker is an hour fast, the clock of another an hour slow",
    "no effect: no lease ends early, jobs enqueued for later run on time",
)
async def test_the_clock_of_a_worker_has_no_effect(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    alive = [workers.start(wrong_by=wrong_by, lease=3) for wrong_by in (3600, -3600)]
    # Jobs longer than the lease: it must be prolonged.
    await add(ledger, 10, 5)
    followed = await add(ledger, size.jobs // 2, 0.02, job_type="later")
    await ended(ledger)
    counts = await counted(ledger, 10 + 2 * len(followed))
    late = await ledger.fetchrow(
        """select count(*), count(*) filter (where l.at < j.run_at) as early,
            max(extract(epoch from l.at - j.run_at))::float as seconds,
            max(abs(extract(epoch from j.run_at - j.created_at) - 1))::float as off
        from jobs j join ledger l on l.job_id = j.id
        where j.job_type = 'work' and j.id > $1""",
        followed[-1],
    )
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, seconds=late["seconds"],
            what="late at most, of the jobs for later")
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)
    assert (late["count"], late["early"]) == (len(followed), 0)
    assert late["off"] < 0.1
    assert {worker.poll() for worker in alive} == {None}
    assert await ledger.fetchval("select count(distinct pid) from ledger") == 2


@pytest.mark.fault(
    9,
    "the database's clock goes forward by an hour under load, and back",
    "no job lost; at most the jobs that were running then run twice, fenced",
)
async def test_a_database_clock_that_jumps_costs_re_runs_at_most(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    alive = [workers.start() for _ in range(2)]
    long = await add(ledger, 10, 120, job_type="once")
    await add(ledger, size.jobs, 0.1)
    await begun(ledger, size.jobs // 4)
    held = await _move_clock(ledger, HOUR)
    # The leases seem to be over: the worker that recovers first takes the jobs of the other. Those
    # of the first one are safe if its next heartbeat comes before the other's next tick.
    again = "select bool_or(attempt = 2) from jobs where id = any ($1::bigint[])"
    took = await eventually(lambda: ledger.fetchval(again, long), "long jobs are taken over")
    await _move_clock(ledger, -HOUR)
    await ended(ledger)
    counts = await counted(ledger, size.jobs + len(long))
    repeats = {r["job_id"] for r in await ledger.fetch(REPEATS)}
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice,
            twice_why=f"of {len(held)} jobs that were held", seconds=took,
            what="until jobs whose leases seemed over were claimed again")
    assert (counts.lost, counts.retries, counts.stale) == (0, 0, 0)
    assert repeats <= held
    assert repeats & set(long)
    assert {worker.poll() for worker in alive} == {None}


async def _move_clock(conn: Any, by: timedelta) -> set[int]:
    """Moves every time in the tables the other way; returns the ids of the jobs held then."""
    async with conn.transaction():
        await conn.execute("lock table jobs_workers, jobs in exclusive mode")
        await conn.execute(
            """update jobs set run_at = run_at - $1::interval,
                lease_until = lease_until - $1::interval, created_at = created_at - $1::interval,
                updated_at = updated_at - $1::interval, finished_at = finished_at - $1::interval""",
            by,
        )
        await conn.execute(
            """update jobs_worker_ticks
            set seen_at = seen_at - $1::interval, missed_at = missed_at - $1::interval,
                beats_until = beats_until - $1::interval,
                leases_until = leases_until - $1::interval""",
            by,
        )
        rows = await conn.fetch("select id from jobs where status = 'processing'")
        return {row["id"] for row in rows}
