"""The connection of the ``.sync`` calls without ``conn``: when it ends, what a call then says."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from chaos.proxy import Proxy

import pgjobs
from pgjobs import App, ConnectionLost
from pgjobs.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
PATIENCE_S = 0.6
HOUR = timedelta(hours=1)
OWN = "application_name like 'pgjobs %' and datname = current_database()"


@pytest.fixture
def app(pgjobs_dsn):
    made = App(pgjobs_dsn)
    yield made
    made.sync.close()


@pytest.fixture
def ask(pgjobs_dsn):
    """ask("select 1") by a connection of its own."""
    with psycopg.connect(pgjobs_dsn, autocommit=True) as conn:

        def run(query):
            done = conn.execute(query)
            return done.fetchall() if done.description else []

        yield run


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr("pgjobs.connection.patience.PATIENCE_S", PATIENCE_S)


@pytest.fixture
async def through(pgjobs_dsn, short):
    """An app behind a proxy, and the proxy."""
    async with Proxy(pgjobs_dsn) as proxy:
        app = App(proxy.dsn)
        yield app, proxy
        app.sync.close()


def run(program, dsn):
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PGJOBS_DSN": dsn, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("verb", ["enqueue", "enqueue_many", "get", "list", "cancel", "retry"])
def test_a_call_after_the_connection_was_ended_makes_another(app, ask, verb):
    job = app.sync.cancel(app.sync.enqueue("t").id)
    ask(f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {OWN}")
    {
        "enqueue": lambda: app.sync.enqueue("u"),
        "enqueue_many": lambda: app.sync.enqueue_many("u", [1], delay=HOUR),
        "get": lambda: app.sync.get(job.id),
        "list": app.sync.list,
        "cancel": lambda: app.sync.cancel(job.id),
        "retry": lambda: app.sync.retry(job.id),
    }[verb]()
    assert ask("select count(*) from jobs where job_type = 'u'") == [("enqueue" in verb,)]
    assert ask(f"select count(*) from pg_stat_activity where {OWN}") == [(1,)]


def test_after_a_restart_of_the_server_the_next_call_adds_its_job_once():
    with EmbeddedPostgres() as server:
        pgjobs.migrate(server.dsn)
        app = App(server.dsn)
        app.sync.enqueue("t", 1)
        for mode in ("immediate", "fast"):
            server.restart(mode)
            app.sync.enqueue("t", mode)
        assert [job.payload for job in app.sync.list()] == ["fast", "immediate", 1]
        app.sync.close()


def test_a_connection_that_ends_in_the_statement_says_that_the_job_may_exist(app, pgjobs_dsn, ask):
    app.sync.enqueue("t")
    with psycopg.connect(pgjobs_dsn) as locker, psycopg.connect(pgjobs_dsn) as killer:
        locker.execute("lock table jobs")
        raised = []

        def enqueue():
            try:
                app.sync.enqueue("t")
            except ConnectionLost as error:
                raised.append(error)

        thread = threading.Thread(target=enqueue)
        thread.start()
        while not killer.execute(
            f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {OWN}"
            " and wait_event_type = 'Lock'"
        ).fetchall():
            time.sleep(0.01)
            killer.rollback()
        thread.join()
    assert raised[0].may_exist
    assert "look for it, or give a unique_key" in str(raised[0])
    assert isinstance(raised[0].__cause__, psycopg.Error)
    app.sync.enqueue("t")
    assert ask("select count(*) from jobs") == [(2,)]


@pytest.mark.parametrize("dsn", ["postgresql:///x?host=/nowhere", "postgresql://u@127.0.0.1:1/x"])
def test_a_server_that_cannot_be_reached_has_added_no_job(dsn):
    with pytest.raises(ConnectionLost, match="the job was not added: try again once a") as lost:
        App(dsn).sync.enqueue("t")
    assert not lost.value.may_exist
    assert isinstance(lost.value.__cause__, psycopg.Error)


def test_a_server_that_became_read_only_has_added_no_job_and_is_left(app, ask):
    app.sync.enqueue("t")
    database = ask("select current_database()")[0][0]
    ask(f"alter database {database} set default_transaction_read_only = on")
    ask(f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {OWN}")
    with pytest.raises(ConnectionLost, match="the job was not added") as lost:
        app.sync.enqueue("t")
    assert not lost.value.may_exist
    ask("set default_transaction_read_only = off")
    ask(f"alter database {database} reset default_transaction_read_only")
    app.sync.enqueue("t")


def test_a_statement_that_takes_too_long_is_given_up(app, pgjobs_dsn, short):
    app.sync.enqueue("t")
    with psycopg.connect(pgjobs_dsn) as locker:
        locker.execute("lock table jobs")
        began = time.monotonic()
        with pytest.raises(ConnectionLost, match="no answer in time") as lost:
            app.sync.enqueue("t")
        assert PATIENCE_S * 0.9 < time.monotonic() - began < PATIENCE_S + 0.5
        assert lost.value.may_exist
    assert app.sync.enqueue("t")


@pytest.mark.parametrize("kind", ["one", "many", "many with delay"])
async def test_a_call_on_a_line_that_swallows_every_byte_gives_up(through, kind):
    app, proxy = through

    def call():
        if kind == "one":
            return app.sync.enqueue("t")
        return app.sync.enqueue_many("t", [1], delay=None if kind == "many" else HOUR)

    await asyncio.to_thread(call)
    assert proxy.swallow("") == 1
    with pytest.raises(ConnectionLost) as lost:
        await asyncio.wait_for(asyncio.to_thread(call), 5)
    # The delay of many jobs is looked up before any job is sent.
    assert lost.value.may_exist == (kind != "many with delay")
    assert await asyncio.to_thread(call)


def test_a_call_waits_no_longer_for_another_thread_than_for_the_server(app, pgjobs_dsn, short):
    app.sync.enqueue("t")
    with psycopg.connect(pgjobs_dsn) as locker:
        locker.execute("lock table jobs")
        raised = []

        def enqueue():
            try:
                app.sync.enqueue("t")
            except ConnectionLost as error:
                raised.append(error.may_exist)

        threads = [threading.Thread(target=enqueue) for _ in range(5)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 2 * PATIENCE_S + 1
    assert len(raised) == 5
    assert False in raised


def test_a_forked_child_makes_a_connection_of_its_own_and_leaves_its_parents_alone(pgjobs_dsn):
    program = """
import multiprocessing, os, threading, psycopg
from pgjobs import App

app = App()
before = app.sync.enqueue("by the parent").id
held = threading.Event()

def hold():
    with app._kept._lock:
        held.set()
        done.wait()

done = threading.Event()
threading.Thread(target=hold).start()
held.wait()

def in_child():
    app.sync.enqueue("by the child")
    app.sync.enqueue("by the child")

child = multiprocessing.get_context("fork").Process(target=in_child)
child.start()
child.join(20)
done.set()
print(child.exitcode)
app.sync.enqueue("by the parent")
print(len(app.sync.list()))
with psycopg.connect(os.environ["PGJOBS_DSN"]) as conn:
    print(*conn.execute("select count(*) from pg_stat_activity where application_name ~ 'pgjobs'"
                        " and datname = current_database()").fetchone())
"""
    assert run(program, pgjobs_dsn) == ["0", "4", "1"]


def test_the_server_notices_the_death_of_a_parent_whose_child_lives_on(pgjobs_dsn, ask):
    program = """
import os, time
from pgjobs import App

app = App()
app.sync.enqueue("t")
if not (child := os.fork()):
    os.close(1)
    os.close(2)
    time.sleep(20)
    os._exit(0)
print(child)
"""
    child = int(run(program, pgjobs_dsn)[0])
    try:
        deadline = time.monotonic() + 10
        while ask(f"select from pg_stat_activity where {OWN}"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(child, 9)


def test_the_connection_is_closed_at_exit_and_with_its_app(pgjobs_dsn, ask):
    program = """
import gc, warnings
warnings.simplefilter("error")
from pgjobs import App

app = App()
app.sync.enqueue("t")
for _ in range(3):
    App().sync.enqueue("t")
gc.collect()
import os, psycopg
with psycopg.connect(os.environ["PGJOBS_DSN"]) as conn:
    print(*conn.execute("select count(*) from pg_stat_activity where application_name ~ 'pgjobs'"
                        " and datname = current_database()").fetchone())
"""
    assert run(program, pgjobs_dsn) == ["1"]


def test_an_app_that_is_given_another_database_leaves_the_connection_to_the_old_one(
    app, empty_dsn
):
    pgjobs.migrate(empty_dsn)
    app.sync.enqueue("t")
    app.connect_to(empty_dsn)
    assert app.sync.list() == []


def test_importing_pgjobs_loads_no_psycopg():
    assert run("import sys, pgjobs; print('psycopg' in sys.modules)", "") == ["False"]
