import pytest

from pgjobs.errors import InvalidArgument


async def test_a_resume_sends_a_signal_and_jobs_of_the_queue_are_claimed_again(
    conn, job, ids, ears
):
    waiting = await job()
    await conn.execute("select jobs_pause('default')")
    await ears.heard()
    resumed = await conn.fetchrow("select queue, paused_at from jobs_resume('default')")
    assert tuple(resumed) == ("default", None)
    assert await ears.heard() == ["default"]
    assert await ids("select id from jobs_claim('me')") == [waiting]


async def test_a_queue_that_is_not_paused_may_be_resumed(conn):
    assert await conn.fetchval("select queue from jobs_resume('q')") == "q"


@pytest.mark.parametrize("queue", ["null", "''", "repeat('q', 513)"])
async def test_a_bad_queue_name_raises(conn, queue):
    with pytest.raises(InvalidArgument, match="queue must have 1 to 512 bytes"):
        await conn.execute(f"select jobs_resume({queue})")


async def test_a_resume_sends_no_signal_before_its_commit(conn, ears):
    async with conn.transaction():
        await conn.execute("select jobs_resume('q')")
        assert await ears.heard() == []
    assert await ears.heard() == ["q"]
