import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument, JobNotFound, JobNotHeld


async def test_a_start_claims_the_chosen_job_without_a_lease(conn, job, row):
    await job(priority=9)
    chosen = await job()
    started = await conn.fetchrow("select * from jobs_start($1, 'me')", chosen)
    assert started == await row(chosen)
    assert (started["status"], started["worker"], started["attempt"]) == ("processing", "me", 1)
    assert started["lease_until"] is None
    assert await conn.fetch("select * from jobs_recover()") == []


async def test_a_start_with_a_lease_sets_lease_until(conn, job):
    chosen = await job()
    left = "select lease_until - clock_timestamp() from jobs_start($1, 'me', '5 minutes')"
    assert timedelta(minutes=4) < await conn.fetchval(left, chosen) <= timedelta(minutes=5)


async def test_a_future_job_in_a_paused_queue_can_be_started(conn, job):
    chosen = await job(run_at=timedelta(hours=1))
    await conn.execute("select jobs_pause('default')")
    assert await conn.fetchval("select status from jobs_start($1, 'me')", chosen) == "processing"


async def test_bad_arguments_raise(conn, job):
    await job()
    for arguments in ["null, 'me'", "1, null", "1, ''", "1, 'me', '0'", "1, 'me', '-1 s'"]:
        with pytest.raises(InvalidArgument):
            await conn.fetch(f"select jobs_start({arguments})")
    with pytest.raises(JobNotFound, match="there is no job 99"):
        await conn.fetch("select jobs_start(99, 'me')")


async def test_the_second_of_two_sessions_waits_and_then_finds_the_job_taken(
    conn, other, job, blocked
):
    chosen = await job()
    start = "select jobs_start($1, 'me')"
    async with conn.transaction():
        await conn.execute(start, chosen)
        second = asyncio.create_task(other.execute(start, chosen))
        await blocked(other)
    with pytest.raises(JobNotHeld, match="is processing, not pending"):
        await second


async def test_a_claim_skips_a_job_that_is_being_started(conn, other, job):
    chosen = await job()
    async with conn.transaction():
        await conn.execute("select jobs_start($1, 'me')", chosen)
        assert await other.fetch("select * from jobs_claim('other')") == []
