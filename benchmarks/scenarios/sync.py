"""``.sync.enqueue`` against a bare INSERT: in a caller's transaction, and by eight threads."""

import asyncio
import threading
import time
from collections.abc import Callable

import psycopg

from pgjobs import App

from ..bench import Bench
from ..systems import SYSTEMS

THREADS = 8
# As in enqueue-sequential.
INSERT = "insert into jobs (job_type, payload) values (%s, %s::jsonb) returning *"
ARGUMENTS = ["noop", '{"n": 1}']
OURS, BARE = "sync.enqueue", "INSERT"
IN_TRANSACTION = "in one transaction of psycopg"
WITHOUT_CONN = f"{THREADS} threads, a commit each"
ON_ONE, ON_EACH = "on one connection", "a connection each"


async def sync(bench: Bench) -> None:
    """All calls are made in threads, beside no worker."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        async with bench.database(SYSTEMS["pgjobs"]) as database:
            await bench.settle()
            await asyncio.to_thread(_measure, bench, bench.dsn(database), jobs)
    for over, under in (
        ((OURS, IN_TRANSACTION), (BARE, IN_TRANSACTION)),
        ((OURS, WITHOUT_CONN), (f"{BARE} {ON_ONE}", WITHOUT_CONN)),
        ((OURS, WITHOUT_CONN), (f"{BARE} {ON_EACH}", WITHOUT_CONN)),
    ):
        bench.table.ratio(
            f"{over[0]} against {under[0]}, {over[1]}", ("pgjobs", *over), ("pgjobs", *under)
        )


def _measure(bench: Bench, dsn: str, jobs: int) -> None:
    app = App(dsn)
    with psycopg.connect(dsn) as conn:
        for measure, call in (
            (BARE, lambda: conn.execute(INSERT, ARGUMENTS).fetchone()),
            (OURS, lambda: app.sync.enqueue("noop", {"n": 1}, conn=conn)),
        ):
            began = time.perf_counter()
            for _ in range(jobs):
                call()
            rate = jobs / (time.perf_counter() - began)
            conn.commit()
            bench.table.add("pgjobs", measure, rate, "per s", setting=IN_TRANSACTION)
    with psycopg.connect(dsn, autocommit=True) as conn:
        lock = threading.Lock()

        def on_one() -> None:
            with lock:
                conn.execute(INSERT, ARGUMENTS).fetchone()

        _threads(bench, f"{BARE} {ON_ONE}", jobs, lambda: on_one)
    opened: list[psycopg.Connection] = []

    def on_each() -> Callable[[], object]:
        own = psycopg.connect(dsn, autocommit=True)
        opened.append(own)
        return lambda: own.execute(INSERT, ARGUMENTS).fetchone()

    _threads(bench, f"{BARE} {ON_EACH}", jobs, on_each)
    for own in opened:
        own.close()
    _threads(bench, OURS, jobs, lambda: lambda: app.sync.enqueue("noop", {"n": 1}))
    app.sync.close()


def _threads(
    bench: Bench, measure: str, jobs: int, make: Callable[[], Callable[[], object]]
) -> None:
    """Lets each thread make its call, and call it."""
    ready = threading.Barrier(THREADS + 1)

    def run() -> None:
        call = make()
        call()
        ready.wait()
        for _ in range(jobs // THREADS):
            call()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    rate = jobs / (time.perf_counter() - began)
    bench.table.add("pgjobs", measure, rate, "per s", setting=WITHOUT_CONN)
