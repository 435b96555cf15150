"""A day has 24 hours, whatever the session's time zone and whether its clocks change meanwhile."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from pgjobs import App, Backoff
from pgjobs.database import Database

pytestmark = pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC"])
# Each zone changes its clocks within one of these, whatever today is.
DELAYS = [timedelta(days=60), timedelta(days=150), timedelta(days=240), timedelta(days=330)]
# Statements take less than this.
SOON = timedelta(seconds=30)


@pytest.fixture
async def conn(pgjobs_dsn, zone):
    """A session of that time zone."""
    connection = await asyncpg.connect(pgjobs_dsn, server_settings={"timezone": zone})
    yield connection
    await connection.close()


def is_after(moment: datetime, delay: timedelta) -> bool:
    return abs(moment - datetime.now(UTC) - delay) < SOON


async def run_at(conn, job_id: int) -> datetime:
    return await conn.fetchval("select run_at from jobs where id = $1", job_id)


async def test_a_delay_of_a_producer_with_its_own_connection(conn, pgjobs_dsn):
    async with App(pgjobs_dsn) as app:
        for delay in DELAYS:
            job = await app.enqueue("t", delay=delay, conn=conn)
            assert is_after(job.run_at, delay)
            for job_id in await app.enqueue_many("t", [1, 2], delay=delay, conn=conn):
                assert is_after(await run_at(conn, job_id), delay)


async def test_delays_in_a_database_of_that_time_zone(conn, pgjobs_dsn, zone):
    name = await conn.fetchval("select quote_ident(current_database())")
    await conn.execute(f"alter database {name} set timezone = '{zone}'")
    async with App(pgjobs_dsn) as app:
        for delay in DELAYS:
            job = await app.enqueue("t", delay=delay)
            (many,) = await app.enqueue_many("t", [1], delay=delay)
            keyed = await app.enqueue("t", delay=delay, unique_key=str(delay))
            for job_id in (job.id, many, keyed.id):
                assert is_after(await run_at(conn, job_id), delay)


@pytest.mark.parametrize("way", ["enqueue", "enqueue_many", "insert"])
async def test_a_backoff_however_it_was_enqueued(conn, pgjobs_dsn, way):
    async with App(pgjobs_dsn) as app:
        for delay in DELAYS:
            if way == "enqueue":
                await app.enqueue("t", backoff=Backoff.fixed(delay), conn=conn)
            elif way == "enqueue_many":
                await app.enqueue_many("t", [1], backoff=Backoff.fixed(delay), conn=conn)
            else:
                await conn.execute("insert into jobs (job_type, backoff) values ('t', $1)", [delay])
            job = await conn.fetchrow("select id, attempt from jobs_claim('w')")
            failed = await conn.fetchval("select run_at from jobs_fail($1, 'no')", job["id"])
            assert is_after(failed, delay)


async def test_a_retry_in_of_one_and_of_many(conn):
    database = Database(conn)
    for delay in DELAYS:
        await conn.execute("select jobs_enqueue('t') from generate_series(1, 2)")
        one, other = await conn.fetch("select id, attempt from jobs_claim('w', max_jobs => 2)")
        job = await database.fail(one["id"], "no", retry_in=delay)
        assert is_after(job.run_at, delay)
        await database.fail_many("w", [other["id"]], [other["attempt"]], ["no"], [True], [delay])
        assert is_after(await run_at(conn, other["id"]), delay)


async def test_a_snooze(conn):
    database = Database(conn)
    for delay in DELAYS:
        await conn.execute("select jobs_enqueue('t')")
        job = await conn.fetchrow("select id, attempt from jobs_claim('w')")
        await database.release_many("w", [job["id"]], [job["attempt"]], [delay])
        assert is_after(await run_at(conn, job["id"]), delay)


async def test_a_backoff_after_a_loss(conn):
    for delay in DELAYS:
        await conn.execute(
            """insert into jobs (job_type, status, worker, attempt, crash_count, backoff)
            values ('t', 'processing', 'w', 1, 1, $1)""", [delay],
        )
        assert is_after(await conn.fetchval("select run_at from jobs_recover('w')"), delay)


async def test_a_lease(conn):
    for lease in DELAYS:
        await conn.execute("select jobs_enqueue('t') from generate_series(1, 2)")
        claimed = await conn.fetchrow("select * from jobs_claim('w', lease => $1)", lease)
        assert is_after(claimed["lease_until"], lease)
        started = await conn.fetchrow(
            "select (jobs_start(id, 'w', $1)).* from jobs where status = 'pending'", lease
        )
        assert is_after(started["lease_until"], lease)
        held = ([claimed["id"], started["id"]], [1, 1])
        await conn.execute("update jobs set lease_until = null")
        await conn.execute("select jobs_heartbeat('w', $1, $2, $3)", *held, lease)
        for prolonged in await conn.fetch("select lease_until from jobs where worker = 'w'"):
            assert is_after(prolonged["lease_until"], lease)
        await conn.execute("select jobs_release_many('w', $1, $2)", *held)
        await conn.execute("delete from jobs")


async def test_a_registered_workers_heartbeat(conn):
    await conn.execute("select jobs_worker_start('w', null, null, 1)")
    for lease in DELAYS:
        await conn.execute(
            "select _jobs_worker_beat('w', '{}', '{}', $1, '20 s')", lease
        )
        ticks = await conn.fetchrow("select beats_until, leases_until from jobs_worker_ticks")
        assert is_after(ticks["beats_until"], lease / 2)
        assert is_after(ticks["leases_until"], lease)


async def test_the_age_of_what_is_cleaned_up(conn):
    for age in DELAYS:
        await conn.execute(
            """insert into jobs (job_type, status, finished_at)
            select 't', 'completed', clock_timestamp() - make_interval(secs => $1 + off)
            from unnest('{-60,60}'::int[]) off""", age.total_seconds(),
        )
        assert await conn.fetchval("select jobs_cleanup($1)", age) == 1
        assert await Database(conn).finished(["completed"], within=age) == 1
        assert await Database(conn).finished(["completed"], before=age) == 0
        await conn.execute("delete from jobs")


async def test_a_month_is_one_of_the_calendar_in_utc(conn):
    later = "select _jobs_after('2026-01-31 12:00+00', '1 month')"
    assert await conn.fetchval(later) == datetime(2026, 2, 28, 12, tzinfo=UTC)
