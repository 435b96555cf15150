import asyncio

import pytest

from pgjobs.errors import InvalidArgument, JobNotFound, JobNotHeld


async def test_a_completion_stores_the_result_and_clears_error_worker_and_lease(conn, job, row):
    running = await job("processing", error="of an earlier attempt")
    done = await conn.fetchrow("select * from jobs_complete($1, '{\"pages\": 3}')", running)
    assert done == await row(running)
    assert (done["status"], done["result"], done["error"]) == ("completed", '{"pages": 3}', None)
    assert (done["worker"], done["lease_until"]) == (None, None)
    assert done["finished_at"] is not None


async def test_without_a_fence_any_caller_may_complete_a_job(conn, job):
    assert await conn.fetchval("select status from jobs_complete($1)", await job("processing"))


@pytest.mark.parametrize(
    "fence", ["worker => 'you'", "attempt => 2", "worker => 'you', attempt => 1"]
)
async def test_a_stale_fence_raises_and_changes_nothing(conn, job, row, fence):
    running = await job("processing")
    before = await row(running)
    with pytest.raises(JobNotHeld, match="held by me in attempt 1"):
        await conn.execute(f"select jobs_complete($1, {fence})", running)
    assert await row(running) == before


@pytest.mark.parametrize(
    "fence", ["worker => 'me'", "attempt => 1", "worker => 'me', attempt => 1"]
)
async def test_the_right_fence_passes(conn, job, fence):
    query = f"select status from jobs_complete($1, {fence})"
    assert await conn.fetchval(query, await job("processing")) == "completed"


async def test_a_fence_never_passes_for_a_job_without_a_worker(conn, job):
    running = await job("processing", worker=None)
    with pytest.raises(JobNotHeld):
        await conn.execute("select jobs_complete($1, worker => 'me')", running)


async def test_a_late_completion_does_not_revive_a_cancelled_job(conn, job, row):
    cancelled = await job("cancelled")
    with pytest.raises(JobNotHeld, match="is cancelled, not processing"):
        await conn.execute("select jobs_complete($1)", cancelled)
    assert (await row(cancelled))["status"] == "cancelled"


async def test_a_job_with_a_cancel_request_may_still_be_completed(conn, job):
    running = await job("processing")
    await conn.execute("select jobs_cancel($1)", running)
    assert await conn.fetchval("select status from jobs_complete($1)", running) == "completed"


async def test_an_unknown_id_and_a_null_id_raise(conn):
    with pytest.raises(JobNotFound, match="there is no job 99"):
        await conn.execute("select jobs_complete(99)")
    with pytest.raises(InvalidArgument, match="job_id is missing"):
        await conn.execute("select jobs_complete(null)")


async def test_the_second_of_two_sessions_finds_the_job_completed(conn, other, job, blocked, row):
    running = await job("processing")
    async with conn.transaction():
        await conn.execute("select jobs_complete($1, '1')", running)
        second = asyncio.create_task(other.execute("select jobs_complete($1, '2')", running))
        await blocked(other)
    with pytest.raises(JobNotHeld, match="is completed"):
        await second
    assert (await row(running))["result"] == "1"
