"""Plain functions in threads: slots, timeouts, stops, and what the function may ask."""

import asyncio
import contextvars
import re
import threading
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from pydantic import BaseModel, field_validator

from pgjobs import App, Backoff, InvalidArgument, RunningJob
from pgjobs.worker.threads import Threads

SECOND = timedelta(seconds=1)


class Gate:
    """A plain handler that waits in its thread until ``go`` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.attempts: list[int] = []
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, job):
        with self._lock:
            self.attempts.append(job.attempt)
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.wait(20)
        with self._lock:
            self.running -= 1


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.go.set()


async def test_a_slot_is_taken_until_its_thread_is_free_so_that_no_job_fails_unbegun(
    app, conn, gate, working, eventually, until_status
):
    ran = []
    app.job("hangs", timeout=SECOND / 10, max_retries=0)(gate)
    healthy = app.job("healthy", timeout=SECOND / 10, max_retries=0)(lambda job: ran.append(job.id))
    async with working(concurrency=2):
        await app.enqueue_many("hangs", [{}] * 2)
        await eventually(lambda: gate.running == 2)
        ids = [(await healthy.enqueue({})).id for _ in range(6)]
        await asyncio.sleep(0.3)  # longer than the timeout
        waiting = "select count(*) from jobs where job_type = 'healthy' and attempt = 0"
        assert (ran, await conn.fetchval(waiting)) == ([], 6)
        gate.go.set()
        for job_id in ids:
            await until_status(job_id, "completed")
    assert await conn.fetchval("select max(retry_count) from jobs") == 0


async def test_a_function_past_its_timeout_never_runs_beside_its_retry(
    app, conn, gate, working, eventually, until_status, caplog
):
    twice = app.job(
        "twice", timeout=SECOND / 20, max_retries=2, backoff=Backoff.fixed(timedelta(0))
    )(gate)
    async with working(), working():
        job = await twice.enqueue({})
        await eventually(lambda: "its function runs on in its thread" in caplog.text)
        place = r"in its thread at .*__call__ \(\S*test_plain_functions.py:\d+\)"
        assert re.search(place, caplog.text)
        await asyncio.sleep(0.2)
        assert gate.attempts == [1]
        assert await conn.fetchval("select status from jobs") == "processing"
        gate.go.set()
        await until_status(job.id, "completed")
    assert gate.most == 1
    assert f"job {job.id} (twice) returned after its timeout of" in caplog.text


async def test_a_function_that_raises_after_its_timeout_has_failed_by_the_timeout(
    app, working, until_status
):
    @app.job("t", timeout=SECOND / 20, max_retries=0)
    def handler(job: RunningJob[dict[str, int]]) -> None:
        while True:
            job.raise_if_stopping()
            time.sleep(0.01)

    async with working():
        row = await until_status((await handler.enqueue({})).id, "failed")
    assert row["error"].startswith("TimeoutError: still running after 0:00:00.050000")


async def test_a_cancelled_function_is_held_until_it_ends(
    app, conn, working, eventually, until_status
):
    seen = []

    @app.job("t")
    def handler(job: RunningJob[dict[str, int]]) -> None:
        seen.append("began")
        try:
            while not job.stopping:
                time.sleep(0.01)
            seen.append("stopping")
            job.raise_if_stopping()
        finally:
            seen.append("ended")

    async with working():
        job = await app.enqueue("t", {})
        await eventually(lambda: seen)
        await conn.execute("select from jobs_cancel($1)", job.id)
        await until_status(job.id, "cancelled")
    assert seen == ["began", "stopping", "ended"]


async def test_functions_and_coroutines_see_that_the_worker_stops(app, conn, eventually):
    began = []

    @app.job("plain", max_retries=0)
    def plain(job):
        began.append(job.id)
        while not job.stopping:
            time.sleep(0.01)
        job.raise_if_stopping()

    @app.job("async", max_retries=0)
    async def coroutine(job):
        began.append(job.id)
        while True:
            job.raise_if_stopping()
            await asyncio.sleep(0.01)

    for task in (plain, coroutine):
        await task.enqueue({})
    worker = app.worker(grace=60 * SECOND)
    running = asyncio.create_task(worker.run())
    await eventually(lambda: len(began) == 2)
    worker.stop()
    async with asyncio.timeout(10):
        await running
    rows = await conn.fetch("select status, retry_count, crash_count, error from jobs")
    assert {tuple(row) for row in rows} == {("pending", 0, 0, None)}


async def test_a_function_that_outlives_the_grace_is_given_back_in_the_last_statement(
    app, conn, gate, eventually, caplog
):
    app.job("t")(gate)
    job = await app.enqueue("t", {})
    worker = app.worker(grace=timedelta(0))
    running = asyncio.create_task(worker.run())
    await eventually(lambda: gate.running)
    worker.stop()
    async with asyncio.timeout(10):
        await running
    row = await conn.fetchrow("select status, retry_count, crash_count from jobs")
    assert (tuple(row), worker.left_running) == (("pending", 0, 0), True)
    assert f"job {job.id} (t) still runs, and cannot be stopped" in caplog.text


async def test_a_lost_job_does_not_run_here_beside_its_old_function(
    app, conn, gate, working, eventually, until_status
):
    app.job("t")(gate)
    async with working() as worker:
        job = await app.enqueue("t", {})
        await eventually(lambda: gate.running)
        await conn.execute(
            "update jobs set lease_until = clock_timestamp() - interval '1 hour'; "
            "update jobs_worker_ticks set beats_until = null; "
            "select from jobs_recover()"
        )
        worker._heartbeat.ask()

        async def was_claimed_again():
            return await conn.fetchval("select attempt from jobs") == 2

        await eventually(was_claimed_again)
        await eventually(lambda: worker._held.keys == ([job.id, job.id], [1, 2]))
        assert gate.attempts == [1]
        gate.go.set()
        row = await until_status(job.id, "completed")
    assert (gate.attempts, gate.most) == ([1, 2], 1)
    assert (row["attempt"], row["crash_count"], row["retry_count"]) == (2, 1, 0)


async def test_at_most_so_many_plain_functions_run_at_once(app, conn, gate, working, eventually):
    app.job("t")(gate)
    await app.enqueue_many("t", [{}] * 30)
    async with working():
        await eventually(lambda: gate.running == 20)
        await asyncio.sleep(0.1)
        claimed = "select count(*) from jobs where status = 'processing'"
        assert (gate.running, await conn.fetchval(claimed)) == (20, 20)
        gate.go.set()
    with pytest.raises(InvalidArgument, match="plain_concurrency must be 1 or more"):
        app.worker(plain_concurrency=0)


async def test_coroutines_run_while_no_thread_is_free(app, conn, gate, working, until_status):
    app.job("plain")(gate)

    @app.job("async")
    async def coroutine(job):
        pass

    async with working(plain_concurrency=2):
        plain = await app.enqueue_many("plain", [{}] * 5)
        for _ in range(3):
            await until_status((await app.enqueue("async", {})).id, "completed")
        later = await app.enqueue("async", {}, delay=SECOND / 5)
        await until_status(later.id, "completed")
        rows = await conn.fetch("select status from jobs where job_type = 'plain' order by id")
        assert [row[0] for row in rows] == ["processing"] * 2 + ["pending"] * 3
        gate.go.set()
        for job_id in plain:
            await until_status(job_id, "completed")
    assert gate.most == 2


async def test_another_worker_takes_what_this_one_has_no_thread_for(
    app, pgjobs_dsn, gate, working, eventually
):
    apps = [app, App(dsn=pgjobs_dsn)]
    for one in apps:
        one.job("plain")(gate)

        @one.job("async")
        async def coroutine(job):
            pass

    async with apps[1], working(plain_concurrency=1), working(apps[1], plain_concurrency=1):
        for _ in range(2):
            await app.enqueue("plain", {})
            began = time.monotonic()
            await eventually(lambda: gate.running == len(gate.attempts) > 0)
        await eventually(lambda: gate.running == 2)
        assert time.monotonic() - began < 1
        gate.go.set()


async def test_context_variables_of_the_lifespan_reach_every_handler(pgjobs_dsn, conn):
    value = contextvars.ContextVar("value", default="none")

    @asynccontextmanager
    async def lifespan(app):
        value.set("lifespan")
        yield

    app = App(dsn=pgjobs_dsn, lifespan=lifespan)

    @app.job("plain")
    def plain(job):
        seen = value.get()
        value.set("plain")
        return seen

    @app.job("async")
    async def coroutine(job):
        seen = value.get()
        value.set("async")
        return seen

    async with app:
        await app.enqueue_many("plain", [{}] * 20)
        await app.enqueue_many("async", [{}] * 20)
        await app.worker(concurrency=2).run(until_empty=True)
    assert await conn.fetchval("select array_agg(distinct result) from jobs") == ['"lifespan"']


def test_a_thread_that_never_ends_does_not_keep_the_interpreter_from_ending():
    threads = Threads()
    ended, go = threading.Event(), threading.Event()
    threads.start(lambda: (go.wait(20), ended.set()))
    threads.close()
    [thread] = [t for t in threading.enumerate() if t.name == "pgjobs function"]
    assert thread.daemon
    go.set()
    assert ended.wait(5)
    thread.join(5)
    assert not thread.is_alive()


async def test_coroutines_follow_each_other_at_once_while_no_thread_is_free(
    app, conn, gate, working, eventually
):
    app.job("plain")(gate)

    @app.job("async")
    async def coroutine(job):
        pass

    async with working(concurrency=2, plain_concurrency=1):
        await app.enqueue("plain", {})
        await eventually(lambda: gate.running)
        began = time.monotonic()
        await app.enqueue_many("async", [{}] * 50)
        left = "select count(*) = 0 from jobs where job_type = 'async' and status <> 'completed'"
        await eventually(lambda: conn.fetchval(left))
        assert time.monotonic() - began < 3
        gate.go.set()


def test_a_call_for_which_there_is_no_thread_left_does_not_run_later(monkeypatch):
    threads, ran = Threads(), []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError()))
        with pytest.raises(RuntimeError):
            threads.start(lambda: ran.append("refused"))
    done = threading.Event()
    threads.start(lambda: (ran.append("later"), done.set()))
    assert done.wait(5)
    threads.close()
    assert ran == ["later"]


async def test_a_payload_of_a_plain_function_is_read_in_its_thread(
    app, conn, working, until_status
):
    threads = []

    class Slow(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def wait(cls, x: int) -> int:
            threads.append(threading.current_thread().name)
            return x

    @app.job("t", max_retries=0)
    def handler(job: RunningJob[Slow]) -> None:
        threads.append(threading.current_thread().name)

    async with working():
        [good] = await conn.fetchrow("select id from jobs_enqueue('t', '{\"x\": 1}')")
        await until_status(good, "completed")
        [bad] = await conn.fetchrow("select id from jobs_enqueue('t', '{}')")
        row = await until_status(bad, "failed")
    assert threads == ["pgjobs function"] * 2
    assert row["error"].startswith("the payload is not valid: 1 validation error")
