"""jobs_outcomes: one look-up for all who wait; a watched job stays until its outcome was read."""

from datetime import timedelta

import asyncpg
import pytest

DELETES = """select jobs_complete_many(
    'me', $1, array_fill(1, array[cardinality($1::bigint[])]), $2, false)"""
OUTCOMES = "select job_id, status, result, error from jobs_outcomes($1) order by job_id"


async def watch(conn, *job_ids):
    await conn.execute("select jobs_watch($1)", list(job_ids))


async def test_it_tells_how_far_each_job_is_and_nothing_of_unknown_ones(conn, job):
    await job()
    await job("processing")
    await job("completed", result='{"a": 1}')
    await job("failed", error="why")
    await job("cancelled", error="by hand")
    assert await conn.fetch(OUTCOMES, [5, 4, 3, 2, 1, 1, 99]) == [
        (1, "pending", None, None), (2, "processing", None, None),
        (3, "completed", '{"a": 1}', None), (4, "failed", None, "why"),
        (5, "cancelled", None, "by hand"),
    ]


async def test_reading_an_end_ends_its_watch_and_keeps_those_of_jobs_that_go_on(conn, job):
    running, ending = await job("processing"), await job("processing")
    await watch(conn, running, ending)
    await conn.execute("select jobs_complete($1)", ending)
    await conn.fetch(OUTCOMES, [running, ending])
    assert await conn.fetch("select job_id from jobs_watched") == [(running,)]


async def test_of_jobs_that_their_worker_deletes_the_watched_ones_stay_with_their_results(
    conn, job
):
    jobs = [await job("processing") for _ in range(3)]
    await watch(conn, jobs[1])
    done = await conn.fetch(DELETES, jobs, ["1", "2", "3"])
    assert sorted(row[0] for row in done) == jobs
    assert await conn.fetch("select id, result from jobs") == [(jobs[1], "2")]
    assert await conn.fetch(OUTCOMES, jobs) == [(jobs[1], "completed", "2", None)]


async def test_a_job_that_stayed_for_its_watch_goes_a_minute_after_it_was_read(
    conn, job, start_worker
):
    worker = await start_worker()
    job_id = await job("processing")
    await watch(conn, job_id)
    await conn.execute(DELETES, [job_id], ["1"])
    for _ in range(2):  # the first answer may be lost
        await worker.execute("select _jobs_worker_tick('w')")
        assert await conn.fetch(OUTCOMES, [job_id]) == [(job_id, "completed", "1", None)]
    left = await conn.fetchval("select watched_until - now() from jobs_watched")
    assert left <= timedelta(minutes=1)
    await conn.execute("update jobs_watched set watched_until = now()")
    await worker.execute("select _jobs_worker_tick('w')")
    assert await conn.fetchval("select count(*) from jobs") == 0
    assert await conn.fetchval("select count(*) from jobs_watched") == 0


async def test_a_job_that_nobody_read_goes_with_its_last_watch(conn, job, start_worker):
    worker = await start_worker()
    job_id, kept = await job("processing"), await job("processing")
    await watch(conn, job_id, kept)
    await conn.execute("insert into jobs_watched select * from jobs_watched where job_id = 1")
    await conn.execute(DELETES, [job_id], ["1"])
    await conn.execute("select jobs_complete($1)", kept)
    await conn.execute(
        "update jobs_watched set watched_until = now()"
        " where ctid in (select min(ctid) from jobs_watched group by job_id)"
    )
    await worker.execute("select _jobs_worker_tick('w')")
    assert await conn.fetchval("select array_agg(id order by id) from jobs") == [job_id, kept]
    await conn.execute("update jobs_watched set watched_until = now()")
    await worker.execute("select _jobs_worker_tick('w')")
    assert await conn.fetchval("select array_agg(id) from jobs") == [kept]


async def test_a_job_that_is_locked_when_its_watch_is_over_is_deleted_by_a_later_tick(
    conn, other, job, start_worker
):
    worker = await start_worker()
    job_id = await job("processing")
    await watch(conn, job_id)
    await conn.execute(DELETES, [job_id], ["1"])
    await conn.execute("update jobs_watched set watched_until = now()")
    await other.execute("begin")
    await other.execute("select from jobs for update")
    await worker.execute("select _jobs_worker_tick('w')")
    await other.execute("commit")
    await worker.execute("select _jobs_worker_tick('w')")
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_a_job_that_stayed_for_its_watch_and_is_retried_is_an_ordinary_job(
    conn, job, start_worker
):
    worker = await start_worker()
    job_id = await job("processing")
    await watch(conn, job_id)
    await conn.execute(DELETES, [job_id], ["1"])
    await conn.execute("select jobs_retry($1)", job_id)
    await conn.execute("update jobs_watched set watched_until = now()")
    await worker.execute("select _jobs_worker_tick('w')")
    assert await conn.fetchval("select status from jobs") == "pending"
    assert await conn.fetchval("select count(*) from jobs_watched") == 0


async def test_a_late_worker_that_deletes_what_it_lost_leaves_the_job_alone(conn, job):
    job_id = await job("processing", worker="another")
    await watch(conn, job_id)
    assert await conn.fetch(DELETES, [job_id], ["1"]) == []
    assert await conn.fetchrow("select status, marks from jobs") == ("processing", None)


async def test_reading_waits_for_no_session_that_has_locked_a_watch(conn, other, job):
    job_id = await job("processing")
    await watch(conn, job_id)
    await conn.execute("select jobs_complete($1)", job_id)
    await other.execute("begin")
    await other.execute("select from jobs_watched for update")
    await conn.execute("set lock_timeout = '1s'")
    assert [row["status"] for row in await conn.fetch(OUTCOMES, [job_id])] == ["completed"]


@pytest.mark.parametrize("as_what", ["producer", "worker", "observer", "admin", "reader"])
async def test_only_readers_workers_and_admins_read_outcomes(
    conn, job, make_role, acting_as, as_what
):
    job_id = await job("completed", result='"secret"')
    async with acting_as(await make_role(as_what)):
        if as_what in ("producer", "observer"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.fetch(OUTCOMES, [job_id])
        else:
            assert (await conn.fetchrow(OUTCOMES, [job_id]))["result"] == '"secret"'


async def test_a_notified_end_tells_ids_alone(conn, job, listen):
    ears = await listen("public.jobs_done")
    job_id = await job("processing")
    await watch(conn, job_id)
    await conn.execute("select jobs_complete($1, '\"secret\"')", job_id)
    assert await ears.heard() == [str(job_id)]
