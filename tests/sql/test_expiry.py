"""expires_at: a job that has not begun by then is ended by a worker's tick."""

from datetime import timedelta

import pytest

START = "select jobs_worker_start('me', '{default}', null, 1)"
TICK = "select more from _jobs_worker_tick('me')"
LIGHT = "select more from _jobs_worker_tick('me', false)"
MINUTE = timedelta(minutes=1)
PAST = {"expires_at": -MINUTE}


@pytest.fixture
async def tick(conn):
    """Sends a complete tick, and returns whether the worker shall tick again at once."""
    await conn.execute(START)

    async def send() -> bool:
        more: bool = await conn.fetchval(TICK)
        return more

    return send


@pytest.mark.parametrize(
    "columns", [{}, {"run_at": MINUTE}, {"queue": "other"}, {"job_type": "unknown"}, {"attempt": 2}]
)
async def test_a_tick_ends_a_job_that_has_not_begun_in_time(tick, job, row, columns):
    expired = await job(**PAST, **columns)
    assert await tick() is False
    ended = await row(expired)
    assert (ended["status"], ended["error"]) == ("cancelled", "expired")
    assert ended["finished_at"] == ended["updated_at"]
    assert ended["expires_at"] is not None


async def test_a_tick_ends_the_jobs_of_a_paused_queue_too(conn, tick, job, row):
    await conn.execute("select jobs_pause('default')")
    expired = await job(**PAST)
    await tick()
    assert (await row(expired))["status"] == "cancelled"


@pytest.mark.parametrize(
    ("status", "columns"),
    [
        ("pending", {"expires_at": MINUTE}),
        ("pending", {}),
        ("pending", {**PAST, "attempt": 1, "retry_count": 1}),
        ("pending", {**PAST, "attempt": 1, "crash_count": 1}),
        ("blocked", PAST),
        ("processing", PAST),
        ("completed", PAST),
    ],
)
async def test_a_tick_leaves_a_job_whose_time_has_not_come_or_that_has_begun(
    tick, job, row, status, columns
):
    left = await job(status, **columns)
    before = await row(left)
    await tick()
    assert await row(left) == before


@pytest.mark.parametrize("back", ["jobs_fail({0}, 'boom')", "jobs_recover('me')"])
async def test_the_retry_of_a_job_that_has_begun_does_not_expire(conn, tick, job, row, back):
    begun = await job("processing", **PAST)
    await conn.execute(f"select from {back.format(begun)}")
    await tick()
    assert (await row(begun))["status"] == "pending"


async def test_a_job_that_was_given_back_counts_as_not_begun(conn, tick, job, row):
    given_back = await job("processing", **PAST)
    await conn.execute("select jobs_release_many('me', array[$1::bigint], '{1}')", given_back)
    await tick()
    assert (await row(given_back))["error"] == "expired"


async def test_a_retry_by_hand_of_an_expired_job_does_not_expire(conn, tick, job, row):
    expired = await job(**PAST)
    await tick()
    await conn.execute("select jobs_retry($1)", expired)
    await tick()
    assert ((await row(expired))["status"], (await row(expired))["expires_at"]) == ("pending", None)


async def test_a_job_that_is_started_by_hand_may_be_past_its_expiry(conn, job):
    expired = await job(**PAST)
    assert await conn.fetchval("select status from jobs_start($1, 'me')", expired) == "processing"


async def test_a_light_tick_ends_nothing(conn, tick, job, row):
    expired = await job(**PAST)
    await conn.execute(LIGHT)
    assert (await row(expired))["status"] == "pending"


async def test_a_tick_ends_a_thousand_jobs_and_asks_for_the_next_tick_at_once(conn, tick):
    await conn.execute(
        """insert into jobs (job_type, expires_at)
        select 't', clock_timestamp() - n * interval '1 s' from generate_series(1, 1500) n"""
    )
    assert await tick() is True
    left = "select count(*), min(expires_at) from jobs where status = 'pending'"
    count, earliest = await conn.fetchrow(left)
    assert count == 500
    late = "select max(expires_at) from jobs where status = 'cancelled'"
    assert await conn.fetchval(late) < earliest
    assert await tick() is False
    assert (await conn.fetchrow(left))[0] == 0


async def test_an_expired_job_frees_its_unique_key(conn, tick, job):
    expired = await job(unique_key="k", **PAST)
    await tick()
    assert await conn.fetchval("select id from jobs_enqueue('t', unique_key => 'k')") != expired


async def test_a_tick_passes_over_a_job_that_is_being_claimed(conn, other, tick, job, row):
    expired = await job(**PAST)
    async with other.transaction():
        await other.execute("select from jobs_claim('w')")
        await tick()
    assert (await row(expired))["status"] == "processing"


async def test_a_claim_passes_over_a_job_that_is_being_ended(conn, other, tick, job):
    await job(**PAST)
    async with conn.transaction():
        await tick()
        assert await other.fetch("select id from jobs_claim('w')") == []
    assert await other.fetch("select id from jobs_claim('w')") == []


async def test_two_ticks_at_once_end_each_job_once(conn, other, tick, job, row):
    jobs = [await job(**PAST) for _ in range(3)]
    async with conn.transaction():
        await tick()
        ended = [await row(job_id) for job_id in jobs]
        assert await other.fetchval("select _jobs_expire(1000)") == 0
    assert [await row(job_id) for job_id in jobs] == ended


async def test_what_has_begun_does_not_stand_before_what_has_not(conn, tick):
    await conn.execute(
        """insert into jobs (job_type, expires_at, attempt, retry_count)
        select 't', clock_timestamp() - n * interval '1 s', 1, 1 from generate_series(1, 2000) n"""
    )
    await conn.execute("insert into jobs (job_type, expires_at) values ('t', '2000-01-01')")
    await tick()
    assert await conn.fetchval("select count(*) from jobs where error = 'expired'") == 1
