import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

PENDING = "select id from jobs where status = 'pending' order by id"
DAY = timedelta(days=1)


async def test_only_failed_jobs_are_retried(conn, job, ids):
    failed = [await job("failed", retry_count=3), await job("failed")]
    for status in ["processing", "completed", "cancelled"]:
        await job(status)
    assert await conn.fetchval("select jobs_retry_many()") == 2
    assert await ids(PENDING) == failed
    assert await conn.fetchval("select max(retry_count) from jobs") == 0


async def test_an_explicit_null_means_the_default(conn, job):
    await job("failed")
    assert await conn.fetchval("select jobs_retry_many(null, null, null, null)") == 1


async def test_job_types_queues_and_failed_since_select_the_jobs(conn, job, ids):
    a = await job("failed", job_type="a")
    b = await job("failed", job_type="b", queue="q")
    old = await job("failed", job_type="a", finished_at=-2 * DAY)
    assert await conn.fetchval("select jobs_retry_many('{b}', '{default}')") == 0
    since = "select jobs_retry_many('{a}', failed_since => clock_timestamp() - interval '1 day')"
    assert await conn.fetchval(since) == 1
    assert await ids(PENDING) == [a]
    assert await conn.fetchval("select jobs_retry_many(queues => '{q}')") == 1
    assert await ids(PENDING) == [a, b]
    assert await conn.fetchval("select jobs_retry_many('{}')") == 0
    assert await conn.fetchval("select jobs_retry_many()") == 1
    assert await ids(PENDING) == [a, b, old]


async def test_max_jobs_is_exact_and_further_calls_retry_the_rest(conn, job):
    for _ in range(5):
        await job("failed")
    counts = [await conn.fetchval("select jobs_retry_many(max_jobs => 2)") for _ in range(4)]
    assert counts == [2, 2, 1, 0]
    with pytest.raises(InvalidArgument, match="max_jobs must be 0 or more"):
        await conn.execute("select jobs_retry_many(max_jobs => -1)")


async def test_jobs_whose_key_is_taken_are_skipped_and_do_not_count_towards_max_jobs(
    conn, job, ids
):
    await job("failed", unique_key="a")
    await job("failed", unique_key="a")
    live = await job(unique_key="a")
    free = await job("failed", unique_key="b")
    assert await conn.fetchval("select jobs_retry_many(max_jobs => 1)") == 1
    assert await ids(PENDING) == [live, free]


async def test_only_one_of_two_failed_jobs_with_the_same_key_is_retried(conn, job, ids):
    for _ in range(2):
        await job("failed", unique_key="a")
    await job("failed")
    assert await conn.fetchval("select jobs_retry_many()") == 2
    assert len(await ids("select id from jobs where status = 'failed'")) == 1


async def test_a_job_that_holds_its_own_kept_key_is_retried(conn, job):
    await job("failed", unique_key="a", unique_scope="kept")
    assert await conn.fetchval("select jobs_retry_many()") == 1


async def test_locked_rows_are_skipped(conn, other, job):
    locked, _ = await job("failed"), await job("failed")
    async with conn.transaction():
        await conn.execute("select jobs_retry($1)", locked)
        assert await other.fetchval("select jobs_retry_many()") == 1


async def test_retries_send_one_signal_per_queue(conn, job, ears):
    for queue in "aab":
        await job("failed", queue=queue)
    await conn.execute("select jobs_retry_many()")
    assert sorted(await ears.heard()) == ["a", "b"]


async def test_a_key_that_is_taken_meanwhile_costs_few_subtransactions(conn, other, blocked, job):
    ids = [await job("failed", unique_key=f"k{n:03}") for n in range(64)]
    taking = other.transaction()
    await taking.start()
    await other.execute("select jobs_enqueue('t', unique_key => 'k040')")
    # It waits for the key, after it has found the key free.
    retrying = asyncio.create_task(conn.fetchrow(
        """with before as materialized (
            select pg_current_xact_id()::text::bigint as xid
        ), retried as materialized (
            select jobs_retry_many() as jobs from before
        )
        select r.jobs, b.xid from retried r, before b"""
    ))
    await blocked(conn)
    await taking.commit()
    jobs, xid = await retrying
    assert jobs == 63
    assert await conn.fetchval("select status from jobs where id = $1", ids[40]) == "failed"
    after = await conn.fetchval("select pg_current_xact_id()::text::bigint")
    assert after - xid < 20


async def test_thousands_of_jobs_are_retried_in_few_transactions(conn):
    await conn.execute(
        """insert into jobs (job_type, status, finished_at, unique_key)
        select 't', 'failed', clock_timestamp(), case when n % 2 = 0 then 'k' || n end
        from generate_series(1, 2000) n"""
    )
    before = await conn.fetchval("select pg_current_xact_id()::text::bigint")
    assert await conn.fetchval("select jobs_retry_many()") == 2000
    assert await conn.fetchval("select pg_current_xact_id()::text::bigint") - before < 5


async def test_a_key_whose_taker_rolls_back_is_free(conn, other, blocked, job):
    await job("failed", unique_key="a")
    taking = other.transaction()
    await taking.start()
    await other.execute("select jobs_enqueue('t', unique_key => 'a')")
    retrying = asyncio.create_task(conn.fetchval("select jobs_retry_many()"))
    await blocked(conn)
    await taking.rollback()
    assert await retrying == 1


async def test_two_calls_that_retry_the_same_keys_do_not_deadlock(conn, other, job):
    for _ in range(3):
        await conn.execute("delete from jobs")
        for numbers in (range(10), reversed(range(10))):
            for n in numbers:
                await job("failed", unique_key=f"k{n}", finished_at=timedelta(seconds=n - 99))
        query = "select jobs_retry_many(max_jobs => 10)"
        counts = await asyncio.gather(conn.fetchval(query), other.fetchval(query))
        # One call may choose a job whose key the other one takes in the meantime.
        counts.append(await conn.fetchval("select jobs_retry_many()"))
        assert sum(counts) == 10


async def test_the_filters_of_the_other_calls_for_many_select_failed_jobs_too(conn, job, ids):
    first = await job("failed", group_key="g", reference_type="file", reference_id=1)
    await job("failed")
    await job("cancelled", group_key="g")
    assert await conn.fetchval("select jobs_retry_many(group_keys => '{g}')") == 1
    assert await ids(PENDING) == [first]
    retry = "select jobs_retry_many(reference_type => 'file', job_ids => '{1,2,3}')"
    assert await conn.fetchval(retry) == 0
