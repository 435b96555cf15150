from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

HOUR = timedelta(hours=1)


async def test_waiting_jobs_are_changed_and_no_others(conn, job, ids):
    waiting = [await job(), await job("blocked")]
    for status in ("processing", "completed", "failed", "cancelled"):
        await job(status)
    edit = """select jobs_edit_many(set_priority => 4, set_queue => 'q',
        set_run_at => '2030-01-01 00:00Z', job_types => '{t}')"""
    assert await conn.fetchval(edit) == 2
    changed = "select id from jobs where priority = 4 and queue = 'q' and run_at > '2029-01-01'"
    assert await ids(changed) == waiting
    assert await conn.fetchval(edit) == 0


async def test_calls_until_0_count_each_job_once_also_where_the_filter_still_fits(conn, job):
    for priority in (0, 0, 4, 0):
        await job(priority=priority)
    edit = "select jobs_edit_many(4, job_types => '{t}', max_jobs => 2)"
    assert [await conn.fetchval(edit) for _ in range(3)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("set_priority => 10, queues => '{default}'", "priority must be from -9 to 9"),
        ("set_queue => '', queues => '{default}'", "queue must have 1 to 512 bytes"),
        ("set_run_at => 'infinity', queues => '{default}'", "run_at must be a moment"),
        ("queues => '{default}'", "nothing to change is given"),
    ],
)
async def test_a_bad_value_raises_and_changes_nothing(conn, job, row, arguments, problem):
    before = await row(await job())
    with pytest.raises(InvalidArgument, match=problem):
        await conn.execute(f"select jobs_edit_many({arguments})")
    assert await row(before["id"]) == before


async def test_a_queue_whose_name_has_quotes_is_a_name(conn, job):
    await job()
    name = "it's \\ \"q\" %s %1$s $1"
    await conn.execute("select jobs_edit_many(set_queue => $1, job_types => '{t}')", name)
    assert await conn.fetchval("select queue from jobs") == name


async def test_moved_jobs_are_signalled_once_per_queue_and_groups_are_claimed(
    conn, job, ears, ids
):
    moved = [await job(run_at=HOUR) for _ in range(2)] + [await job(group_key="g", run_at=HOUR)]
    await ears.heard()
    await conn.execute(
        """select jobs_edit_many(set_queue => 'q', set_run_at => clock_timestamp(),
        queues => '{default}')"""
    )
    assert await ears.heard() == ["q"]
    assert sorted(await ids("select id from jobs_claim('me', '{q}', 10)")) == moved


async def test_in_order_the_others_of_a_group_start_when_its_retry_was_moved(conn, job, ids):
    await conn.execute("select jobs_limit('default', in_order => true)")
    first = await job(group_key="g")
    second = await job(group_key="g", job_type="u")
    await conn.execute("select jobs_claim('me')")
    await conn.execute("select jobs_fail($1, 'e', retry_in => '1 hour')", first)
    assert await ids("select id from jobs_claim('me')") == []
    await conn.execute("select jobs_edit_many(set_queue => 'q', job_types => '{t}')")
    assert await ids("select id from jobs_claim('me')") == [second]


async def test_locked_rows_are_skipped(conn, other, job):
    locked, _ = await job(), await job()
    async with conn.transaction():
        await conn.execute("select jobs_cancel($1)", locked)
        assert await other.fetchval("select jobs_edit_many(1, job_types => '{t}')") == 1


async def test_due_after_leaves_the_places_of_jobs_that_are_due(conn, job, ids):
    now = await conn.fetchval("select clock_timestamp()")
    due = [await job(run_at=-HOUR), await job("blocked", run_at=-HOUR)]
    later = [await job(run_at=HOUR), await job("blocked", run_at=HOUR)]
    edit = "select jobs_edit_many(set_run_at => $1, due_after => $1, statuses => $2)"
    assert await conn.fetchval(edit, now, ["pending"]) == 1
    assert await conn.fetchval(edit, now, ["pending", "blocked"]) == 1
    assert await conn.fetchval(edit, now, None) == 0
    assert await ids("select id from jobs where run_at = $1 order by id", now) == later
    assert await ids("select id from jobs where run_at < $1 order by id", now) == due
