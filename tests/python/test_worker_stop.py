"""How a worker ends: the grace, the jobs that it releases, and the lifespan around its run."""

import asyncio
import contextlib
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from chaos.proxy import Proxy

from pgjobs import App, Fail, WorkerNameTaken
from pgjobs.database import Database
from pgjobs.testing import make_due

SECOND = timedelta(seconds=1)


async def test_stop_lets_running_jobs_end(app, conn, recorder, working, eventually):
    async with working() as worker:
        await app.enqueue("t")
        await eventually(lambda: recorder.running == 1)
        worker.stop()
        late = await app.enqueue("t")
        recorder.go.set()
    rows = await conn.fetch("select id, status from jobs order by id")
    assert [row["status"] for row in rows] == ["completed", "pending"]
    assert rows[1]["id"] == late.id


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_jobs_that_have_not_ended_within_the_grace_are_released(
    app, conn, recorder, eventually, how
):
    await app.enqueue_many("t", [None] * 300)
    worker = app.worker(grace=timedelta(0), concurrency=50)
    task = asyncio.create_task(worker.run())
    await eventually(lambda: recorder.running == 50)
    if how == "stop":
        worker.stop()
        await task
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    counts = await conn.fetchrow(
        "select count(*) filter (where status = 'pending') as pending, sum(retry_count) as retries,"
        " sum(crash_count) as crashes, count(worker) as held, sum(attempt) as attempts from jobs"
    )
    assert tuple(counts) == (300, 0, 0, 0, 50)


async def test_a_handler_that_goes_on_after_its_timeout_is_cancelled_again_at_shutdown(
    app, conn, eventually
):
    told = []

    @app.job("t", timeout=SECOND / 100)
    async def stubborn(job):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("timeout")
            await asyncio.sleep(60)

    await app.enqueue("t")
    worker = app.worker(grace=timedelta(0))
    task = asyncio.create_task(worker.run())
    await eventually(lambda: told)
    worker.stop()
    await task
    assert await conn.fetchval("select status from jobs") == "pending"


async def test_claimed_jobs_that_have_not_started_are_released_when_the_worker_is_cancelled(
    app, conn, recorder, eventually
):
    await app.enqueue_many("t", [None] * 50)
    task = asyncio.create_task(app.worker(concurrency=50).run())

    async def claimed():
        return await conn.fetchval("select count(*) = 50 from jobs where status = 'processing'")

    await eventually(claimed)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await conn.fetchval("select count(*) from jobs where status = 'pending'") == 50


async def test_a_lifespan_gives_handlers_their_resources(pgjobs_dsn, conn):
    told = []

    @asynccontextmanager
    async def lifespan(app):
        told.append("up")
        yield {"greeting": "hello"}
        told.append("down")

    app = App(dsn=pgjobs_dsn, lifespan=lifespan)

    @app.job("t")
    async def handler(job):
        told.append("job")
        return job.app.state.greeting

    await app.enqueue("t")
    await app.worker().run(until_empty=True)
    await app.close()
    assert told == ["up", "job", "down"]
    assert await conn.fetchval("select result from jobs") == '"hello"'


async def test_an_object_that_the_lifespan_yields_is_the_state_itself(pgjobs_dsn):
    made = object()

    @asynccontextmanager
    async def lifespan(app):
        yield made

    async with App(dsn=pgjobs_dsn, lifespan=lifespan) as app:
        seen = []
        app.job("t")(lambda job: seen.append(job.app.state))
        await app.enqueue("t")
        await app.worker().run(until_empty=True)
        assert seen == [made]
        assert app.state is made


async def test_an_error_in_the_lifespan_is_raised_by_run(pgjobs_dsn):
    @asynccontextmanager
    async def lifespan(app):
        raise LookupError("no model")
        yield

    app = App(dsn=pgjobs_dsn, lifespan=lifespan)
    app.job("t")(lambda job: None)
    with pytest.raises(LookupError):
        await app.worker().run()
    await app.close()


async def test_a_handler_that_answers_a_shutdown_with_an_error_is_given_back(
    app, conn, eventually
):
    began = []

    @app.job("wraps", max_retries=0)
    async def wraps(job):
        began.append(job.id)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise RuntimeError("the request was aborted") from error

    @app.job("fails", max_retries=0)
    async def fails(job):
        began.append(job.id)
        try:
            await asyncio.sleep(60)
        finally:
            raise Fail("while closing")

    @app.job("group", max_retries=0)
    async def group(job):
        began.append(job.id)
        try:
            await asyncio.sleep(60)
        finally:
            raise BaseExceptionGroup("all at once", [KeyboardInterrupt(), ValueError()])

    for job_type in app.tasks:
        await app.enqueue(job_type, max_retries=0)
    worker = app.worker(grace=timedelta(0))
    task = asyncio.create_task(worker.run())
    await eventually(lambda: len(began) == 3)
    worker.stop()
    await task
    rows = await conn.fetch("select status, retry_count, error from jobs")
    assert {tuple(row) for row in rows} == {("pending", 0, None)}


async def test_a_handler_that_swallows_every_cancellation_is_given_back_in_bounded_time(
    app, conn, eventually, caplog
):
    began, over = [], asyncio.Event()

    @app.job("t")
    async def stubborn(job):
        began.append(job.id)
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()

    job = await app.enqueue("t")
    worker = app.worker(grace=timedelta(0))
    task = asyncio.create_task(worker.run())
    await eventually(lambda: began)
    worker.stop()
    async with asyncio.timeout(10):
        await task
    row = await conn.fetchrow("select status, retry_count, crash_count from jobs")
    assert tuple(row) == ("pending", 0, 0)
    assert worker.left_running
    assert f"job {job.id} (t) still runs, and cannot be stopped" in caplog.text
    over.set()


async def test_an_error_of_pgjobs_itself_fails_its_job_alone(
    app, conn, quick, working, until_status, monkeypatch, caplog
):
    ids = await app.enqueue_many("t", [None] * 3, max_retries=0)
    held_job = app.held_job

    def broken(run, holder):
        if run.key[0] == ids[1]:
            raise LookupError("a fault")
        return held_job(run, holder)

    monkeypatch.setattr(app, "held_job", broken)
    async with working():
        row = await until_status(ids[1], "failed")
        await until_status((await app.enqueue("t")).id, "completed")
    assert row["error"].startswith("LookupError: a fault")
    assert f"job {ids[1]} (t): an error of pgjobs itself" in caplog.text
    rows = await conn.fetch("select status from jobs order by id")
    assert [row["status"] for row in rows] == ["completed", "failed", "completed", "completed"]


async def test_a_job_whose_end_cannot_be_taken_is_named_no_longer(
    app, conn, quick, working, until_status, eventually, monkeypatch
):
    broken = []

    async with working() as worker:
        add = worker._settlement.add

        def break_once(key, outcome):
            if not broken:
                broken.append(key)
                raise RuntimeError("a fault")
            add(key, outcome)

        monkeypatch.setattr(worker._settlement, "add", break_once)
        job = await app.enqueue("t")
        await eventually(lambda: broken)
        # As the next heartbeat does, some time after the claim.
        assert (worker._held.keys, worker._held.needs_heartbeat) == (([], []), True)
        await worker._claimer.release_unnamed()
        row = await until_status(job.id, "completed")
    assert (row["attempt"], row["crash_count"], row["retry_count"]) == (2, 0, 0)


async def test_a_handler_whose_task_exits_the_process_counts_as_lost(pgjobs_dsn, conn):
    app = App(dsn=pgjobs_dsn)

    @app.job("t")
    async def handler(job):
        async def child():
            raise SystemExit(7)

        made = asyncio.create_task(child())
        await asyncio.sleep(60)
        await made

    def process() -> None:
        asyncio.run(app.worker(name="w").run())

    await app.enqueue("t")
    await app.close()
    for crashes in range(1, 4):
        with pytest.raises(SystemExit):
            await asyncio.to_thread(process)
        # A worker that starts under the same name takes back what its predecessor held.
        async with App(dsn=pgjobs_dsn) as other:
            other.job("other")(handler.handler)
            worker = other.worker(name="w")
            task = asyncio.create_task(worker.run())
            async with asyncio.timeout(10):
                while await conn.fetchval("select crash_count from jobs") < crashes:
                    await asyncio.sleep(0.02)
            worker.stop()
            await task
        await make_due(conn)


async def test_a_worker_stops_while_too_many_ends_are_unwritten(app, conn, quick, monkeypatch):
    monkeypatch.setattr("pgjobs.worker.settlement.MAX_UNWRITTEN_JOBS", 1)
    written, original = asyncio.Event(), Database.complete_uncounted

    async def complete_uncounted(self, *args):
        await written.wait()
        return await original(self, *args)

    monkeypatch.setattr(Database, "complete_uncounted", complete_uncounted)
    await app.enqueue_many("t", [None] * 3)
    worker = app.worker(concurrency=1)
    task = asyncio.create_task(worker.run())
    while worker._settlement._room.is_set():
        await asyncio.sleep(0.01)
    worker.stop()
    written.set()
    async with asyncio.timeout(5):
        await task


async def test_what_is_claimed_while_the_worker_stops_is_given_back_and_does_not_begin(
    app, conn, quick, monkeypatch
):
    original = Database.claim

    async def claim(self, *args, **options):
        rows = await original(self, *args, **options)
        worker.stop()
        return rows

    monkeypatch.setattr(Database, "claim", claim)
    await app.enqueue_many("t", [None] * 3)
    worker = app.worker()
    await worker.run()
    assert quick.began == []
    row = await conn.fetchrow("select status, max(retry_count), count(*) from jobs group by 1")
    assert tuple(row) == ("pending", 0, 3)


async def test_a_handler_that_swallowed_a_cancellation_is_cancelled_again_by_a_stop(
    app, conn, working, eventually
):
    cancelled = []

    @app.job("t")
    async def handler(job):
        while len(cancelled) < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(1)

    job = await app.enqueue("t")
    async with working(grace=timedelta(0)) as worker:
        await eventually(lambda: worker._held.running == 1)
        await conn.execute("select jobs_cancel($1)", job.id)
        await eventually(lambda: cancelled == [1])
    assert cancelled == [1, 1]


async def test_a_worker_whose_name_another_one_has_got_meanwhile_ends_and_says_so(
    app, conn, connect, quick, eventually, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.listener.OLD_SESSION_ENDS_AFTER_S", -1)
    worker = app.worker(name="w")
    task = asyncio.create_task(worker.run())
    await eventually(lambda: worker._listener.mode is not None)
    other = await connect()
    # Keeps the worker from connecting again before the other one has got the name.
    monkeypatch.setattr(Database, "worker_start", taken)
    await conn.execute(
        """select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'pgjobs w listen' and datname = current_database()"""
    )
    async with asyncio.timeout(10):
        with pytest.raises(WorkerNameTaken):
            await task
    await other.execute("select from jobs_worker_start('w', '{default}', null, 1)")
    assert await conn.fetchval("select array_agg(worker) from jobs_workers") == ["w"]


async def taken(*_args, **_options):
    raise WorkerNameTaken("a living worker is named w")


@pytest.mark.parametrize("grace_s", [0, 1])
async def test_a_worker_whose_database_swallows_every_byte_ends_in_bounded_time(
    pgjobs_dsn, eventually, grace_s
):
    began, over = [], asyncio.Event()
    async with Proxy(pgjobs_dsn) as proxy:
        app = App(proxy.dsn)

        @app.job("t")
        async def handler(job):
            began.append(job.id)
            await over.wait()

        await app.enqueue_many("t", [{}] * 3)
        worker = app.worker(grace=timedelta(seconds=grace_s))
        task = asyncio.create_task(worker.run())
        await eventually(lambda: len(began) == 3)
        proxy.swallows_new = True
        proxy.swallow("")
        over.set()
        worker.stop()
        async with asyncio.timeout(grace_s + 11):
            await task
        await app.close()


def test_a_worker_may_be_stopped_before_it_runs_and_outside_of_an_event_loop(pgjobs_dsn):
    app = App(dsn=pgjobs_dsn)
    app.job("t")(lambda job: None)
    worker = app.worker()
    worker.stop()

    async def run() -> None:
        async with asyncio.timeout(10):
            await worker.run()

    asyncio.run(run())
