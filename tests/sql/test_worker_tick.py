from datetime import timedelta

START = "select jobs_worker_start($1, '{default}', $2, 1)"
TICK = "select watch, due_in from _jobs_worker_tick($1)"
AGE_MISS = "update jobs_workers set missed_at = missed_at - interval '2 seconds'"
MINUTE = timedelta(minutes=1)


async def test_alone_and_idle_it_need_not_watch_and_nothing_is_due(conn):
    await conn.execute(START, "me", None)
    assert tuple(await conn.fetchrow(TICK, "me")) == (False, None)
    # Nor do others watch a worker that looks after itself.
    assert await conn.fetchval("select missed_at from jobs_workers") is None


async def test_it_notes_that_the_worker_was_seen(conn):
    await conn.execute(START, "me", None)
    await conn.execute("update jobs_workers set seen_at = '2000-01-01', missed_at = '2000-01-01'")
    await conn.execute(TICK, "me")
    row = await conn.fetchrow("select seen_at, missed_at from jobs_workers")
    assert row["seen_at"].year > 2000
    assert row["missed_at"] is None


async def test_it_tells_when_the_next_of_its_jobs_is_due(conn, job):
    await conn.execute(START, "me", ["t"])
    await job(job_type="u", run_at=MINUTE)
    assert (await conn.fetchrow(TICK, "me"))["due_in"] is None
    await job(run_at=2 * MINUTE)
    due_in = (await conn.fetchrow(TICK, "me"))["due_in"]
    assert MINUTE < due_in <= 2 * MINUTE


async def test_a_worker_that_is_not_registered_is_told_so_by_no_row(conn):
    assert await conn.fetch(TICK, "me") == []


async def test_it_watches_while_others_work_are_awake_or_are_missed(conn, other, job):
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


async def test_two_ticks_two_seconds_apart_recover_what_a_dead_worker_held(conn, other, job, row):
    await conn.execute(START, "me", None)
    await other.execute(START, "you", None)
    lost = await job("processing", worker="you")
    await other.close()
    await conn.execute(TICK, "me")
    assert (await row(lost))["status"] == "processing"
    await conn.execute(AGE_MISS)
    await conn.execute(TICK, "me")
    assert (await row(lost))["status"] == "pending"
    assert not (await conn.fetchrow(TICK, "me"))["watch"]


async def test_it_counts_the_others_that_serve_one_of_its_queues(conn, other):
    await conn.execute(START, "me", None)
    await other.execute(START, "you", None)
    await other.execute("select jobs_worker_start('apart', '{other}', null, 1)")
    assert await conn.fetchval("select peers from _jobs_worker_tick('me')") == 1


async def test_what_has_been_due_for_long_is_due_still(conn, job):
    await conn.execute(START, "me", None)
    await job(run_at=timedelta(days=-1))
    assert (await conn.fetchrow(TICK, "me"))["due_in"] < timedelta(0)


async def test_what_waits_for_others_that_lost_their_workers_is_due_too(conn, job):
    await conn.execute(START, "me", None)
    await job(crash_count=2)
    assert (await conn.fetchrow(TICK, "me"))["due_in"] < timedelta(0)
