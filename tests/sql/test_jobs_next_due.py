from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

DUE = "select jobs_next_due('{default}')"
HOUR = timedelta(hours=1)


async def test_next_due_is_null_when_no_job_is_pending(conn, job):
    for status in ["processing", "completed", "failed", "cancelled"]:
        await job(status)
    assert await conn.fetchval(DUE) is None


async def test_next_due_is_the_earliest_run_at_over_priorities_types_and_queues(conn, job, row):
    await job(priority=9, run_at=3 * HOUR)
    await job(priority=0, run_at=2 * HOUR, job_type="u")
    first = await job(priority=-9, run_at=HOUR, job_type="v")
    nearer = await job(queue="other", run_at=HOUR / 2)
    assert await conn.fetchval(DUE) == (await row(first))["run_at"]
    both = await conn.fetchval("select jobs_next_due('{default,other}')")
    assert both == (await row(nearer))["run_at"]


async def test_a_job_that_is_due_already_counts(conn, job, row):
    due = await job(run_at=-HOUR)
    await job(run_at=HOUR)
    assert await conn.fetchval(DUE) == (await row(due))["run_at"]


async def test_only_the_given_types_count(conn, job, row):
    await job(job_type="t", run_at=HOUR)
    u = await job(job_type="u", run_at=2 * HOUR)
    due = await conn.fetchval("select jobs_next_due('{default}', '{u,u,x}')")
    assert due == (await row(u))["run_at"]
    assert await conn.fetchval("select jobs_next_due('{default}', '{}')") is None


async def test_a_paused_queue_does_not_count(conn, job):
    await job()
    await conn.execute("select jobs_pause('default')")
    assert await conn.fetchval(DUE) is None
    await conn.execute("select jobs_resume('default')")
    assert await conn.fetchval(DUE) is not None


async def test_since_leaves_out_jobs_that_have_been_due_for_longer(conn, job, row):
    await job(run_at=-HOUR)
    recent = await job(run_at=timedelta(seconds=-1))
    since = "select jobs_next_due('{default}', since => clock_timestamp() - interval '20 s')"
    assert await conn.fetchval(since) == (await row(recent))["run_at"]


async def test_a_suspect_counts_only_while_its_run_at_is_in_the_future(conn, job, row):
    suspect = await job(crash_count=2)
    assert await conn.fetchval(DUE) is None
    await conn.execute("update jobs set run_at = clock_timestamp() + interval '1 hour'")
    assert await conn.fetchval(DUE) == (await row(suspect))["run_at"]


async def test_null_queues_raise_and_an_empty_list_of_queues_gives_null(conn, job):
    await job()
    with pytest.raises(InvalidArgument, match="queues is missing"):
        await conn.fetchval("select jobs_next_due(null)")
    assert await conn.fetchval("select jobs_next_due('{}')") is None
