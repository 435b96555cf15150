import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument, JobNotFound, JobNotHeld

DELAY = "select run_at - updated_at from jobs_fail($1, 'e')"


async def test_a_failed_job_with_retries_left_is_pending_until_its_backoff_is_over(conn, job, row):
    running = await job("processing")
    failed = await conn.fetchrow("select * from jobs_fail($1, 'it broke')", running)
    assert failed == await row(running)
    assert (failed["status"], failed["error"], failed["retry_count"]) == ("pending", "it broke", 1)
    assert (failed["worker"], failed["lease_until"], failed["finished_at"]) == (None, None, None)
    assert failed["attempt"] == 1
    assert await conn.fetchval("select run_at > clock_timestamp() from jobs")


async def test_a_failed_job_without_retries_left_ends_failed(conn, job):
    running = await job("processing", retry_count=3)
    failed = await conn.fetchrow("select * from jobs_fail($1, 'it broke')", running)
    assert (failed["status"], failed["retry_count"], failed["max_retries"]) == ("failed", 3, 3)
    assert failed["finished_at"] is not None


@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_a_job_that_always_fails_runs_one_time_more_than_max_retries(conn, job, max_retries):
    await job(max_retries=max_retries)
    runs = 0
    while await conn.fetch("select * from jobs_claim('me')"):
        runs += 1
        await conn.execute("select jobs_fail(id, 'e', retry_in => '0') from jobs")
    assert runs == max_retries + 1


async def test_retry_false_ends_the_job_at_once_and_retry_null_means_true(conn, job):
    fail = "select status from jobs_fail($1, 'e', retry => $2)"
    assert await conn.fetchval(fail, await job("processing"), False) == "failed"
    assert await conn.fetchval(fail, await job("processing"), None) == "pending"


@pytest.mark.parametrize(
    ("retry_count", "seconds"), [(0, 5), (1, 30), (2, 180), (3, 1080), (4, 3600), (2_000_000, 3600)]
)
async def test_the_default_backoff_grows_from_five_seconds_to_an_hour_with_jitter(
    conn, job, retry_count, seconds
):
    delays = [
        (
            await conn.fetchval(
                DELAY,
                await job("processing", retry_count=retry_count, max_retries=2_147_483_647),
            )
        ).total_seconds()
        for _ in range(20)
    ]
    assert 0.75 * seconds <= min(delays) <= max(delays) <= 1.25 * seconds
    assert len(set(delays)) > 1


@pytest.mark.parametrize(("retry_count", "seconds"), [(0, 5), (1, 60), (2, 60)])
async def test_a_listed_backoff_repeats_its_last_delay(conn, job, retry_count, seconds):
    backoff = [timedelta(seconds=5), timedelta(seconds=60)]
    running = await job("processing", retry_count=retry_count, backoff=backoff)
    assert await conn.fetchval(DELAY, running) == timedelta(seconds=seconds)


async def test_retry_in_overrides_the_backoff_for_one_retry(conn, job):
    running = await job("processing", backoff=[timedelta(seconds=5)])
    fail = "select run_at - updated_at from jobs_fail($1, 'e', retry_in => '90 s')"
    assert await conn.fetchval(fail, running) == timedelta(seconds=90)


@pytest.mark.parametrize("retry_in", ["-1 s", "101 years", "-290000 years 104400001 days"])
async def test_an_impossible_retry_in_raises_and_changes_nothing(conn, job, row, retry_in):
    running = await job("processing")
    with pytest.raises(InvalidArgument, match="retry_in must be from 0 to 100 years"):
        await conn.execute(f"select jobs_fail($1, 'e', retry_in => '{retry_in}')", running)
    assert (await row(running))["status"] == "processing"


async def test_a_failure_without_an_error_raises(conn, job):
    running = await job("processing")
    with pytest.raises(InvalidArgument, match="error is missing"):
        await conn.execute("select jobs_fail($1, null)", running)


async def test_a_failed_job_with_a_cancel_request_ends_cancelled(conn, job):
    running = await job("processing", cancel_requested_at=timedelta(0))
    failed = await conn.fetchrow("select * from jobs_fail($1, 'stopped')", running)
    assert (failed["status"], failed["error"], failed["retry_count"]) == ("cancelled", "stopped", 0)
    assert failed["finished_at"] is not None


async def test_a_stale_fence_raises_and_changes_nothing(conn, job, row):
    running = await job("processing")
    for fence in ["worker => 'you'", "attempt => 2"]:
        with pytest.raises(JobNotHeld, match="held by me in attempt 1"):
            await conn.execute(f"select jobs_fail($1, 'e', {fence})", running)
    assert (await row(running))["status"] == "processing"
    with pytest.raises(JobNotFound):
        await conn.execute("select jobs_fail(99, 'e')")


async def test_the_second_of_two_sessions_spends_no_second_retry(conn, other, job, blocked, row):
    running = await job("processing")
    async with conn.transaction():
        await conn.execute("select jobs_fail($1, 'first')", running)
        second = asyncio.create_task(other.execute("select jobs_fail($1, 'second')", running))
        await blocked(other)
    with pytest.raises(JobNotHeld, match="is pending, not processing"):
        await second
    assert (await row(running))["retry_count"] == 1


async def test_a_failure_with_retries_left_sends_a_signal(conn, job, ears):
    running = await job("processing", queue="q")
    await ears.heard()
    await conn.execute("select jobs_fail($1, 'e')", running)
    assert await ears.heard() == ["q"]


async def test_the_last_failure_sends_no_signal(conn, job, ears):
    running = await job("processing")
    await ears.heard()
    await conn.execute("select jobs_fail($1, 'e', retry => false)", running)
    assert await ears.heard() == []
