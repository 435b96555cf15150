"""One app in several event loops and threads: each loop has its own connections, and ends them."""

import asyncio
import gc
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import asyncpg
import psycopg
import pytest

from pgjobs import App


@pytest.fixture
def sessions(pgjobs_dsn):
    """How many other sessions there are, once the ended ones are gone."""

    def count(expected=0, seconds=5.0):
        with psycopg.connect(pgjobs_dsn, autocommit=True) as connection:
            deadline = time.monotonic() + seconds
            while True:
                (found,) = connection.execute(
                    "select count(*) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                ).fetchone()
                if found == expected or time.monotonic() > deadline:
                    return found
                time.sleep(0.02)

    return count


def jobs(dsn):
    with psycopg.connect(dsn) as connection:
        return connection.execute("select count(*) from jobs").fetchone()[0]


async def every_way(app):
    await app.enqueue("t")
    await app.enqueue("t", unique_key=f"{id(asyncio.get_running_loop())} {jobs(app.dsn)}")
    await (await app.pool()).fetchval("select 1")


def test_threads_share_an_app_each_in_event_loops_of_its_own(pgjobs_dsn, sessions):
    app = App(pgjobs_dsn)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # as on a busy machine
    try:
        with ThreadPoolExecutor(6) as threads:
            calls = [threads.submit(lambda: asyncio.run(app.enqueue("t"))) for _ in range(120)]
            ids = {call.result(timeout=60).id for call in calls}
    finally:
        sys.setswitchinterval(interval)
    assert len(ids) == jobs(pgjobs_dsn) == 120
    assert sessions() == 0


def test_an_event_loop_that_asyncio_run_ends_leaves_no_session(pgjobs_dsn, sessions):
    app = App(pgjobs_dsn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            asyncio.run(every_way(app))
            gc.collect()
    assert sessions() == 0


def test_a_connection_that_is_not_given_back_does_not_delay_the_end_of_asyncio_run(
    pgjobs_dsn, sessions
):
    app = App(pgjobs_dsn)

    async def forget():
        return await (await app.pool()).acquire()

    asyncio.run(asyncio.wait_for(forget(), 5))
    assert sessions() == 0


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_an_event_loop_that_is_only_closed_or_forgotten_leaves_no_session(
    pgjobs_dsn, sessions, how
):
    app = App(pgjobs_dsn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(3):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(every_way(app))
            if how == "closed":
                loop.close()
                assert sessions() == 0
            del loop
            gc.collect()
            assert sessions() == 0
    asyncio.run(every_way(app))


def test_close_closes_the_connections_of_its_own_event_loop_only(pgjobs_dsn, sessions):
    app = App(pgjobs_dsn)
    other = asyncio.new_event_loop()
    other.run_until_complete(every_way(app))
    used = sessions(3, seconds=0.1)

    async def use_and_close():
        async with app:
            await every_way(app)
        assert sessions(used) == used

    asyncio.run(use_and_close())
    other.run_until_complete(every_way(app))
    other.run_until_complete(app.close())
    other.close()
    assert sessions() == 0


def test_workers_in_several_threads_have_each_what_their_own_lifespan_yielded(pgjobs_dsn):
    ran = []
    both = threading.Barrier(2, timeout=30)

    @asynccontextmanager
    async def lifespan(app):
        connection = await asyncpg.connect(pgjobs_dsn)
        yield {"connection": connection, "loop": asyncio.get_running_loop()}
        await connection.close()

    app = App(pgjobs_dsn, lifespan=lifespan)

    @app.job("t")
    async def handler(job):
        both.wait()  # both lifespans are open
        assert job.app.state.loop is asyncio.get_running_loop()
        ran.append(await job.app.state.connection.fetchval("select $1::bigint", job.id))
        async with job.transaction():
            pass

    for _ in range(2):
        asyncio.run(app.enqueue("t"))

    def work():
        asyncio.run(app.worker(concurrency=1).run(until_empty=True))

    with ThreadPoolExecutor(2) as threads:
        for run in [threads.submit(work) for _ in range(2)]:
            run.result(timeout=60)
    assert len(ran) == 2


async def test_two_workers_in_one_event_loop_have_each_what_their_own_lifespan_yielded(
    app, pgjobs_dsn
):
    numbers = iter(range(2))
    seen = {}

    @asynccontextmanager
    async def lifespan(app):
        yield {"number": next(numbers)}

    app = App(pgjobs_dsn, lifespan=lifespan)
    two = asyncio.Barrier(2)

    @app.job("t")
    async def handler(job):
        await two.wait()
        seen[job.worker] = job.app.state.number

    async with app:
        await app.enqueue_many("t", [None] * 2)
        workers = [app.worker(name=name, concurrency=1) for name in "ab"]
        await asyncio.gather(*(worker.run(until_empty=True) for worker in workers))
    assert seen == {"a": 0, "b": 1}
