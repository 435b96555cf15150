from datetime import timedelta

DAY = timedelta(days=1)


async def test_ended_jobs_are_deleted_and_no_others(conn, job, ids):
    kept = [await job(status) for status in ("pending", "blocked", "processing")]
    for status in ("completed", "failed", "cancelled"):
        await job(status)
    assert await conn.fetchval("select jobs_delete_many(job_types => '{t}')") == 3
    assert await ids("select id from jobs order by id") == kept


async def test_failed_since_means_failed_jobs_alone(conn, job, ids):
    kept = [await job("completed"), await job("failed", finished_at=-2 * DAY), await job()]
    await job("failed")
    delete = "select jobs_delete_many(failed_since => clock_timestamp() - interval '1 day')"
    assert await conn.fetchval(delete) == 1
    assert await ids("select id from jobs order by id") == kept


async def test_calls_until_0_delete_all(conn, job):
    for status in ("completed", "failed", "failed", "cancelled", "completed"):
        await job(status)
    delete = "select jobs_delete_many(queues => '{default}', max_jobs => 2)"
    assert [await conn.fetchval(delete) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_job_that_is_being_retried_is_skipped(conn, other, job, row):
    failed = await job("failed")
    async with conn.transaction():
        await conn.execute("select jobs_retry($1)", failed)
        assert await other.fetchval("select jobs_delete_many(job_types => '{t}')") == 0
    assert (await row(failed))["status"] == "pending"


async def test_statuses_and_finished_before_leave_the_others(conn, job, ids):
    kept = [await job("failed"), await job("cancelled"), await job("completed")]
    gone = await job("completed", finished_at=-2 * DAY)
    delete = """select jobs_delete_many(statuses => '{completed}',
        finished_before => clock_timestamp() - interval '1 day')"""
    assert await conn.fetchval(delete) == 1
    assert await ids("select id from jobs order by id") == kept
    assert gone not in kept
    assert await conn.fetchval("select filters->'statuses' from jobs_audit") == '["completed"]'
