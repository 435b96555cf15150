"""What wakes a sleeping worker: a notification, a hint, the clock; and when it polls instead."""

import asyncio
import time
from datetime import timedelta

import pytest

from pgjobs.worker.mode import Mode

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
    app, conn, connect, quick, working, until_status, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.listener.FULL_TICK_S", 600)
    monkeypatch.setattr("pgjobs.worker.listener.TICK_WHILE_OTHERS_WORK_S", 600)
    hung = await connect()
    await hung.execute("select from jobs_worker_start('hung', '{default}', null, 1)")
    await hung.execute("select _jobs_worker_mode('hung', 'listening')")
    async with working():
        for _ in range(10):
            job = await app.enqueue("t")
            await until_status(job.id, "completed")


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
    async with working() as worker:
        modes = noted(worker)

        async def polls() -> bool:
            await app.enqueue_many("t", [None] * jobs)
            await asyncio.sleep(0.3)  # so that these jobs do not count with the next ones
            return Mode.POLLING in modes

        if jobs < 10:
            assert not any([await polls() for _ in range(3)])
        else:
            await eventually(polls)


async def test_a_worker_without_a_free_slot_is_full_until_one_is_free(
    app, conn, recorder, working, eventually
):
    async with working(concurrency=2) as worker:
        modes = noted(worker)
        await app.enqueue_many("t", [None] * 2)
        await eventually(lambda: worker._listener.mode is Mode.FULL)
        recorder.go.set()
        await eventually(lambda: worker._listener.mode is Mode.LISTENING)
    assert modes[:2] == [Mode.FULL, Mode.LISTENING]


async def test_a_worker_that_stops_while_polling_is_full_at_once(
    app, conn, recorder, working, eventually
):
    async with working() as worker:
        await app.enqueue_many("t", [None] * 20)
        await eventually(lambda: worker._listener.mode is Mode.POLLING)
        worker.stop()
        await eventually(lambda: worker._listener.mode is Mode.FULL)
        await asyncio.sleep(0.2)
        assert worker._listener.mode is Mode.FULL
        recorder.go.set()


async def test_a_second_worker_polls_too_where_a_polling_one_leaves_due_jobs(
    app, conn, connect, quick, working, eventually
):
    hung = await connect()
    await hung.execute("select from jobs_worker_start('hung', '{default}', null, 1)")
    await hung.execute("select _jobs_worker_mode('hung', 'polling')")
    async with working() as worker:
        modes = noted(worker)

        async def polls() -> bool:
            # The worker may claim the first one before it looks for due jobs that are left.
            await app.enqueue("t")
            await asyncio.sleep(0.3)
            return Mode.POLLING in modes

        await eventually(polls)


async def test_a_job_below_the_floors_is_claimed_once_its_transaction_has_ended(
    app, conn, other, quick, working, eventually
):
    async with working() as worker:
        open_since = other.transaction()
        await app.enqueue_many("t", [None] * 20)
        await eventually(lambda: worker._listener.mode is Mode.POLLING)
        await open_since.start()
        late = await other.fetchval("insert into jobs (job_type) values ('t') returning id")
        for _ in range(100):  # keeps the worker polling for longer than the floors lag
            await app.enqueue("t")
            await asyncio.sleep(0.01)
        await open_since.commit()
        # By a watch, within 0.15 s; not by the full tick alone, which comes every 10 s.
        await eventually(lambda: late in [job_id for job_id, _ in quick.began], seconds=5)


async def test_a_job_with_a_run_at_in_the_past_is_claimed_below_the_floors(
    app, conn, quick, working, until_status, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.listener.FULL_TICK_S", 600)
    monkeypatch.setattr("pgjobs.worker.listener.TICK_WHILE_OTHERS_WORK_S", 600)
    async with working():
        for past in ("1 s", "1 day"):
            first = await app.enqueue("t")
            await until_status(first.id, "completed")
            job_id = await conn.fetchval(
                """insert into jobs (job_type, run_at)
                values ('t', clock_timestamp() - $1::text::interval) returning id""", past,
            )
            await until_status(job_id, "completed")


def noted(worker):
    """The modes that the worker changes to from now on."""
    modes = []
    original = worker._listener._database.worker_mode

    async def worker_mode(name, mode):
        granted = await original(name, mode)
        if granted:
            modes.append(Mode(mode))
        return granted

    worker._listener._database = Noting(worker._listener._database, worker_mode)
    return modes


class Noting:
    """A ``Database`` whose ``worker_mode`` is another."""

    def __init__(self, database, worker_mode):
        self._database = database
        self.worker_mode = worker_mode

    def __getattr__(self, name):
        return getattr(self._database, name)


async def test_a_full_worker_has_a_listening_one_claim_what_it_has_no_slots_for(
    app, conn, recorder, working, eventually, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.listener.FALLBACK_LOOK_AFTER_S", (60, 60))
    monkeypatch.setattr("pgjobs.worker.listener.FULL_TICK_S", 600)
    monkeypatch.setattr("pgjobs.worker.listener.TICK_WHILE_OTHERS_WORK_S", 600)
    async with working(concurrency=2) as one, working(concurrency=2) as two:
        # One NOTIFY picks both workers, so add the jobs without a signal for the second.
        await two._listener._database.worker_mode(two.name, "full")
        await app.enqueue_many("t", [None] * 4)
        await eventually(lambda: one._held.running == 2)
        await two._listener._database.worker_mode(two.name, "listening")
        one._listener.ask_for_help()
        await eventually(lambda: recorder.running == 4)
        recorder.go.set()
