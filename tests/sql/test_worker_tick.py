from datetime import timedelta

START = "select jobs_worker_start($1, '{default}', $2, 1)"
TICK = "select watch, due_in from _jobs_worker_tick($1)"
# As if two seconds had passed since a tick found a worker's session gone.
TWO_SECONDS_PASS = "update jobs_workers set missed_at = missed_at - interval '2 seconds'"
MINUTE = timedelta(minutes=1)


async def test_a_lone_idle_worker_need_not_watch_and_no_job_is_due(conn):
    await conn.execute(START, "me", None)
    assert tuple(await conn.fetchrow(TICK, "me")) == (False, None)
    # A tick does not find the session of its own worker gone.
    assert await conn.fetchval("select missed_at from jobs_workers") is None


async def test_a_tick_notes_that_the_worker_lives(conn):
    await conn.execute(START, "me", None)
    await conn.execute("update jobs_workers set seen_at = '2000-01-01', missed_at = '2000-01-01'")
    await conn.execute(TICK, "me")
    row = await conn.fetchrow("select seen_at, missed_at from jobs_workers")
    assert row["seen_at"].year > 2000
    assert row["missed_at"] is None


async def test_a_tick_says_when_the_next_job_of_the_worker_is_due(conn, job):
    await conn.execute(START, "me", ["t"])
    await job(job_type="u", run_at=MINUTE)
    assert (await conn.fetchrow(TICK, "me"))["due_in"] is None
    await job(run_at=2 * MINUTE)
    due_in = (await conn.fetchrow(TICK, "me"))["due_in"]
    assert MINUTE < due_in <= 2 * MINUTE


async def test_the_tick_of_an_unregistered_worker_returns_no_row(conn):
    assert await conn.fetch(TICK, "me") == []


async def test_a_worker_watches_while_others_hold_jobs_or_poll_or_have_lost_their_session(
    conn, other, job
):
    await conn.execute(START, "me", None)
    await job("processing", worker="me")
    assert not (await conn.fetchrow(TICK, "me"))["watch"]
    await job("processing", worker="you")
    assert (await conn.fetchrow(TICK, "me"))["watch"]
    await conn.execute("delete from jobs")
    await other.execute(START, "you", None)
    assert not (await conn.fetchrow(TICK, "me"))["watch"]
    await other.execute("update jobs_workers set polling = true where worker = 'you'")
    assert (await conn.fetchrow(TICK, "me"))["watch"]
    await other.execute("update jobs_workers set polling = false where worker = 'you'")
    await other.close()
    assert (await conn.fetchrow(TICK, "me"))["watch"]


async def test_two_ticks_two_seconds_apart_recover_the_jobs_of_a_dead_worker(conn, other, job, row):
    await conn.execute(START, "me", None)
    await other.execute(START, "you", None)
    lost = await job("processing", worker="you")
    await other.close()
    await conn.execute(TICK, "me")
    assert (await row(lost))["status"] == "processing"
    await conn.execute(TWO_SECONDS_PASS)
    await conn.execute(TICK, "me")
    assert (await row(lost))["status"] == "pending"
    assert not (await conn.fetchrow(TICK, "me"))["watch"]


async def test_a_tick_counts_the_other_workers_that_serve_one_of_the_queues(conn, other):
    await conn.execute(START, "me", None)
    await other.execute(START, "you", None)
    await other.execute("select jobs_worker_start('apart', '{other}', null, 1)")
    assert await conn.fetchval("select peers from _jobs_worker_tick('me')") == 1


async def test_a_job_that_has_been_due_for_long_is_still_due(conn, job):
    await conn.execute(START, "me", None)
    await job(run_at=timedelta(days=-1))
    assert (await conn.fetchrow(TICK, "me"))["due_in"] < timedelta(0)


async def test_a_tick_reports_a_suspect_that_is_due_as_due(conn, job):
    await conn.execute(START, "me", None)
    await job(crash_count=2)
    assert (await conn.fetchrow(TICK, "me"))["due_in"] < timedelta(0)


async def test_a_tick_does_not_wait_for_the_row_of_another_worker(conn, other, connect):
    for name in ("a", "b"):
        session = await connect()
        await session.execute("select jobs_worker_start($1, '{default}', null, 1)", name)
        await session.execute("select pg_advisory_unlock_all()")
    async with other.transaction():
        await other.execute("select from jobs_workers where worker = 'b' for update")
        await conn.execute("set lock_timeout = '5s'")
        await conn.fetch(TICK, "a")
    assert await conn.fetchval("select missed_at from jobs_workers where worker = 'b'") is None
