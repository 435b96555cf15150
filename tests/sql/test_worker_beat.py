"""A worker's heartbeat names all that it holds: leases are prolonged, the rest is given back."""

from datetime import timedelta

import asyncpg
import pytest

BEAT = "select job_id, state from _jobs_worker_beat('me', $1, $2, '10 minutes', '5 s')"
RECOVER = "select id from jobs_recover()"
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def me(start_worker):
    """The session of a worker called me."""
    return await start_worker("me")


async def test_the_leases_of_named_jobs_are_prolonged_and_each_state_is_said(conn, job, row):
    held, taken = await job("processing"), await job("processing", worker="you")
    ended, stopped = await job("completed"), await job("processing")
    await conn.execute("select jobs_cancel($1)", stopped)
    asked = [held, taken, ended, stopped]
    states = await conn.fetch(BEAT, asked, [1, 1, 1, 1])
    assert [tuple(s) for s in states] == [
        (held, "held"), (taken, "lost"), (ended, "lost"), (stopped, "cancel"),
    ]
    now = await conn.fetchval("select clock_timestamp()")
    assert (await row(held))["lease_until"] > now + 9 * MINUTE
    assert (await row(taken))["lease_until"] < now + 2 * MINUTE


async def test_an_unnamed_job_is_given_back_only_if_it_was_claimed_before_answers_can_be_late(
    conn, job, row
):
    on_its_way = await job("processing", started_at=timedelta(seconds=-4))
    unnamed = await job("processing", started_at=timedelta(seconds=-6), retry_count=1)
    others = await job("processing", worker="you", started_at=-MINUTE)
    assert await conn.fetch(BEAT, [], []) == []
    after = await row(unnamed)
    assert (after["status"], after["worker"], after["lease_until"]) == ("pending", None, None)
    assert (after["retry_count"], after["crash_count"]) == (1, 0)
    assert (await row(on_its_way))["status"] == "processing"
    assert (await row(others))["status"] == "processing"


async def test_a_job_that_is_named_with_an_older_attempt_is_given_back_too(conn, job, row):
    again = await job("processing", attempt=2, started_at=-MINUTE)
    (state,) = await conn.fetch(BEAT, [again], [1])
    assert state["state"] == "lost"
    assert (await row(again))["status"] == "pending"


async def test_jobs_that_are_given_back_are_signalled(conn, job, ears):
    await job("processing", started_at=-MINUTE, queue="q")
    await ears.heard()
    await conn.execute(BEAT, [], [])
    assert await ears.heard() == ["q"]


@pytest.mark.parametrize(
    ("lock", "prolonged"), [("for key share", True), ("for share", False), ("for update", False)]
)
async def test_a_beat_does_not_wait_for_a_row_and_a_foreign_keys_lock_does_not_hinder_it(
    conn, other, me, job, row, lock, prolonged
):
    locked, free = await job("processing"), await job("processing")
    async with other.transaction():
        await other.execute(f"select from jobs where id = $1 {lock}", locked)
        await conn.execute("set lock_timeout = '1s'")
        states = await conn.fetch(BEAT, [locked, free], [1, 1])
        assert [s["state"] for s in states] == ["held", "held"]
        now = await conn.fetchval("select clock_timestamp()")
        assert ((await row(locked))["lease_until"] > now + 9 * MINUTE) is prolonged
        assert (await row(free))["lease_until"] > now + 9 * MINUTE


async def test_a_beat_does_not_wait_for_the_row_of_an_unnamed_job(conn, other, me, job, row):
    unnamed = await job("processing", started_at=-MINUTE)
    named = await job("processing", started_at=-MINUTE)
    async with other.transaction():
        await other.execute("select from jobs where id = $1 for share", unnamed)
        await conn.execute("set lock_timeout = '1s'")
        await conn.execute(BEAT, [named], [1])
    now = await conn.fetchval("select clock_timestamp()")
    assert (await row(named))["lease_until"] > now + 9 * MINUTE
    assert (await row(unnamed))["status"] == "processing"
    await conn.execute(BEAT, [named], [1])
    assert (await row(unnamed))["status"] == "pending"


async def test_a_worker_whose_beats_are_fresh_keeps_a_job_whose_lease_is_over(
    conn, other, me, job, ids, row
):
    """The handler's own transaction has locked the job's row, so the lease was not prolonged."""
    kept = await job("processing")
    async with other.transaction():
        await other.execute("select from jobs where id = $1 for share", kept)
        await conn.execute(BEAT, [kept], [1])
    await conn.execute("update jobs set lease_until = clock_timestamp() - interval '1 minute'")
    unfresh = await job("processing", worker="you", lease_until=-MINUTE)
    assert await ids(RECOVER) == [unfresh]
    # The next beat prolongs the lease.
    await conn.execute(BEAT, [kept], [1])
    assert (await row(kept))["lease_until"] > await conn.fetchval("select clock_timestamp()")


async def test_beats_are_fresh_for_half_a_lease(conn, me, job, ids):
    await conn.execute(BEAT, [], [])
    fresh_for = await conn.fetchval(
        "select beats_until - clock_timestamp() from jobs_worker_ticks"
    )
    assert 4 * MINUTE < fresh_for <= 5 * MINUTE
    lost = await job("processing", lease_until=-MINUTE)
    assert await ids(RECOVER) == []
    await conn.execute(
        "update jobs_worker_ticks set beats_until = clock_timestamp() - interval '1 ms'"
    )
    assert await ids(RECOVER) == [lost]


async def test_a_worker_that_starts_again_has_no_fresh_beats(conn, start_worker):
    session = await start_worker("me")
    await conn.execute(BEAT, [], [])
    await session.close()
    await start_worker("me")
    assert await conn.fetchval("select beats_until from jobs_worker_ticks") is None


async def test_the_beat_of_an_unregistered_worker_prolongs_leases_and_notes_nothing(
    conn, job, row
):
    held = await job("processing")
    await conn.execute(BEAT, [held], [1])
    now = await conn.fetchval("select clock_timestamp()")
    assert (await row(held))["lease_until"] > now + 9 * MINUTE
    assert await conn.fetch("select * from jobs_worker_ticks") == []


async def test_bad_arguments_raise_and_change_nothing(conn, me, job, row):
    held = await job("processing")
    before = await row(held)
    for arguments in ("array[1], '{}', '1 min', '1 s'", "array[1], array[1], null, '1 s'",
                      "array[1], array[1], '0', '1 s'"):
        with pytest.raises(asyncpg.PostgresError):
            await conn.execute(f"select _jobs_worker_beat('me', {arguments})")
    assert await row(held) == before
