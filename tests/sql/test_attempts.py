"""jobs_attempts has each attempt that failed or was lost, and goes with its job."""

import pytest

ATTEMPTS = """select job_id, job_type, attempt, worker, outcome, error_kind, error
    from jobs_attempts order by job_id, attempt"""


async def attempts(conn):
    return [tuple(row) for row in await conn.fetch(ATTEMPTS)]


async def claim(conn):
    await conn.execute("update jobs set run_at = now() where status = 'pending'")
    return await conn.fetchval("select id from jobs_claim('w')")


async def test_each_failure_and_loss_is_noted_and_a_success_is_not(conn):
    job_id = await conn.fetchval("select id from jobs_enqueue('t', max_retries => 9)")
    await claim(conn)
    await conn.execute("select jobs_fail($1, 'one', error_kind => 'ValueError')", job_id)
    await claim(conn)
    await conn.execute(
        "select jobs_fail_many('w', array[$1::bigint], '{2}', '{two}', '{true}', '{null}',"
        " '{shop.NoStock}')", job_id,
    )
    await claim(conn)
    await conn.execute("select jobs_release_many('w', array[$1::bigint], '{3}')", job_id)
    await claim(conn)
    await conn.execute("update jobs set lease_until = now() - interval '1 s'")
    await conn.execute("select jobs_recover()")
    await claim(conn)
    await conn.execute(
        "select _jobs_end_attempts('w', array[$1::bigint], '{5}', '{died}', '{true}', '{null}',"
        " crashed => true)", job_id,
    )
    await claim(conn)
    await conn.execute("select jobs_complete($1)", job_id)
    assert await attempts(conn) == [
        (job_id, "t", 1, "w", "failed", "ValueError", "one"),
        (job_id, "t", 2, "w", "failed", "shop.NoStock", "two"),
        (job_id, "t", 4, "w", "lost", None, None),
        (job_id, "t", 5, "w", "lost", None, "died"),
    ]
    times = await conn.fetchrow(
        "select count(*) as n, bool_and(started_at <= ended_at) as are_in_order from jobs_attempts"
    )
    assert times == (4, True)


async def test_a_late_failure_of_another_attempt_notes_nothing(conn, job):
    job_id = await job("processing", attempt=2)
    assert await conn.fetch(
        "select jobs_fail_many('me', array[$1::bigint], '{1}', '{e}', '{true}', '{null}')", job_id
    ) == []
    assert await attempts(conn) == []


async def test_the_last_twenty_attempts_of_a_job_are_kept(conn):
    await conn.execute("select jobs_enqueue('t', max_retries => 100)")
    await conn.execute("select jobs_enqueue('other')")
    await conn.execute("update jobs set priority = -1 where job_type = 'other'")
    for _ in range(25):
        await conn.execute("select jobs_fail($1, 'e')", await claim(conn))
    kept = await conn.fetch("select attempt from jobs_attempts order by attempt")
    assert [row["attempt"] for row in kept] == list(range(6, 26))


DELETIONS = {
    "jobs_cleanup": "select jobs_cleanup('0', '{failed}')",
    "retention": """select jobs_retain('failed', '0');
        update jobs set finished_at = finished_at - interval '1 hour' where status = 'failed';
        select _jobs_retention_enforce()""",
    "keep => false": """select jobs_retry(1); select jobs_claim('w', max_jobs => 1);
        select jobs_complete_many('w', '{1}', '{2}', '{null}', false)""",
}


@pytest.mark.parametrize("deletion", DELETIONS)
async def test_attempts_go_with_their_job_and_those_of_others_stay(conn, job, deletion):
    for status in ("processing", "processing"):
        await job(status, worker="w")
    await conn.execute("select jobs_fail(1, 'gone', retry => false)")
    await conn.execute("select jobs_fail(2, 'stays')")
    for statement in DELETIONS[deletion].split(";"):
        await conn.execute(statement)
    assert await conn.fetchval("select array_agg(id) from jobs") == [2]
    assert [row[6] for row in await attempts(conn)] == ["stays"]


async def test_a_job_that_is_kept_for_its_watch_takes_its_attempts_with_it(
    conn, job, start_worker
):
    worker = await start_worker()
    await job("processing", worker="w")
    await conn.execute("select jobs_watch('{1}'), jobs_fail(1, 'e', retry_in => '0')")
    await conn.execute("select jobs_claim('w')")
    await conn.execute("select jobs_complete_many('w', '{1}', '{2}', '{null}', false)")
    assert len(await attempts(conn)) == 1
    await conn.execute("update jobs_watched set watched_until = now()")
    await worker.execute("select _jobs_worker_tick('w')")
    assert await attempts(conn) == []


async def test_an_attempt_that_is_noted_already_makes_no_recovery_fail(conn, job):
    job_id = await job("processing", lease_until=None)
    await conn.execute(
        "insert into jobs_attempts values"
        " ($1, 't', 1, 'me', null, null, now(), 'failed', null, 'old')",
        job_id,
    )
    await conn.execute("select jobs_recover('me')")
    assert await conn.fetchval("select status from jobs") == "pending"
    assert [row[6] for row in await attempts(conn)] == ["old"]


async def test_a_kind_as_long_as_a_book_is_cut(conn, job):
    await conn.execute("select jobs_fail($1, 'e', error_kind => repeat('k', 10000))",
                       await job("processing"))
    assert await conn.fetchval("select length(error_kind) from jobs_attempts") == 512
