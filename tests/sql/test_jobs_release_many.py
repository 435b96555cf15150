import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

MANY = "select * from jobs_release_many('me', $1::bigint[], $2::int[])"
SNOOZE = """select * from jobs_release_many('me', $1::bigint[], $2::int[],
    array[null, clock_timestamp() + interval '1 hour'])"""


async def test_a_released_job_is_pending_again_and_has_spent_no_retry(conn, job, ids, row):
    running = await job("processing", run_at=timedelta(hours=-1), error="earlier", retry_count=1)
    before = await row(running)
    assert await ids(MANY, [running], [1]) == [running]
    after = await row(running)
    assert (after["status"], after["worker"], after["lease_until"]) == ("pending", None, None)
    for kept in ["run_at", "error", "retry_count", "crash_count", "attempt", "finished_at"]:
        assert after[kept] == before[kept]
    assert await ids("select id from jobs_claim('another')") == [running]


async def test_a_given_run_at_snoozes_the_job_and_a_null_keeps_the_old_run_at(job, ids, row):
    a, b = await job("processing"), await job("processing")
    was = (await row(a))["run_at"]
    assert sorted(await ids(SNOOZE, [a, b], [1, 1])) == [a, b]
    assert (await row(a))["run_at"] == was
    assert (await row(b))["run_at"] - was > timedelta(minutes=59)


async def test_a_job_that_fails_the_fence_is_skipped(job, ids):
    mine = await job("processing")
    jobs = [await job("processing", worker="you"), 99, await job("processing", attempt=2), mine,
            await job(), await job("cancelled")]
    assert await ids(MANY, jobs, [1] * 6) == [mine]


async def test_a_released_job_with_a_cancel_request_ends_cancelled(job, ids, row):
    running = await job("processing", cancel_requested_at=timedelta(0))
    assert await ids(MANY, [running], [1]) == [running]
    assert (await row(running))["status"] == "cancelled"


async def test_a_repeated_id_counts_once_and_empty_arrays_change_nothing(job, ids):
    a = await job("processing")
    assert await ids(MANY, [a, a], [1, 1]) == [a]
    assert await ids(MANY, [], []) == []


@pytest.mark.parametrize(
    "arguments",
    [
        "null, '{1}', '{1}'",
        "'me', null, '{1}'",
        "'me', '{1}', null",
        "'me', '{1}', '{}'",
        "'me', '{1}', '{1}', '{}'",
        "'me', '{1}', '{1}', '{infinity}'",
        "'me', '{1}', '{1}', '{4713-01-01 BC}'",
        "'me', '{1}', '{1}', '{10000-01-01}'",
    ],
)
async def test_bad_arguments_raise(conn, job, row, arguments):
    running = await job("processing")
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_release_many({arguments})")
    assert (await row(running))["status"] == "processing"


async def test_releases_send_one_signal_per_queue(conn, job, ears):
    jobs = [await job("processing", queue=queue) for queue in "aab"]
    await ears.heard()
    await conn.execute(MANY, jobs, [1] * 3)
    assert sorted(await ears.heard()) == ["a", "b"]


async def test_the_second_of_two_sessions_changes_nothing(conn, other, job, blocked):
    jobs = [await job("processing") for _ in range(5)]
    async with conn.transaction():
        assert len(await conn.fetch(MANY, jobs, [1] * 5)) == 5
        second = asyncio.create_task(other.fetch(MANY, jobs[::-1], [1] * 5))
        await blocked(other)
    assert await second == []
