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


FLOORS = """select _jobs_next_due('{default,other}', $1, floors => jsonb_build_object(
    'default', jsonb_build_object('2', clock_timestamp() - interval '1 minute')),
    since => clock_timestamp() - $2::interval)"""


@pytest.mark.parametrize("job_types", [None, ["t"], ["t", "u"]])
async def test_a_worker_with_a_floor_does_not_read_what_is_due_before_it(
    conn, job, row, job_types
):
    await job(priority=2, run_at=-HOUR)
    assert await conn.fetchval(FLOORS, job_types, timedelta(0)) is None
    above = await job(priority=2, run_at=-HOUR / 120)
    assert await conn.fetchval(FLOORS, job_types, timedelta(0)) == (await row(above))["run_at"]


@pytest.mark.parametrize("place", [{"priority": 3}, {"priority": -1}, {"queue": "other"}])
async def test_a_floor_is_for_its_own_level_only(conn, job, row, place):
    old = await job(run_at=-HOUR, **place)
    assert await conn.fetchval(FLOORS, None, timedelta(0)) == (await row(old))["run_at"]


async def test_since_lowers_floors_and_does_not_raise_them(conn, job, row):
    oldest = await job(priority=2, run_at=-2 * HOUR)
    old = await job(priority=2, run_at=-HOUR)
    above = await job(priority=2, run_at=-HOUR / 120)
    for since, found in [(3 * HOUR, oldest), (1.5 * HOUR, old), (timedelta(0), above)]:
        assert await conn.fetchval(FLOORS, None, since) == (await row(found))["run_at"]


async def test_a_job_that_became_visible_late_is_found_up_to_a_fifth_of_a_second_below_the_floor(
    conn, job, row
):
    late = await job(run_at=timedelta(seconds=-0.1))
    floors = """select _jobs_next_due('{default}', floors => jsonb_build_object(
        'default', jsonb_build_object('0', clock_timestamp())))"""
    assert await conn.fetchval(floors) == (await row(late))["run_at"]
    await conn.execute("update jobs set run_at = clock_timestamp() - interval '1 s'")
    assert await conn.fetchval(floors) is None


@pytest.mark.parametrize("crash_count", [1, 2])
async def test_a_job_that_was_lost_counts_only_while_its_run_at_is_in_the_future(
    conn, job, row, crash_count
):
    """When it is due, it may wait for the end of another job that was lost, not for a time."""
    lost = await job(crash_count=crash_count)
    assert await conn.fetchval(DUE) is None
    await conn.execute("update jobs set run_at = clock_timestamp() + interval '1 hour'")
    assert await conn.fetchval(DUE) == (await row(lost))["run_at"]


async def test_null_queues_raise_and_an_empty_list_of_queues_gives_null(conn, job):
    await job()
    with pytest.raises(InvalidArgument, match="queues is missing"):
        await conn.fetchval("select jobs_next_due(null)")
    assert await conn.fetchval("select jobs_next_due('{}')") is None
