import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import DuplicateJob, InvalidArgument, JobNotFound, JobNotHeld

RETRY = "select * from jobs_retry($1)"


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_a_finished_job_is_pending_again_without_counts_result_and_error(
    conn, job, row, ids, status
):
    finished = await job(
        status, retry_count=3, crash_count=2, attempt=6, result="1", error="e",
        run_at=timedelta(hours=1), cancel_requested_at=timedelta(0),
    )
    again = await conn.fetchrow(RETRY, finished)
    assert again == await row(finished)
    assert (again["status"], again["retry_count"], again["crash_count"]) == ("pending", 0, 0)
    for cleared in ["result", "error", "cancel_requested_at", "finished_at", "worker"]:
        assert again[cleared] is None
    assert again["attempt"] == 6
    assert await ids("select id from jobs_claim('me')") == [finished]


@pytest.mark.parametrize("status", ["pending", "processing"])
async def test_a_live_job_raises(conn, job, status):
    live = await job(status)
    with pytest.raises(JobNotHeld, match=f"is {status} already"):
        await conn.execute(RETRY, live)


async def test_an_unknown_id_and_a_null_id_raise(conn):
    with pytest.raises(JobNotFound):
        await conn.execute(RETRY, 99)
    with pytest.raises(InvalidArgument):
        await conn.execute(RETRY, None)


async def test_a_key_that_another_job_holds_raises_and_changes_nothing(conn, job, row):
    failed = await job("failed", unique_key="a")
    await job(unique_key="a")
    before = await row(failed)
    with pytest.raises(DuplicateJob, match="another t job holds its unique_key 'a'"):
        await conn.execute(RETRY, failed)
    assert await row(failed) == before


async def test_a_job_that_holds_its_own_key_may_be_retried(conn, job):
    for scope in ["live", "kept"]:
        failed = await job("failed", unique_key=scope, unique_scope=scope)
        assert (await conn.fetchrow(RETRY, failed))["status"] == "pending"


async def test_the_second_of_two_sessions_finds_the_job_pending(conn, other, job, blocked):
    failed = await job("failed")
    async with conn.transaction():
        await conn.execute(RETRY, failed)
        second = asyncio.create_task(other.execute(RETRY, failed))
        await blocked(other)
    with pytest.raises(JobNotHeld, match="is pending already"):
        await second


async def test_a_retry_waits_for_an_enqueue_of_the_same_key_and_raises(conn, other, job, blocked):
    failed = await job("failed", unique_key="a")
    async with conn.transaction():
        await conn.execute("select jobs_enqueue('t', unique_key => 'a')")
        retry = asyncio.create_task(other.execute(RETRY, failed))
        await blocked(other)
    with pytest.raises(DuplicateJob):
        await retry


async def test_a_retry_sends_a_signal(conn, job, ears):
    failed = await job("failed", queue="q")
    await conn.execute(RETRY, failed)
    assert await ears.heard() == ["q"]
