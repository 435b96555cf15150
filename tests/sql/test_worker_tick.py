import json
from datetime import timedelta

import pytest

START = "select jobs_worker_start($1, '{default}', $2, 1)"
TICK = "select others_work, may_be_silent, due, more from _jobs_worker_tick($1)"
LIGHT = "select others_work, may_be_silent, due, more from _jobs_worker_tick($1, false)"
CHANGE = "select _jobs_worker_mode($1, $2)"
# As if two seconds had passed since a tick found a worker's session gone.
TWO_SECONDS_PASS = "update jobs_worker_ticks set missed_at = missed_at - interval '2 seconds'"
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("tick", [TICK, LIGHT])
async def test_a_lone_idle_worker_has_nothing_to_watch_and_no_job_is_due(conn, tick):
    await conn.execute(START, "me", None)
    assert tuple(await conn.fetchrow(tick, "me")) == (False, False, None, False)
    # A tick does not find the session of its own worker gone.
    assert await conn.fetchval("select missed_at from jobs_worker_ticks") is None


async def test_a_full_tick_notes_that_the_worker_lives_and_a_light_tick_writes_nothing(conn):
    await conn.execute(START, "me", None)
    await conn.execute(
        "update jobs_worker_ticks set seen_at = '2000-01-01', missed_at = '2000-01-01'"
    )
    seen = "select seen_at, missed_at from jobs_worker_ticks"
    before = await conn.fetchrow(seen)
    await conn.execute(LIGHT, "me")
    assert await conn.fetchrow(seen) == before
    await conn.execute(TICK, "me")
    row = await conn.fetchrow(seen)
    assert row["seen_at"].year > 2000
    assert row["missed_at"] is None


async def test_a_full_tick_reports_the_first_due_job_of_the_worker_however_old(conn, job, row):
    await conn.execute(START, "me", ["t"])
    await job(job_type="u", run_at=-MINUTE)
    await job(queue="q", run_at=-MINUTE)
    await job(run_at=MINUTE)
    assert (await conn.fetchrow(TICK, "me"))["due"] is None
    await job(priority=9)
    old = await job(run_at=timedelta(days=-1))
    assert (await conn.fetchrow(TICK, "me"))["due"] == (await row(old))["run_at"]
    assert (await conn.fetchrow(LIGHT, "me"))["due"] is None


@pytest.mark.parametrize("tick", [TICK, LIGHT])
@pytest.mark.parametrize("crash_count", [1, 2])
async def test_a_job_that_was_lost_and_is_due_is_reported_by_each_tick(
    conn, job, row, crash_count, tick
):
    await conn.execute(START, "me", ["t"])
    await job(crash_count=crash_count, job_type="u")
    await job(crash_count=crash_count, queue="q")
    await job(crash_count=crash_count, run_at=MINUTE)
    assert (await conn.fetchrow(tick, "me"))["due"] is None
    lost = await job(crash_count=crash_count)
    assert (await conn.fetchrow(tick, "me"))["due"] == (await row(lost))["run_at"]


async def test_a_tick_for_some_queues_looks_at_those_alone(conn, job, row):
    tick = "select due from _jobs_worker_tick('me', queues => $1)"
    await conn.execute("select from jobs_worker_start('me', '{a,b}', null, 1)")
    due = await job(queue="b")
    assert await conn.fetchval(tick, ["a"]) is None
    for queues in (["b"], ["a", "b"], None):
        assert await conn.fetchval(tick, queues) == (await row(due))["run_at"]


@pytest.mark.parametrize("tick", [TICK, LIGHT])
async def test_the_tick_of_a_worker_without_a_row_or_without_its_name_returns_no_row(conn, tick):
    assert await conn.fetch(tick, "me") == []
    await conn.execute(START, "me", None)
    await conn.execute("select pg_advisory_unlock_all()")
    assert await conn.fetch(tick, "me") == []


async def test_others_work_while_they_hold_jobs_or_poll_or_have_lost_their_session(
    conn, other, job
):
    async def others_work():
        return (await conn.fetchrow(TICK, "me"))["others_work"]

    await conn.execute(START, "me", None)
    await job("processing", worker="me")
    assert not await others_work()
    await job("processing", worker="you")
    assert await others_work()
    await conn.execute("delete from jobs")
    await other.execute(START, "you", None)
    assert not await others_work()
    for mode, works in (("listening", False), ("polling", True), ("full", False)):
        await other.fetchval(CHANGE, "you", mode)
        assert await others_work() == works
        assert (await conn.fetchrow(LIGHT, "me"))["others_work"] == works
    await other.close()
    assert await others_work()


async def test_producers_may_be_silent_while_another_worker_polls_or_one_has_not_ended(
    conn, other, connect
):
    async def may_be_silent():
        return [(await conn.fetchrow(tick, "me"))["may_be_silent"] for tick in (TICK, LIGHT)]

    await conn.execute(START, "me", None)
    await other.execute(START, "you", None)
    await other.fetchval(CHANGE, "you", "polling")
    assert await may_be_silent() == [True, True]
    producer = await connect()
    async with producer.transaction():
        await producer.execute("select jobs_enqueue('t')")
        await other.fetchval(CHANGE, "you", "listening")
        assert await may_be_silent() == [True, True]
    assert await may_be_silent() == [False, False]


@pytest.mark.parametrize("tick", [TICK, LIGHT])
async def test_two_ticks_two_seconds_apart_recover_the_jobs_of_a_dead_worker(
    conn, other, job, row, tick
):
    await conn.execute(START, "me", None)
    await other.execute(START, "you", None)
    lost = await job("processing", worker="you")
    await other.close()
    await conn.execute(tick, "me")
    assert (await row(lost))["status"] == "processing"
    await conn.execute(TWO_SECONDS_PASS)
    # The worker that takes the job back is told that it is due: its own signal does not pick it.
    assert (await conn.fetchrow(tick, "me"))["due"] == (await row(lost))["run_at"]
    assert (await row(lost))["status"] == "pending"
    assert not (await conn.fetchrow(tick, "me"))["others_work"]


async def test_only_a_full_tick_takes_back_jobs_whose_lease_is_over(conn, job, row):
    await conn.execute(START, "me", None)
    lost = await job("processing", worker="you", lease_until=-MINUTE)
    mine = await job("processing", worker="me", lease_until=-MINUTE)
    await conn.execute(LIGHT, "me")
    assert (await row(lost))["status"] == "processing"
    await conn.execute(TICK, "me")
    assert (await row(lost))["status"] == "pending"
    # The worker may have hung for longer than its lease, and goes on with its jobs.
    assert (await row(mine))["status"] == "processing"


async def test_a_tick_takes_back_1000_jobs_and_says_whether_there_may_be_more(conn):
    await conn.execute(START, "me", None)
    await conn.execute(
        """insert into jobs (job_type, status, worker, attempt, lease_until)
        select 't', 'processing', 'you', 1, clock_timestamp() - interval '1 minute'
        from generate_series(1, 1500)"""
    )
    pending = "select count(*) from jobs where status = 'pending'"
    tick = await conn.fetchrow("select more, recovered from _jobs_worker_tick('me')")
    assert tick["more"]
    [told] = json.loads(tick["recovered"])
    assert (told["worker"], told["jobs"]) == ("you", 1000)
    assert await conn.fetchval(pending) == 1000
    assert not (await conn.fetchrow(TICK, "me"))["more"]
    assert await conn.fetchval(pending) == 1500


async def test_a_tick_does_not_wait_for_the_row_of_another_worker(conn, other, connect):
    sessions = {name: await connect() for name in "ab"}
    for name, session in sessions.items():
        await session.execute(START, name, None)
    await sessions["b"].execute("select pg_advisory_unlock_all()")
    async with other.transaction():
        await other.execute("select from jobs_worker_ticks where worker = 'b' for update")
        await sessions["a"].execute("set lock_timeout = '5s'")
        await sessions["a"].fetch(TICK, "a")
    missed = "select missed_at from jobs_worker_ticks where worker = 'b'"
    assert await conn.fetchval(missed) is None


async def test_a_light_tick_recovers_the_jobs_of_a_worker_whose_heartbeats_have_stopped(
    conn, other, job, row
):
    await conn.execute(START, "me", None)
    await other.execute(START, "hung", None)
    held = await job("processing", worker="hung", lease_until=-timedelta(seconds=1))
    light = "select * from _jobs_worker_tick('me', is_full => false)"
    await conn.execute(light)
    assert (await row(held))["status"] == "processing"
    await conn.execute(
        """update jobs_worker_ticks set beats_until = now() - interval '2 s',
            leases_until = now() - interval '1 s' where worker = 'hung'"""
    )
    await conn.execute(light)
    assert (await row(held))["status"] == "pending"
