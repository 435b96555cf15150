"""``.sync.wait``: what ``app.wait`` does, for threads; all of a process share one connection."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs import App, Fail, InvalidArgument, Job, PgjobsError

ROOT = Path(__file__).parents[2]
SOON = timedelta(seconds=20)
WAITING = "application_name like '% wait' and datname = current_database()"


@pytest.fixture
def app(pgjobs_dsn):
    made = App(pgjobs_dsn)
    yield made
    made.sync.close()


@pytest.fixture
def ask(pgjobs_dsn):
    """ask("select 1") by a connection of its own."""
    with psycopg.connect(pgjobs_dsn, autocommit=True) as conn:

        def run(query, *args):
            done = conn.execute(query, args or None)
            return done.fetchall() if done.description else []

        yield run


@pytest.fixture
def complete(ask):
    """Completes the jobs with their ids as results, as a worker does."""

    def run(*job_ids):
        ask("update jobs set status = 'processing', worker = 'w', attempt = 1 where id = any (%s)",
            [*job_ids])
        ask("select jobs_complete_many('w', %s::bigint[], %s::int[], %s::jsonb[], true)",
            [*job_ids], [1] * len(job_ids), [str(job_id) for job_id in job_ids])

    return run


@pytest.fixture
def until(ask):
    """Waits until a query returns something."""

    def run(query):
        deadline = time.monotonic() + 10
        while not (found := ask(query)):
            assert time.monotonic() < deadline, query
            time.sleep(0.01)
        return found

    return run


@pytest.fixture
def listening(until):
    """Waits until so many jobs are watched, and returns the process that serves the waits."""

    def run(count=1):
        return until(
            f"select pid from pg_stat_activity where {WAITING} and state = 'idle'"
            f" and (select count(*) from jobs_watched) >= {count}"
        )[0][0]

    return run


@pytest.fixture
def threads():
    with ThreadPoolExecutor(50) as pool:
        yield pool


def run(program, dsn):
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PGJOBS_DSN": dsn, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


async def test_each_wait_returns_its_jobs_outcomes_in_their_order(app):
    @app.job("double")
    async def double(job: Job[int]) -> int:
        return 2 * job.payload

    @app.job("bad")
    async def bad(job: Job[Any]) -> None:
        raise Fail("no such file")

    jobs = [double.sync.enqueue(4), app.sync.enqueue("bad"), double.sync.enqueue(5)]
    cancelled = app.sync.cancel(double.sync.enqueue(6).id, "not needed")
    waits = asyncio.to_thread(app.sync.wait, [*jobs, cancelled.id, jobs[0]], timeout=SOON)
    async with asyncio.TaskGroup() as tasks, app:
        found = tasks.create_task(waits)
        await app.worker().run(until_empty=True)
    outcomes = found.result()
    assert [o.status for o in outcomes] == [
        "completed", "failed", "completed", "cancelled", "completed"
    ]
    assert [o.result for o in outcomes] == [8, None, 10, None, 8]
    assert [o.error for o in outcomes[1:4:2]] == ["no such file", "not needed"]
    assert double.sync.wait(jobs) == app.sync.wait(jobs) == outcomes[:3]


def test_the_default_app_waits_too(pgjobs_dsn, monkeypatch, complete):
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)
    try:
        job = pgjobs.sync.enqueue("elsewhere")
        complete(job.id)
        assert pgjobs.sync.wait([job], timeout=SOON)[0].result == job.id
    finally:
        pgjobs.sync.close()


def test_an_end_is_heard_before_the_next_look_for_it(
    app, complete, listening, threads, monkeypatch
):
    monkeypatch.setattr("pgjobs.watching.watcher.LOOK_AGAIN_AFTER_S", [60.0])
    job = app.sync.enqueue("elsewhere")
    wait = threads.submit(app.sync.wait, [job], timeout=SOON)
    listening()
    complete(job.id)
    assert wait.result()[0].result == job.id


def test_many_threads_that_wait_share_one_connection_and_get_their_own_outcomes(
    app, ask, complete, listening, threads
):
    jobs = [app.sync.enqueue("elsewhere") for _ in range(50)]
    waits = [threads.submit(app.sync.wait, [job], timeout=SOON) for job in jobs]
    listening(50)
    assert ask(f"select count(*) from pg_stat_activity where {WAITING}") == [(1,)]
    complete(*(job.id for job in jobs))
    assert [wait.result()[0].result for wait in waits] == [job.id for job in jobs]


def test_a_wait_goes_on_after_its_connection_was_ended(app, ask, complete, listening, threads):
    job = app.sync.enqueue("elsewhere")
    wait = threads.submit(app.sync.wait, [job], timeout=SOON)
    ask("select pg_terminate_backend(%s, 5000)", listening())
    complete(job.id)
    assert wait.result()[0].result == job.id


@pytest.mark.parametrize(("jobs", "within"), [
    (["7"], None), ([-1], None), ([1.5], None), ([1], 5), ([1], timedelta(seconds=-1)),
])
async def test_what_the_async_call_refuses_is_refused_alike(app, jobs, within):
    with pytest.raises(InvalidArgument) as refused:
        await app.wait(jobs, timeout=within)
    with pytest.raises(InvalidArgument) as refused_too:
        app.sync.wait(jobs, timeout=within)
    assert str(refused.value) == str(refused_too.value)
    await app.close()


def test_after_the_timeout_a_job_has_the_status_that_was_seen_last(app):
    job = app.sync.enqueue("elsewhere")
    assert [o.status for o in app.sync.wait([job], timeout=timedelta(seconds=0.5))] == ["pending"]
    assert app.sync.wait([]) == []


def test_a_job_that_a_sync_call_has_committed_and_somebody_deletes_is_gone_at_once(app, ask):
    job = app.sync.enqueue("elsewhere")
    ask("delete from jobs")
    began = time.monotonic()
    assert app.sync.wait([job], timeout=SOON)[0].status == "gone"
    assert time.monotonic() - began < 1.5  # an id never seen takes 2 s


def test_what_ends_the_patience_of_the_waiting_thread_ends_the_wait(app, listening):
    job = app.sync.enqueue("elsewhere")

    def interrupt():
        listening()
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        app.sync.wait([job], timeout=SOON)
    thread.join()
    assert app.sync.wait([job], timeout=timedelta(seconds=0.2))[0].status == "pending"


def test_a_wait_ends_with_an_error_when_its_app_is_closed_and_the_next_one_connects_again(
    app, ask, complete, listening, threads
):
    job = app.sync.enqueue("elsewhere")
    wait = threads.submit(app.sync.wait, [job], timeout=SOON)
    listening()
    app.sync.close()
    with pytest.raises(PgjobsError, match="the app was closed"):
        wait.result()
    assert ask(f"select count(*) from pg_stat_activity where {WAITING}") == [(0,)]
    complete(job.id)
    assert app.sync.wait([job], timeout=SOON)[0].result == job.id


async def test_a_plain_function_that_waits_in_the_last_slot_of_its_worker_is_warned(
    app, caplog, monkeypatch
):
    monkeypatch.setattr("pgjobs.handler.slots._warning.said_at", -1e9)

    @app.job("parent")
    def parent(job: pgjobs.RunningJob[Any]) -> str:
        child = app.sync.enqueue("elsewhere")
        return app.sync.wait([child], timeout=timedelta(milliseconds=300))[0].status

    job = app.sync.enqueue("parent")
    with caplog.at_level(logging.WARNING, "pgjobs.wait"):
        async with app:
            await app.worker(concurrency=1).run(until_empty=True)
    assert app.sync.get(job.id).result == "pending"
    assert any("no free slot" in message for message in caplog.messages)


def test_a_forked_child_waits_by_a_connection_of_its_own(pgjobs_dsn, ask):
    program = """
import os, threading, psycopg
from datetime import timedelta
from pgjobs import App

app = App()
soon = timedelta(seconds=20)
sessions = ("select count(*) from pg_stat_activity where application_name like '% wait'"
            " and datname = current_database()")

def done(job):
    with psycopg.connect(os.environ["PGJOBS_DSN"], autocommit=True) as conn:
        conn.execute("select jobs_start(%s, 'w')", [job.id])
        conn.execute("select jobs_complete(%s)", [job.id])
        return conn.execute(sessions).fetchone()[0]

def waits():
    job = app.sync.enqueue("t")
    while app.sync.wait([job], timeout=timedelta(seconds=0.1))[0].status == "unknown":
        pass  # the connection is being made
    count = done(job)
    return app.sync.wait([job], timeout=soon)[0].status, count

open_wait = app.sync.enqueue("t")
told = []
thread = threading.Thread(target=lambda: told.extend(app.sync.wait([open_wait], timeout=soon)))
thread.start()
print(waits()[0])
if not (child := os.fork()):
    print(*waits(), flush=True)
    app.sync.close()
    os._exit(0)
os.waitpid(child, 0)
print(waits()[0])
done(open_wait)
thread.join()
print(told[0].status)
"""
    assert run(program, pgjobs_dsn) == ["completed", "completed", "2", *["completed"] * 2]


@pytest.mark.parametrize("ending", ["", "os.fork() and os.wait()"])
def test_a_program_ends_while_a_thread_waits_and_leaves_no_session(pgjobs_dsn, until, ending):
    program = f"""
import os, threading, time
from pgjobs import App

app = App()
job = app.sync.enqueue("t")
threading.Thread(target=lambda: app.sync.wait([job]), daemon=True).start()
time.sleep(1)
threading.excepthook = lambda args: None
print(os.getpid(), flush=True)
{ending}
"""
    assert run(program, pgjobs_dsn)
    until(f"select 1 where not exists (select from pg_stat_activity where {WAITING})")
