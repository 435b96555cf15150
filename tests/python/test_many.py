"""What an app does with many jobs at once."""

import asyncio
from datetime import timedelta

import pytest

from pgjobs import InvalidArgument

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("pgjobs.many.BATCH_JOBS", 2)


async def statuses(conn):
    return dict(await conn.fetch("select status, count(*) from jobs group by 1"))


async def test_jobs_are_edited_cancelled_and_deleted_batch_by_batch(app, conn):
    await app.enqueue_many("t", [{}] * 5)
    await app.enqueue_many("u", [{}] * 2)
    assert await app.edit_many(set_priority=3, set_queue="q", job_type="t") == 5
    assert await app.edit_many(set_run_at=DAY, queue=["q"]) == 5
    assert await conn.fetchval("select count(*) from jobs where run_at > now() + '23 h'") == 5
    assert await app.cancel_many("off", queue="q") == 5
    assert await conn.fetchval("select count(*) from jobs where error = 'off'") == 5
    assert await app.delete_many(job_type=["t", "u"]) == 5
    assert await statuses(conn) == {"pending": 2}


async def test_failed_jobs_are_retried_by_filters_or_all(app, conn):
    for kind in "ab":
        for number in range(3):
            await app.enqueue(kind, reference=("file", number), group_key="g")
    await conn.execute(
        "update jobs set status = 'failed', finished_at = clock_timestamp() - interval '2 days'"
    )
    assert await app.retry_many(failed_since=-DAY) == 0
    assert await app.retry_many(reference=("file", 1), group_key="g") == 2
    assert await app.retry_many(job_type="a") == 2
    assert await app.retry_many() == 2
    assert await statuses(conn) == {"pending": 6}


async def test_a_moment_before_now_is_a_negative_timedelta(app, conn):
    job, other = [await app.enqueue("t") for _ in range(2)]
    await conn.execute("update jobs set created_at = now() - interval '2 d' where id = $1", job.id)
    assert await app.cancel_many(created_before=-DAY) == 1
    assert (await app.get(job.id)).status == "cancelled"
    assert await app.cancel_many(job_ids=[other.id]) == 1


async def test_with_conn_all_batches_are_of_its_transaction(app, conn):
    await app.enqueue_many("t", [{}] * 5)
    transaction = conn.transaction()
    await transaction.start()
    assert await app.cancel_many(job_type="t", conn=conn) == 5
    await transaction.rollback()
    assert await statuses(conn) == {"pending": 5}


async def test_wrong_filters_and_none_change_nothing(app, conn):
    await app.enqueue("t")
    for call in (
        app.cancel_many(), app.delete_many(job_type=None), app.edit_many(set_priority=1),
        app.edit_many(job_type="t"), app.cancel_many(job_type=5), app.cancel_many(5, job_type="t"),
        app.edit_many(set_priority=10, job_type="t"), app.cancel_many(reference="t"),
        app.cancel_many(job_ids=["x"]), app.cancel_many(job_ids=5),
        app.cancel_many(created_before="yesterday"),
    ):
        with pytest.raises(InvalidArgument):
            await call
    with pytest.raises(TypeError, match="unknown filters: job_types"):
        await app.cancel_many(job_types=["t"])
    assert await statuses(conn) == {"pending": 1}


async def test_running_jobs_of_a_worker_are_stopped_by_one_call(app, conn, working):
    @app.job("wait")
    async def wait(job):
        await asyncio.sleep(60)

    await app.enqueue_many("wait", [{}] * 3)
    async with working(concurrency=3):
        while (await statuses(conn)).get("processing", 0) < 3:
            await asyncio.sleep(0.02)
        assert await app.cancel_many(job_type="wait") == 3
        async with asyncio.timeout(5):
            while (await statuses(conn)).get("cancelled", 0) < 3:
                await asyncio.sleep(0.02)


async def test_retry_many_ends_while_the_jobs_fail_again(app, conn):
    ids = await app.enqueue_many("t", [1, 2, 3], max_retries=0)
    await conn.execute("select jobs_claim('me', max_jobs => 3)")
    await conn.execute("select jobs_fail(id, 'e', retry => false) from jobs order by id")
    # As a worker would that fails each job at once.
    await conn.execute("""
        create function fail_again() returns trigger language plpgsql as $$
        begin
            new.status := 'failed';
            new.finished_at := clock_timestamp();
            return new;
        end $$""")
    await conn.execute("create trigger fail_again before update on jobs for each row"
                       " when (new.status = 'pending') execute function fail_again()")
    assert await app.retry_many(job_ids=ids) == 3
    assert await app.retry_many() == 3
