from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument


async def test_no_job_of_a_paused_queue_is_claimed_and_running_jobs_finish(conn, job):
    running = await job("processing")
    await job()
    assert (await conn.fetchrow("select * from jobs_pause('default')"))["paused_at"] is not None
    assert await conn.fetch("select * from jobs_claim('me')") == []
    assert await conn.fetchval("select status from jobs_complete($1)", running) == "completed"


async def test_pausing_twice_keeps_the_first_moment(conn):
    pause = "select paused_at from jobs_pause('q')"
    assert await conn.fetchval(pause) == await conn.fetchval(pause)


async def test_jobs_can_still_be_enqueued_into_a_paused_queue(conn):
    await conn.execute("select jobs_pause('default')")
    assert await conn.fetchval("select status from jobs_enqueue('t')") == "pending"


@pytest.mark.parametrize("queue", ["null", "''", "repeat('q', 513)"])
async def test_a_bad_queue_name_raises(conn, queue):
    with pytest.raises(InvalidArgument, match="queue must have 1 to 512 bytes"):
        await conn.execute(f"select jobs_pause({queue})")


async def test_a_claim_does_not_wait_for_a_pause_that_is_under_way(conn, other, job):
    claimed = await job()
    async with conn.transaction():
        await conn.execute("select jobs_pause('default')")
        rows = await other.fetch("select id from jobs_claim('me')")
    assert [r[0] for r in rows] == [claimed]


AGED = """update jobs_queues set paused_at = paused_at - interval '2 hours',
    paused_until = paused_until - interval '2 hours'"""


async def test_after_its_end_a_queue_is_open_without_any_call(conn, job, ids):
    waiting = await job()
    await conn.execute("select jobs_pause('default', now() + interval '1 hour', 'a move')")
    assert await conn.fetch("select * from jobs_claim('me')") == []
    await conn.execute(AGED)
    assert await ids("select id from jobs_claim('me')") == [waiting]


async def test_a_job_of_a_pause_with_an_end_is_due_at_that_end(conn, job):
    paused = "select jobs_pause('default', now() + interval '1 hour')"
    next_due = "select jobs_next_due('{default}')"
    await conn.execute(paused)
    until = await conn.fetchval("select paused_until from jobs_queues")
    assert await conn.fetchval(next_due) is None, "no job waits"
    await job()
    assert await conn.fetchval(next_due) == until
    assert await conn.fetchval("select jobs_next_due('{default,other}')") == until
    # What is due later than the pause ends, and what another queue has.
    await conn.execute("update jobs set run_at = now() + interval '2 hours'")
    assert await conn.fetchval(next_due) == await conn.fetchval("select run_at from jobs")
    sooner = await job(queue="other", run_at=timedelta(minutes=1))
    moment = await conn.fetchval("select run_at from jobs where id = $1", sooner)
    assert await conn.fetchval("select jobs_next_due('{default,other}')") == moment
    assert await conn.fetchval(
        "select _jobs_next_due('{default}', before => now() + interval '1 minute')"
    ) is None


async def test_after_the_end_of_its_pause_a_job_is_due_since_its_own_moment(conn, job, row):
    waiting = await job(run_at=-timedelta(hours=5))
    await conn.execute("select jobs_pause('default', now() + interval '1 hour')")
    await conn.execute(AGED)
    due = await conn.fetchval("select jobs_next_due('{default}')")
    assert due == (await row(waiting))["run_at"]


async def test_to_pause_again_sets_end_and_reason_anew_and_a_resume_clears_all(conn):
    pause = "select * from jobs_pause('q', now() + $1::interval, $2)"
    first = await conn.fetchrow(pause, timedelta(hours=1), "a move")
    second = await conn.fetchrow(pause, None, None)
    assert second["paused_at"] == first["paused_at"]
    assert (second["paused_until"], second["pause_reason"]) == (None, None)
    await conn.execute(pause, timedelta(hours=1), "again")
    await conn.execute(AGED)
    third = await conn.fetchrow(pause, timedelta(hours=1), "later")
    assert third["paused_at"] > first["paused_at"], "the pause before was over"
    row = await conn.fetchrow("select * from jobs_resume('q')")
    assert (row["paused_at"], row["paused_until"], row["pause_reason"]) == (None, None, None)


async def test_a_pause_with_an_end_makes_workers_tick_and_one_without_does_not(conn, signal_ears):
    await conn.execute("select jobs_pause('q')")
    assert await signal_ears.heard() == []
    await conn.execute("select jobs_pause('q', now() + interval '1 hour')")
    (payload,) = await signal_ears.heard()
    assert payload.split()[-2:] == ["0", "q"]


async def test_a_complete_tick_tells_when_a_queue_of_the_worker_opens(conn, start_worker):
    session = await start_worker("w", queues=["a", "b"])
    opens_at = "select opens_at from _jobs_worker_tick('w')"
    assert await session.fetchval(opens_at) is None
    await conn.execute(
        """select jobs_pause('a', now() + interval '2 hours');
        select jobs_pause('b', now() + interval '1 hour');
        select jobs_pause('c', now() + interval '1 minute')"""
    )
    until = await conn.fetchval("select paused_until from jobs_queues where queue = 'b'")
    assert await session.fetchval(opens_at) == until
    await conn.execute("select jobs_resume('a'), jobs_resume('b')")
    assert await session.fetchval(opens_at) is None


@pytest.mark.parametrize(
    "arguments", ["now()", "'infinity'", "'-infinity'", "null, repeat('x', 1001)"]
)
async def test_a_bad_end_or_reason_raises(conn, arguments):
    with pytest.raises(InvalidArgument, match=r"until|reason"):
        await conn.execute(f"select jobs_pause('q', {arguments})")
