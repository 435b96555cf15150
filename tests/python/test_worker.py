"""Which jobs a worker claims and runs, and which jobs it leaves to others."""

import asyncio
import time
from datetime import timedelta

import asyncpg
import pytest
from chaos.proxy import Proxy

from pgjobs import WorkerNameTaken
from pgjobs.database import Database
from pgjobs.testing import expire_lease
from pgjobs.worker.outcome import RELEASED

SECOND = timedelta(seconds=1)


async def test_a_job_enqueued_before_the_worker_started_is_run(app, quick, working, until_status):
    job = await app.enqueue("t")
    async with working():
        await until_status(job.id, "completed")


async def test_a_worker_claims_as_many_jobs_as_it_has_free_slots(
    app, conn, recorder, working, eventually
):
    await app.enqueue_many("t", [None] * 10)
    async with working(concurrency=4):
        await eventually(lambda: recorder.running == 4)
        held = await conn.fetchval("select count(*) from jobs where status = 'processing'")
        assert held == 4
        recorder.go.set()
        await eventually(lambda: len(recorder.began) == 10)
    assert recorder.most == 4


async def test_with_a_backlog_of_short_jobs_a_worker_claims_ahead_of_its_slots(
    app, conn, quick, working, eventually, monkeypatch
):
    asked: list[int] = []
    original = Database.claim

    async def claim(self, worker, queues, max_jobs, *rest, **options):
        asked.append(max_jobs)
        return await original(self, worker, queues, max_jobs, *rest, **options)

    async with working(concurrency=4):
        monkeypatch.setattr(Database, "claim", claim)
        await app.enqueue_many("t", [None] * 500)
        await eventually(lambda: len(quick.began) == 500)
    assert max(asked) > 4
    assert quick.most <= 4
    assert await conn.fetchval("select max(attempt) from jobs") == 1


async def test_a_job_that_was_claimed_ahead_and_gets_no_slot_is_given_back_and_spends_no_retry(
    app, conn, quick, working, eventually, until_status
):
    go = asyncio.Event()

    @app.job("long")
    async def long(job):
        await go.wait()

    async with working(concurrency=2) as worker:
        await app.enqueue_many("t", [None] * 100)
        ids = await app.enqueue_many("long", [None] * 40)
        await eventually(lambda: len(quick.began) == 100 and worker._held.running == 2)
        await eventually(lambda: len(worker._held) == 2)
        rows = await conn.fetch("select status, count(*) from jobs where id = any ($1) group by 1",
                                ids)
        assert {row["status"]: row["count"] for row in rows} == {"processing": 2, "pending": 38}
        go.set()
        for job_id in ids:
            await until_status(job_id, "completed")
    row = await conn.fetchrow("select max(retry_count), max(crash_count) from jobs")
    assert tuple(row) == (0, 0)


async def test_a_job_that_was_claimed_ahead_is_cancelled_before_it_begins(
    app, conn, quick, working, eventually, until_status, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.held.RETURN_AHEAD_AFTER_S", 60)
    go = asyncio.Event()

    @app.job("long")
    async def long(job):
        await go.wait()

    async with working(concurrency=2) as worker:
        await app.enqueue_many("t", [None] * 100)
        await app.enqueue_many("long", [None] * 40)
        await eventually(lambda: len(quick.began) == 100 and worker._held.running == 2)
        assert worker._held._ahead
        run = worker._held._ahead[-1]
        await conn.execute("select jobs_cancel($1)", run.key[0])
        row = await until_status(run.key[0], "cancelled")
        assert row["attempt"] == 1
        go.set()


async def test_jobs_of_a_group_are_claimed_for_free_slots_only(app, conn, quick):
    await conn.execute(
        "insert into jobs (job_type, group_key) select 't', 'g' || n from generate_series(1, 5) n"
    )
    worker = app.worker(concurrency=2)
    await worker._connect()
    worker._held.open()
    assert len(await worker._claimer.claim(5)) == 2
    await worker._release_all()
    await worker._disconnect(leave=True)


async def test_a_suspect_or_grouped_job_without_a_slot_is_given_back_at_once(app, conn, quick):
    ids = await app.enqueue_many("t", [None] * 3)
    worker = app.worker(concurrency=1)
    await worker._connect()
    worker._held.open()
    rows = [dict(row) for row in await worker._claimer.claim(3)]
    rows[1]["group_key"] = "g"
    worker._held.take(rows)
    assert [run.key[0] for run in worker._held._ahead] == [ids[2]]
    assert worker._settlement._waiting == [(ids[1], 1, RELEASED)]
    worker._held.close()
    await worker._held.all_ended(1)
    await worker._release_all()
    await worker._listener.close()
    await worker._links.claim.close()
    await worker._links.settle.close()


async def test_a_claim_that_a_crash_of_the_server_undid_is_made_again_for_the_same_run(
    app, conn, recorder, working, until_status, eventually
):
    job = await app.enqueue("t")
    async with working() as worker:
        await eventually(lambda: recorder.running == 1)
        # As after a crash: the claim was not flushed.
        await conn.execute(
            """update jobs set status = 'pending', worker = null, attempt = 0, lease_until = null,
            started_at = null"""
        )
        await conn.execute("select _jobs_signal('default', '-infinity')")
        row = await until_status(job.id, "processing")
        await eventually(lambda: worker._held.running == 1)
        recorder.go.set()
        row = await until_status(job.id, "completed")
    assert (row["attempt"], len(recorder.began)) == (1, 1)


async def test_another_job_that_got_the_id_of_a_running_one_is_given_back_and_runs_later(
    app, conn, recorder, working, until_status, eventually
):
    job = await app.enqueue("t")
    async with working():
        await eventually(lambda: recorder.running == 1)
        # As after a failover to a standby that had not received the first job.
        await conn.execute(
            """update jobs set status = 'pending', worker = null, attempt = 0, lease_until = null,
            started_at = null, created_at = created_at + interval '1 s'"""
        )
        await conn.execute("select _jobs_signal('default', '-infinity')")
        await eventually(lambda: recorder.cancelled == [job.id])
        recorder.go.set()
        row = await until_status(job.id, "completed")
    assert (row["attempt"], row["retry_count"], row["crash_count"]) == (2, 0, 0)
    assert len(recorder.began) == 2


async def test_a_worker_claims_while_its_listen_connection_cannot_be_made(
    app, pgjobs_dsn, conn, quick, working, until_status, monkeypatch
):
    async with Proxy(pgjobs_dsn) as proxy, working(listen_dsn=proxy.dsn):
        await proxy.__aexit__()
        began = time.monotonic()
        job = await app.enqueue("t")
        await until_status(job.id, "completed")
        assert time.monotonic() - began < 2


async def test_a_worker_claims_only_job_types_that_it_has_handlers_for(
    app, conn, quick, working, eventually
):
    await app.enqueue_many("unknown", [None] * 300)
    ids = await app.enqueue_many("t", [None] * 3)
    async with working():
        await eventually(lambda: len(quick.began) == 3)
    assert sorted(job_id for job_id, _ in quick.began) == ids
    assert await conn.fetchval("select max(attempt) from jobs where job_type = 'unknown'") == 0


async def test_queues_are_served_in_order_and_other_queues_not_at_all(app, conn, quick):
    for queue in ("low", "other", "high", "low", "high"):
        await app.enqueue("t", queue, queue=queue)
    await app.worker(queues=["high", "low"], concurrency=1).run(until_empty=True)
    rows = {row["id"]: row["queue"] for row in await conn.fetch("select id, queue from jobs")}
    assert [rows[job_id] for job_id, _ in quick.began] == ["high", "high", "low", "low"]


async def test_a_sleeping_worker_wakes_at_the_moment_when_a_pause_ends(
    app, conn, working, eventually, quick
):
    """Also for a job that became due before the worker's looks had gone past that moment."""
    async with working():
        await app.enqueue("t")
        await eventually(lambda: len(quick.began) == 1)
        await conn.execute("select jobs_pause('default', clock_timestamp() + interval '1.5 s')")
        for _ in range(3):
            await app.enqueue("t")
            await asyncio.sleep(0.3)
        assert len(quick.began) == 1
        await eventually(lambda: len(quick.began) == 4)
        ended = await conn.fetchval(
            """select max(started_at) - (select paused_until from jobs_queues) from jobs"""
        )
        assert timedelta(0) <= ended < timedelta(seconds=0.5)


async def test_a_pause_that_was_made_shorter_ends_at_its_new_moment(
    app, conn, working, eventually, quick
):
    await conn.execute("select jobs_pause('default', clock_timestamp() + interval '1 hour')")
    async with working():
        await app.enqueue("t")
        await conn.execute("select jobs_pause('default', clock_timestamp() + interval '0.5 s')")
        await eventually(lambda: quick.began, seconds=3)


async def test_the_jobs_of_a_paused_queue_wait_until_it_is_resumed(
    conn, app, quick, working, until_status
):
    await conn.execute("select from jobs_pause('default')")
    job = await app.enqueue("t")
    async with working():
        marker = await app.enqueue("t", delay=0.1 * SECOND)
        assert quick.began == []
        await conn.execute("select from jobs_resume('default')")
        await until_status(job.id, "completed")
        await until_status(marker.id, "completed")


async def test_a_running_job_is_cancelled_by_jobs_cancel(
    conn, app, recorder, working, until_status, eventually
):
    async with working():
        job = await app.enqueue("t")
        await eventually(lambda: recorder.running == 1)
        await conn.execute("select from jobs_cancel($1, 'not wanted')", job.id)
        row = await until_status(job.id, "cancelled")
    assert recorder.cancelled == [job.id]
    assert row["error"] == "not wanted"


async def test_a_handler_whose_job_was_lost_is_cancelled(conn, app, recorder, working, eventually):
    async with working(lease=3 * SECOND):
        job = await app.enqueue("t")
        await eventually(lambda: recorder.running == 1)
        async with conn.transaction():
            await conn.execute("update jobs set worker = 'other', attempt = 2")
        await eventually(lambda: recorder.cancelled == [job.id])
    row = await conn.fetchrow("select * from jobs")
    assert (row["status"], row["worker"], row["retry_count"]) == ("processing", "other", 0)


async def test_a_heartbeat_prolongs_the_lease(conn, app, recorder, working, eventually):
    async with working(lease=3 * SECOND):
        await app.enqueue("t")
        await eventually(lambda: recorder.running == 1)
        before = await conn.fetchval("select lease_until from jobs")

        async def prolonged():
            return await conn.fetchval("select lease_until > $1 from jobs", before)

        await eventually(prolonged)
        recorder.go.set()
    assert await conn.fetchval("select status from jobs") == "completed"


async def test_a_worker_goes_on_with_its_own_job_whose_lease_is_over(
    conn, app, recorder, working, eventually
):
    async with working(lease=3 * SECOND):
        await app.enqueue("t")
        await eventually(lambda: recorder.running == 1)
        await expire_lease(conn)

        async def prolonged():
            return await conn.fetchval("select lease_until > clock_timestamp() from jobs")

        await eventually(prolonged)
        recorder.go.set()
    row = await conn.fetchrow("select * from jobs")
    assert (row["status"], row["attempt"]) == ("completed", 1)


async def test_a_worker_recovers_the_jobs_of_its_dead_predecessor(
    conn, app, quick, until_status, working
):
    await app.enqueue("t")
    await conn.execute("select from jobs_claim('me', lease => '1 hour')")
    async with working(name="me"):
        row = await until_status(quick_id(await conn.fetchrow("select id from jobs")), "completed")
    assert (row["crash_count"], row["retry_count"]) == (1, 0)


def quick_id(row):
    return row["id"]


async def test_two_living_workers_cannot_have_the_same_name(app, quick, working):
    async with working(name="me"):
        with pytest.raises(WorkerNameTaken, match="me"):
            await app.worker(name="me").run()
    await app.worker(name="me").run(until_empty=True)


async def test_until_empty_also_runs_jobs_that_handlers_enqueue(app, conn):
    @app.job("t")
    async def handler(job):
        if job.payload:
            await app.enqueue("t", job.payload - 1)

    await app.enqueue("t", 20)
    await app.worker().run(until_empty=True)
    assert await conn.fetchval("select count(*) from jobs where status = 'completed'") == 21


async def test_until_empty_does_not_wait_for_jobs_that_are_not_due(app, conn, quick):
    await app.enqueue("t", delay=3600 * SECOND)
    await app.worker().run(until_empty=True)
    assert quick.began == []


async def test_completed_jobs_need_not_be_kept(app, conn):
    @app.job("t")
    async def handler(job):
        if job.payload == "bad":
            raise ValueError

    await app.enqueue("t", "good")
    await app.enqueue("t", "bad", max_retries=0)
    await app.worker(keep_completed=False).run(until_empty=True)
    assert [row["status"] for row in await conn.fetch("select status from jobs")] == ["failed"]


async def test_two_workers_share_the_jobs_and_run_none_twice(app, conn, quick, eventually, working):
    async with working(concurrency=5), working(concurrency=5):
        await app.enqueue_many("t", [None] * 500)
        await eventually(lambda: len(quick.began) >= 500)
    assert len({job_id for job_id, _ in quick.began}) == len(quick.began) == 500


async def test_an_old_job_that_another_session_had_locked_is_claimed_once_it_is_unlocked(
    conn, app, quick, working, until_status, pgjobs_dsn, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.listener.FULL_TICK_S", 0.5)
    job = await app.enqueue("t")
    await conn.execute("update jobs set run_at = run_at - interval '1 hour'")
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("select from jobs for update")
    async with working():
        # The worker has claimed no job, and sleeps; a row that is unlocked sends no NOTIFY.
        await asyncio.sleep(0.3)
        await transaction.rollback()
        await until_status(job.id, "completed")


async def test_suspects_run_one_after_the_other(
    conn, app, recorder, working, eventually
):
    ids = await app.enqueue_many("t", [None] * 3)
    await conn.execute("update jobs set crash_count = 2")
    async with working():
        await eventually(lambda: recorder.running == 1)
        recorder.go.set()
        await eventually(lambda: len(recorder.began) == 3)
    assert recorder.most == 1
    assert sorted(job_id for job_id, _ in recorder.began) == ids


async def test_a_worker_uses_three_connections_at_most(conn, app, quick, working, eventually):
    async with working(name="me"):
        await app.enqueue_many("t", [None] * 500)
        await eventually(lambda: len(quick.began) == 500)
        mine = await conn.fetchval(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and application_name like 'pgjobs me%'"
        )
    assert mine <= 3


async def test_after_a_claim_that_was_too_slow_all_free_slots_are_filled(
    app, conn, recorder, working, eventually, monkeypatch
):
    original, refused = Database.claim, []

    async def claim(self, *args, **options):
        if not refused:
            refused.append(1)
            raise asyncpg.QueryCanceledError("too slow")
        return await original(self, *args, **options)

    await app.enqueue_many("t", [None] * 8)
    monkeypatch.setattr(Database, "claim", claim)
    async with working(concurrency=8):
        await eventually(lambda: recorder.running == 8)
        recorder.go.set()


async def test_a_full_tick_that_the_server_refuses_is_tried_again(
    app, conn, quick, working, eventually, monkeypatch
):
    original, refused, done = Database.worker_tick, [], []

    async def worker_tick(self, worker, is_full=True, queues=None):
        if is_full and len(refused) < 2:
            refused.append(1)
            raise asyncpg.LockNotAvailableError("refused")
        done.append(is_full)
        return await original(self, worker, is_full, queues)

    monkeypatch.setattr(Database, "worker_tick", worker_tick)
    async with working():
        await eventually(lambda: True in done)
    assert len(refused) == 2


async def test_a_worker_that_is_cancelled_in_a_claim_does_not_leave_the_register(
    app, conn, quick, eventually, monkeypatch
):
    begun = asyncio.Event()

    async def claim(self, *args, **options):
        begun.set()
        await asyncio.Event().wait()

    async def reconcile(self, *args):
        return {"released": 0, "is_settled": False}  # the server may still make the claim

    monkeypatch.setattr(Database, "claim", claim)
    monkeypatch.setattr(Database, "reconcile", reconcile)
    task = asyncio.create_task(app.worker(name="w").run())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await conn.fetchval("select array_agg(worker) from jobs_workers") == ["w"]


async def test_a_job_whose_row_was_locked_is_claimed_once_it_is_free_though_later_ones_ran(
    app, conn, other, quick, working, until_status, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.listener.FULL_TICK_S", 600)
    monkeypatch.setattr("pgjobs.worker.listener.TICK_WHILE_OTHERS_WORK_S", 600)
    async with working():
        locked = await app.enqueue("t", delay=0.3 * SECOND)
        async with other.transaction():
            await other.execute("select from jobs where id = $1 for update", locked.id)
            await asyncio.sleep(0.5)
            later = await app.enqueue("t")
            await until_status(later.id, "completed")
        await until_status(locked.id, "completed")


async def test_a_resumed_queue_gives_its_older_jobs_though_a_newer_one_came_first(
    app, conn, recorder, working, until_status, eventually
):
    older = await app.enqueue("t", queue="paused")
    await conn.execute("select jobs_pause('paused')")
    async with working(queues=["default", "paused"], concurrency=1):
        await app.enqueue("t")
        await eventually(lambda: recorder.running == 1)
        await conn.execute("select jobs_resume('paused')")
        newer = await app.enqueue("t", queue="paused")
        recorder.go.set()
        await until_status(older.id, "completed")
        await until_status(newer.id, "completed")


async def test_a_drain_leaves_no_job_that_was_lost_before(app, conn, quick):
    ids = await app.enqueue_many("t", [None] * 4)
    await conn.execute("update jobs set crash_count = 2 where id = $1", ids[1])
    await conn.execute("update jobs set crash_count = 1 where id = $1", ids[2])
    await app.worker().run(until_empty=True)
    assert await conn.fetchval("select count(*) from jobs where status <> 'completed'") == 0


async def test_a_job_that_was_due_before_1970_wakes_a_worker(
    app, conn, quick, working, until_status
):
    async with working():
        job_id = await conn.fetchval(
            "insert into jobs (job_type, run_at) values ('t', '1900-01-01') returning id"
        )
        await until_status(job_id, "completed")
