import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument, JobNotFound, JobNotHeld

HOUR = timedelta(hours=1)


async def test_what_is_given_is_changed_and_the_rest_stays(conn, job, row):
    waiting = await job(payload='{"a": 1}', reference_type="file", reference_id=1, retry_count=1)
    before = dict(await row(waiting))
    await conn.execute("select jobs_edit($1, priority => 5)", waiting)
    after = dict(await row(waiting))
    assert after["priority"] == 5
    assert after["updated_at"] > before["updated_at"]
    changed = {"priority", "updated_at"}
    assert {n: v for n, v in after.items() if n not in changed} == {
        n: v for n, v in before.items() if n not in changed
    }


async def test_every_argument_reaches_its_column(conn, job):
    edited = await conn.fetchrow(
        "select * from jobs_edit($1, '{\"b\": 2}', -3, 'slow', '2030-01-01 00:00Z')", await job()
    )
    assert (edited["payload"], edited["priority"], edited["queue"], edited["run_at"].year) == (
        '{"b": 2}', -3, "slow", 2030,
    )


async def test_a_payload_of_json_null_is_json_null(conn, job):
    assert await conn.fetchval("select payload from jobs_edit($1, 'null')", await job()) == "null"


async def test_a_blocked_job_stays_blocked(conn, job):
    blocked = await job("blocked")
    edited = await conn.fetchrow("select * from jobs_edit($1, queue => 'slow')", blocked)
    assert (edited["status"], edited["queue"]) == ("blocked", "slow")


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
async def test_a_job_that_does_not_wait_raises(conn, job, row, status):
    job_id = await job(status)
    before = await row(job_id)
    with pytest.raises(JobNotHeld, match=f"is {status}: only a job that waits can be edited"):
        await conn.execute("select jobs_edit($1, priority => 5)", job_id)
    assert await row(job_id) == before


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("priority => 10", "priority must be from -9 to 9"),
        ("queue => ''", "queue must have 1 to 512 bytes"),
        ("queue => repeat('q', 513)", "queue must have 1 to 512 bytes"),
        ("run_at => 'infinity'", "run_at must be a moment"),
    ],
)
async def test_a_bad_value_raises_and_changes_nothing(conn, job, row, argument, problem):
    waiting = await job()
    before = await row(waiting)
    with pytest.raises(InvalidArgument, match=problem):
        await conn.execute(f"select jobs_edit($1, payload => '1', {argument})", waiting)
    assert await row(waiting) == before


async def test_an_unknown_id_and_a_null_id_raise(conn):
    with pytest.raises(JobNotFound):
        await conn.execute("select jobs_edit(99)")
    with pytest.raises(InvalidArgument):
        await conn.execute("select jobs_edit(null)")


async def test_an_earlier_start_and_another_queue_are_signalled_and_a_later_start_is_not(
    conn, job, ears
):
    waiting = await job(run_at=HOUR)
    await conn.execute("select jobs_pause('nothing')")
    await ears.heard()
    later = "select jobs_edit($1, run_at => clock_timestamp() + interval '2 h')"
    await conn.execute(later, waiting)
    assert await ears.heard() == []
    await conn.execute("select jobs_edit($1, run_at => clock_timestamp())", waiting)
    assert await ears.heard() == ["default"]
    await conn.execute("select jobs_edit($1, queue => 'slow')", waiting)
    assert await ears.heard() == ["slow"]


async def test_a_worker_that_waits_with_floors_claims_an_edited_job(conn, job, signal_ears):
    waiting = await job(run_at=HOUR)
    await signal_ears.heard()
    edit = "select jobs_edit($1, priority => 2, run_at => '2001-01-01 00:00Z')"
    await conn.execute(edit, waiting)
    # Levels have bit 11 for priority 2; the moment lowers the floor of that level.
    assert await signal_ears.heard() == ["0 2048 978307200000000 default"]


async def test_a_job_of_a_group_is_claimed_from_the_queue_to_which_it_was_moved(conn, job, ids):
    await conn.execute("select jobs_limit('to', max_running_per_group => 1)")
    waiting = await job(group_key="g", run_at=HOUR)
    await conn.execute("select jobs_edit($1, queue => 'to', run_at => clock_timestamp())", waiting)
    assert await ids("select id from jobs_claim('me', '{default}', 10)") == []
    assert await ids("select id from jobs_claim('me', '{to}', 10)") == [waiting]


async def test_in_order_the_others_of_a_group_start_when_the_retry_they_wait_for_is_moved(
    conn, job, ids
):
    await conn.execute("select jobs_limit('default', in_order => true)")
    first = await job(group_key="g")
    second = await job(group_key="g", job_type="u")
    assert await ids("select id from jobs_claim('me', max_jobs => 10)") == [first]
    await conn.execute("select jobs_fail($1, 'e', retry_in => '1 hour')", first)
    assert await ids("select id from jobs_claim('me', max_jobs => 10)") == []
    await conn.execute("select jobs_edit($1, queue => 'slow')", first)
    assert await ids("select id from jobs_claim('me', max_jobs => 10)") == [second]


async def test_a_claim_skips_a_job_that_is_being_edited(conn, other, job):
    waiting = await job()
    async with conn.transaction():
        await conn.execute("select jobs_edit($1, '{\"b\": 2}')", waiting)
        assert await other.fetch("select * from jobs_claim('me')") == []
    (claimed,) = await other.fetch("select * from jobs_claim('me')")
    assert claimed["payload"] == '{"b": 2}'


async def test_an_edit_that_waits_for_a_claim_raises(conn, other, job, row, blocked):
    waiting = await job()
    async with conn.transaction():
        await conn.execute("select jobs_claim('me')")
        edit = asyncio.create_task(other.execute("select jobs_edit($1, '{\"b\": 2}')", waiting))
        await blocked(other)
    with pytest.raises(JobNotHeld, match="is processing"):
        await edit
    assert (await row(waiting))["payload"] == "{}"


async def test_an_edit_that_waits_for_a_cancel_raises(conn, other, job, row, blocked):
    waiting = await job()
    async with conn.transaction():
        await conn.execute("select jobs_cancel($1)", waiting)
        edit = asyncio.create_task(other.execute("select jobs_edit($1, priority => 5)", waiting))
        await blocked(other)
    with pytest.raises(JobNotHeld, match="is cancelled"):
        await edit
    assert (await row(waiting))["priority"] == 0


async def test_a_cancel_that_waits_for_an_edit_cancels_the_edited_job(conn, other, job, blocked):
    waiting = await job()
    async with conn.transaction():
        await conn.execute("select jobs_edit($1, priority => 5)", waiting)
        cancel = asyncio.create_task(other.fetchrow("select * from jobs_cancel($1)", waiting))
        await blocked(other)
    cancelled = await cancel
    assert (cancelled["status"], cancelled["priority"]) == ("cancelled", 5)
