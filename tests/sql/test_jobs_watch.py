"""jobs_watch: the end of a watched job is notified with its commit, and no other end is."""

from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

WATCH = "select jobs_watch(array[{}]::bigint[])"


@pytest.fixture
async def done_ears(listen):
    return await listen("public.jobs_done")


async def watch(conn, *job_ids):
    return [row[0] for row in await conn.fetch("select jobs_watch($1)", list(job_ids))]


ENDS = {
    "jobs_complete": "select jobs_complete($1)",
    "jobs_complete_many": "select jobs_complete_many('me', array[$1::bigint], '{1}', '{null}')",
    "deleted": "select jobs_complete_many('me', array[$1::bigint], '{1}', '{null}', false)",
    "jobs_fail": "select jobs_fail($1, 'e', retry => false)",
    "jobs_fail_many":
        "select jobs_fail_many('me', array[$1::bigint], '{1}', '{e}', '{false}', '{null}')",
    "jobs_cancel": "select jobs_cancel($1, worker => 'me', attempt => 1)",
    "cancel requested, then released": """select jobs_cancel($1),
        jobs_release_many('me', array[$1::bigint], '{1}')""",
    "lost too often": """with crashed as (
        update jobs set crash_count = 3, lease_until = 'yesterday' where id = $1 returning id)
        select from crashed""",
}


@pytest.mark.parametrize("end", ENDS)
async def test_each_function_that_ends_a_job_notifies_its_watchers_of_the_id_once(
    conn, job, done_ears, end
):
    watched, unwatched = await job("processing"), await job("processing")
    assert await watch(conn, watched) == [watched]
    for job_id in (unwatched, watched):
        await conn.execute(ENDS[end].replace("$1", str(job_id)))
        await conn.execute("select jobs_recover()")
    assert await done_ears.heard() == [str(watched)]


async def test_a_pending_job_that_is_cancelled_expires_or_is_replaced_notifies(
    conn, job, done_ears
):
    cancelled = await job()
    expired = await job(expires_at=-timedelta(minutes=1))
    replaced = await job(unique_key="k", attempt=1)
    await watch(conn, cancelled, expired, replaced)
    await conn.execute("select jobs_cancel($1)", cancelled)
    await conn.execute("select _jobs_expire(10)")
    await conn.execute("select jobs_enqueue('t', unique_key => 'k', on_conflict => 'replace')")
    assert await done_ears.heard() == [str(cancelled), str(expired), str(replaced)]


async def test_a_waiting_job_that_its_schedule_replaces_notifies(conn, done_ears):
    await conn.execute("select jobs_schedule('s', 't', every => '1 h', overlap => 'replace')")
    await conn.execute("update jobs_schedules set next_at = clock_timestamp()")
    first = await conn.fetchval("select id from jobs_schedules_fire()")
    await watch(conn, first)
    await conn.execute("update jobs_schedules set next_at = clock_timestamp()")
    await conn.execute("select jobs_schedules_fire()")
    assert await done_ears.heard() == [str(first)]


async def test_a_job_that_becomes_pending_again_notifies_nothing(conn, job, done_ears):
    jobs = [await job("processing") for _ in range(3)]
    await watch(conn, *jobs)
    await conn.execute("select jobs_fail($1, 'e')", jobs[0])
    await conn.execute("select jobs_release_many('me', array[$1::bigint], '{1}')", jobs[1])
    await conn.execute("update jobs set lease_until = 'yesterday' where id = $1", jobs[2])
    await conn.execute("select jobs_recover()")
    assert await conn.fetchval("select count(*) from jobs where status = 'pending'") == 3
    assert await done_ears.heard() == []


async def test_a_flush_of_many_watched_jobs_sends_few_notifications_that_fit(
    conn, done_ears
):
    await conn.execute(
        """insert into jobs (id, job_type, status, worker, attempt) overriding system value
        select 9000000000000000000 + n, 't', 'processing', 'me', 1
        from generate_series(1, 1000) n"""
    )
    job_ids = [row[0] for row in await conn.fetch("select id from jobs order by id")]
    await watch(conn, *job_ids)
    await conn.execute(
        "select jobs_complete_many('me', $1, array_fill(1, '{1000}'),"
        " array_fill(null::jsonb, '{1000}'))", job_ids,
    )
    heard = await done_ears.heard()
    assert len(heard) == 3
    assert max(map(len, heard)) <= 7_900
    assert [int(text) for payload in heard for text in payload.split(",")] == job_ids


async def test_nobody_hears_of_an_end_that_is_rolled_back(conn, job, done_ears):
    job_id = await job("processing")
    await watch(conn, job_id)
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("select jobs_complete($1)", job_id)
    await transaction.rollback()
    assert await done_ears.heard() == []


async def test_only_what_has_not_ended_is_watched_and_an_unknown_id_is_not(conn, job):
    pending, running = await job(), await job("processing")
    ended = await job("completed")
    assert set(await watch(conn, ended, running, pending, 12_345)) == {pending, running}
    assert await conn.fetchval("select count(*) from jobs_watched") == 2


async def test_watching_again_adds_a_watch_only_where_the_last_one_is_half_over(conn, job):
    job_id = await job()
    await watch(conn, job_id)
    await watch(conn, job_id)
    assert await conn.fetchval("select count(*) from jobs_watched") == 1
    await conn.execute("update jobs_watched set watched_until = now() + interval '11 hours'")
    await watch(conn, job_id)
    assert await conn.fetchval("select count(*) from jobs_watched") == 2


async def test_watching_waits_for_no_session_that_ends_or_watches_the_job(conn, other, job):
    job_id = await job("processing")
    await other.execute("begin")
    await other.execute(f"select jobs_complete({job_id})")
    await other.execute(WATCH.format(job_id))
    await conn.execute("set lock_timeout = '1s'")
    assert await watch(conn, job_id) == [job_id]
    await conn.execute("begin")
    await watch(conn, job_id)
    await other.execute("commit")


async def test_an_end_that_began_before_the_watch_is_found_by_the_next_look(
    conn, other, job, done_ears
):
    job_id = await job("processing")
    await other.execute("begin")
    await other.execute(f"select jobs_complete({job_id})")
    await watch(conn, job_id)
    outcome = "select status from jobs_outcomes(array[$1::bigint])"
    assert await conn.fetchval(outcome, job_id) == "processing"
    await other.execute("commit")
    assert await done_ears.heard() == []
    assert await conn.fetchval(outcome, job_id) == "completed"


async def test_a_full_notification_queue_makes_no_end_fail(conn, job, done_ears):
    job_id = await job("processing")
    await watch(conn, job_id)
    await conn.execute(
        "create function public.pg_notification_queue_usage() returns float8"
        " language sql as 'select 0.6::float8'"
    )
    await conn.execute("alter function _jobs_tell_watchers set search_path = public, pg_catalog")
    await conn.execute("select jobs_complete($1)", job_id)
    assert await done_ears.heard() == []


@pytest.mark.parametrize("job_ids", ["null", "'{1,null}'", "'{{1},{2}}'"])
@pytest.mark.parametrize("function", ["jobs_watch", "jobs_outcomes"])
async def test_a_list_that_is_none_is_refused(conn, function, job_ids):
    with pytest.raises(InvalidArgument, match="job_ids must be a plain list"):
        await conn.execute(f"select {function}({job_ids})")


async def test_a_watch_lasts_a_day_longer_than_the_job_must_wait(conn, job):
    await watch(conn, await job(run_at=timedelta(days=30)), await job())
    left = await conn.fetch("select watched_until - now() as left from jobs_watched order by 1")
    assert [round(row["left"].total_seconds() / 86_400) for row in left] == [1, 31]


async def test_a_tick_ends_watches_that_are_over(conn, job, start_worker):
    await watch(conn, await job(), await job())
    await conn.execute("update jobs_watched set watched_until = now() where job_id = 1")
    worker = await start_worker()
    await worker.execute("select _jobs_worker_tick('w')")
    assert await conn.fetch("select job_id from jobs_watched") == [(2,)]
