import asyncio

import pytest

from pgjobs.errors import InvalidArgument, JobNotFound, JobNotHeld


async def test_a_pending_job_is_cancelled_at_once(conn, job, row):
    pending = await job()
    cancelled = await conn.fetchrow("select * from jobs_cancel($1, 'no need')", pending)
    assert cancelled == await row(pending)
    assert (cancelled["status"], cancelled["error"]) == ("cancelled", "no need")
    assert cancelled["finished_at"] is not None


async def test_a_processing_job_goes_on_until_its_worker_has_stopped_it(conn, job, cancel_ears):
    running = await job("processing")
    asked = await conn.fetchrow("select * from jobs_cancel($1, 'no need')", running)
    assert (asked["status"], asked["worker"], asked["error"]) == ("processing", "me", "no need")
    assert asked["cancel_requested_at"] is not None
    assert await cancel_ears.heard() == [str(running)]
    stopped = await conn.fetchrow(
        "select * from jobs_cancel($1, worker => 'me', attempt => 1)", running
    )
    assert (stopped["status"], stopped["worker"], stopped["error"]) == (
        "cancelled", None, "no need",
    )
    assert stopped["lease_until"] is None
    assert stopped["finished_at"] is not None


async def test_cancelling_twice_keeps_the_first_moment_and_notifies_the_worker_again(
    conn, job, cancel_ears
):
    running = await job("processing")
    ask = "select cancel_requested_at from jobs_cancel($1)"
    assert await conn.fetchval(ask, running) == await conn.fetchval(ask, running)
    assert await cancel_ears.heard() == [str(running)] * 2


async def test_a_worker_may_cancel_a_job_that_it_holds_without_a_request(conn, job):
    query = "select status from jobs_cancel($1, 'pointless', 'me', 1)"
    assert await conn.fetchval(query, await job("processing")) == "cancelled"


@pytest.mark.parametrize("fence", ["worker => 'you'", "attempt => 2"])
async def test_a_stale_fence_raises_and_changes_nothing(conn, job, row, fence):
    running = await job("processing")
    before = await row(running)
    with pytest.raises(JobNotHeld):
        await conn.execute(f"select jobs_cancel($1, {fence})", running)
    assert await row(running) == before


async def test_a_cancelled_job_is_left_unchanged(conn, job, row):
    cancelled = await job("cancelled", error="earlier")
    before = await row(cancelled)
    assert await conn.fetchrow("select * from jobs_cancel($1, 'again')", cancelled) == before
    assert await row(cancelled) == before


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_a_finished_job_raises(conn, job, status):
    finished = await job(status)
    with pytest.raises(JobNotHeld, match=f"is {status} already"):
        await conn.execute("select jobs_cancel($1)", finished)


async def test_an_unknown_id_and_a_null_id_raise(conn):
    with pytest.raises(JobNotFound):
        await conn.execute("select jobs_cancel(99)")
    with pytest.raises(InvalidArgument):
        await conn.execute("select jobs_cancel(null)")


async def test_the_live_key_of_a_cancelled_job_is_free_again(conn, job):
    pending = await job(unique_key="a")
    await conn.execute("select jobs_cancel($1)", pending)
    assert await conn.fetchval("select id from jobs_enqueue('t', unique_key => 'a')") != pending


async def test_a_claim_skips_a_job_that_is_being_cancelled(conn, other, job):
    pending = await job()
    async with conn.transaction():
        await conn.execute("select jobs_cancel($1)", pending)
        assert await other.fetch("select * from jobs_claim('me')") == []
    assert await other.fetch("select * from jobs_claim('me')") == []


async def test_a_cancel_that_waits_for_a_claim_asks_the_worker_to_stop_the_job(
    conn, other, job, blocked
):
    pending = await job()
    async with conn.transaction():
        await conn.execute("select jobs_claim('me')")
        cancel = asyncio.create_task(
            other.fetchrow("select status, cancel_requested_at from jobs_cancel($1)", pending)
        )
        await blocked(other)
    status, asked = await cancel
    assert status == "processing"
    assert asked is not None


async def test_a_cancel_that_waits_for_a_completion_raises(conn, other, job, blocked):
    running = await job("processing")
    async with conn.transaction():
        await conn.execute("select jobs_complete($1)", running)
        cancel = asyncio.create_task(other.execute("select jobs_cancel($1)", running))
        await blocked(other)
    with pytest.raises(JobNotHeld, match="is completed already"):
        await cancel
