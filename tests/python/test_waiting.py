"""What wakes a sleeping worker: a notification, a hint, the clock; and when it polls instead."""

import time
from datetime import timedelta

import pytest

SECOND = timedelta(seconds=1)


async def test_a_notification_wakes_a_worker(app, conn, quick, working, until_status):
    async with working():
        began = time.monotonic()
        job_id = await conn.fetchval("select id from jobs_enqueue('t')")
        await until_status(job_id, "completed")
    assert quick.began[0][1] - began < 1


async def test_a_plain_insert_wakes_a_worker(conn, quick, working, until_status):
    async with working():
        job_id = await conn.fetchval("insert into jobs (job_type) values ('t') returning id")
        await until_status(job_id, "completed")


async def test_a_worker_claims_a_job_that_another_worker_was_picked_for_and_did_not_claim(
    app, conn, quick, working, until_status, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.listener.TICK_S", 600)
    monkeypatch.setattr("pgjobs.worker.listener.TICK_WHILE_OTHERS_WORK_S", 600)
    async with working():
        for _ in range(2):
            own = await app.enqueue("t")
            await until_status(own.id, "completed")
            async with conn.transaction():
                await conn.execute("set local session_replication_role = replica")  # no trigger
                silent = await conn.fetchval(
                    "insert into jobs (job_type) values ('t') returning id"
                )
                await conn.execute("select pg_notify('public.jobs', 'default')")
            await until_status(silent, "completed")


async def test_a_worker_sleeps_exactly_until_the_next_job_is_due(
    app, conn, quick, working, until_status
):
    async with working():
        began = time.monotonic()
        job = await app.enqueue("t", delay=0.7 * SECOND)
        await until_status(job.id, "completed")
    assert 0.7 <= quick.began[0][1] - began < 1.2


async def test_a_job_that_is_due_earlier_wakes_a_sleeping_worker(app, quick, working, until_status):
    async with working():
        await app.enqueue("t", delay=60 * SECOND)
        job = await app.enqueue("t", delay=0.2 * SECOND)
        await until_status(job.id, "completed")


@pytest.mark.parametrize("jobs", [9, 10], ids=["below", "from"])
async def test_from_ten_jobs_in_a_twentieth_of_a_second_a_worker_polls(
    app, conn, quick, working, eventually, jobs
):
    was_listening: list[bool] = []
    async with working() as worker:
        start_polling = worker._listener.start_polling

        async def noted():
            was_listening.append(worker._listener.is_listening)
            await start_polling()

        worker._listener.start_polling = noted  # type: ignore[method-assign]
        await app.enqueue_many("t", [None] * jobs)
        await eventually(lambda: len(quick.began) == jobs)
        # The worker listens again: no job has come for a while.
        await eventually(lambda: worker._listener.mode is Mode.LISTENING)
    assert was_listening == ([True] if jobs >= 10 else [])
