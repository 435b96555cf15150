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
