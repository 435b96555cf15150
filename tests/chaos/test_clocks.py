"""Wrong clocks: a worker's has no effect, the database's makes jobs run twice at most."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from chaos.load import REPEATS, Size, add, begun, counted, ended
from chaos.processes import Processes, eventually
from chaos.report import Note

HOUR = timedelta(hours=1)
TICKS = """select headers ->> 'pgjobs.schedule' as name,
    (headers ->> 'pgjobs.scheduled_for')::timestamptz as tick from jobs"""
MADE_UP = f"""select name, count(*) from ({TICKS}) t
    where tick > $1 and tick <= $2 group by name"""
TWICE = f"select count(*), count(*) - count(distinct (name, tick)) from ({TICKS}) t"


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


@pytest.mark.fault(
    9,
    "the database's clock goes forward by an hour beside schedules that tick every 10 s, and back",
    "forward: `missed` decides, once: the latest tick, all or none; back: no tick twice, and"
    " none before the next one's moment",
)
async def test_a_database_clock_that_jumps_fires_no_tick_twice(
    ledger: Any, workers: Processes, figures: Note
) -> None:
    await ledger.execute(
        """select jobs_schedule(missed, 'work', every => '10 s', missed => missed,
            payload => '{"seconds": 0}', overlap => 'allow')
        from unnest('{latest,all,none}'::text[]) missed"""
    )
    alive = [workers.start() for _ in range(2)]
    every = "select count(*) = 3 from jobs_schedules where last_at is not null"
    await eventually(lambda: ledger.fetchval(every), "each has fired", 30)

    first = await ledger.fetchval("select min(last_at) from jobs_schedules")
    await _move_clock(ledger, HOUR)
    caught_up = "select min(next_at) > now() from jobs_schedules"
    took = await eventually(lambda: ledger.fetchval(caught_up), "all have caught up", 30)
    since = await ledger.fetchval("select max(last_at) from jobs_schedules")
    # Ticks since the jump: those of the hour that never was, and one or two that came meanwhile.
    made_up = dict(await ledger.fetch(MADE_UP, first - HOUR, since - timedelta(seconds=30)))
    assert made_up.get("latest", 0) == 0
    assert made_up.get("none", 0) == 0
    assert 355 <= made_up["all"] <= 360

    await _move_clock(ledger, -HOUR)
    before = await ledger.fetch("select name, next_at, last_at from jobs_schedules order by name")
    # Longer than a tick of the workers.
    await asyncio.sleep(12)
    after = await ledger.fetch("select name, next_at, last_at from jobs_schedules order by name")
    assert after == before
    assert min(row["next_at"] for row in after) > await ledger.fetchval("select now()")

    await _move_clock(ledger, HOUR)
    passed = "select min(last_at) > $1 from jobs_schedules"
    await eventually(lambda: ledger.fetchval(passed, since), "the next tick comes", 30)
    await ended(ledger)
    jobs, twice = await ledger.fetchrow(TWICE)
    figures(jobs=jobs, lost=0, twice=twice, twice_why="ticks", seconds=took,
            what="from the jump until all had caught up")
    assert twice == 0
    assert {worker.poll() for worker in alive} == {None}


async def _move_clock(conn: Any, by: timedelta) -> set[int]:
    """Moves every time in the tables the other way; returns the ids of the jobs held then."""
    async with conn.transaction():
        await conn.execute("lock table jobs_schedules, jobs_workers, jobs in exclusive mode")
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
        await conn.execute(
            """update jobs set headers = headers || jsonb_build_object('pgjobs.scheduled_for',
                (headers ->> 'pgjobs.scheduled_for')::timestamptz - $1::interval)
            where headers ? 'pgjobs.scheduled_for'""",
            by,
        )
        await conn.execute(
            """update jobs_schedules
            set next_at = next_at - $1::interval, last_at = last_at - $1::interval""",
            by,
        )
        rows = await conn.fetch("select id from jobs where status = 'processing'")
        return {row["id"] for row in rows}
