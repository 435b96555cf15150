"""A database that restarts, and connections that are cut, under working workers."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest
from chaos.load import LONGEST_PAUSE, Size, add, begun, counted, ended
from chaos.processes import Processes, Serve, eventually
from chaos.report import Note
from chaos.workload import LEDGER

from pgjobs import App
from pgjobs.connection.link import BROKEN

# The connections for claims, for ends and for LISTEN, and the pool of the handlers.
KINDS = ["claim", "settle", "listen", "workload.py"]
CUT = """select pg_terminate_backend(pid) from (
    select pid from pg_stat_activity
    where datname = current_database() and application_name like 'pgjobs % ' || $1
        or datname = current_database() and application_name = 'pgjobs ' || $1
    order by random() limit 1) one"""
DONE = "select id from jobs where status = 'completed'"


@pytest.mark.fault(
    3,
    "pg_terminate_backend on a worker's connections, at random, for 60 s",
    "the worker survives, all jobs completed",
)
async def test_cut_connections_are_made_again_and_every_job_ends(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    worker = workers.start(concurrency=20)
    await add(ledger, size.jobs, 20 * size.seconds / size.jobs)
    # Cut nothing earlier: a worker that cannot connect at its start exits.
    await begun(ledger, 50)
    cut = dict.fromkeys(KINDS, 0)
    until = asyncio.get_running_loop().time() + size.seconds
    while asyncio.get_running_loop().time() < until:
        kind = min(KINDS, key=lambda name: (cut[name], random.random()))
        cut[kind] += bool(await ledger.fetchval(CUT, kind))
        await asyncio.sleep(random.uniform(0.02, 0.3))
    await ended(ledger)
    counts = await counted(ledger, size.jobs)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice,
            seconds=await ledger.fetchval(LONGEST_PAUSE),
            what=f"the longest pause; {sum(cut.values())} cuts")
    assert (counts.lost, counts.stale) == (0, 0)
    assert worker.poll() is None
    assert min(cut.values()) > 0


@pytest.mark.fault(
    4,
    "PostgreSQL stopped with `-m immediate` under load, 10 s down",
    "workers reconnect by themselves; all jobs completed; nothing acknowledged is undone",
)
async def test_a_crash_of_the_database_loses_no_job_and_undoes_no_completion(
    serve: Serve, workers: Processes, size: Size, figures: Note
) -> None:
    server = serve()
    conn = await _prepared(server.dsn)
    alive = [workers.start(dsn=server.dsn) for _ in range(2)]
    await add(conn, size.jobs, 0.05)
    await begun(conn, size.jobs // 3)
    completed: set[int] = set()
    # Read as late as possible: a completion that a session has seen must be on the disk.
    for _ in range(5):
        completed = {row["id"] for row in await conn.fetch(DONE)}
        await asyncio.sleep(0.05)
    conn.terminate()
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.sleep(10 if size.times > 2 else 1)
    await asyncio.to_thread(server.start)
    conn = await asyncpg.connect(server.dsn)
    crashed_at = await conn.fetchval("select pg_postmaster_start_time()")
    assert completed <= {row["id"] for row in await conn.fetch(DONE)}
    again = "select count(*) from ledger where at > $1 and job_id = any ($2::bigint[])"
    took = await eventually(
        lambda: conn.fetchval("select count(*) > 0 from ledger where at > $1", crashed_at),
        "jobs run again",
    )
    await ended(conn)
    counts = await counted(conn, size.jobs)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice,
            twice_why="of the jobs that were running", seconds=took,
            what="from the server's start to the next run")
    assert (counts.lost, counts.retries, counts.stale) == (0, 0, 0)
    assert completed
    assert await conn.fetchval(again, crashed_at, list(completed)) == 0
    assert [worker.poll() for worker in alive] == [None, None]
    await conn.close()


@pytest.mark.fault(
    14,
    "PostgreSQL crashes five times while four producers enqueue, and roll back some jobs",
    "a job acknowledged before a crash is there after it; a rollback leaves nothing",
)
async def test_acknowledged_jobs_are_there_after_a_crash_and_a_rollback_leaves_no_job(
    serve: Serve, size: Size, figures: Note
) -> None:
    server = serve()
    conn = await _prepared(server.dsn)
    await conn.close()
    acknowledged: set[int] = set()
    withdrawn: list[int] = []
    crashes = max(1, size.times // 2)
    async with asyncio.TaskGroup() as producers:
        for _ in range(4):
            producers.create_task(_produce(server.dsn, size.jobs, acknowledged, withdrawn))
        for number in range(crashes):
            while len(acknowledged) < size.jobs * (number + 1) / (crashes + 1):
                await asyncio.sleep(0.005)
            await asyncio.to_thread(server.restart, "immediate")
    conn = await asyncpg.connect(server.dsn)
    found = {row["id"] for row in await conn.fetch("select id from jobs")}
    figures(jobs=len(acknowledged), lost=len(acknowledged - found))
    assert acknowledged <= found
    assert withdrawn
    assert await conn.fetchval("select count(*) from jobs where job_type = 'withdrawn'") == 0
    await conn.close()


async def _produce(dsn: str, jobs: int, acknowledged: set[int], withdrawn: list[int]) -> None:
    """Enqueues one job, a batch, and jobs in a transaction that is rolled back."""
    async with App(dsn) as app:
        while len(acknowledged) < jobs:
            try:
                acknowledged.add((await app.enqueue("work", {"seconds": 0})).id)
                acknowledged.update(await app.enqueue_many("work", [{"seconds": 0}] * 10))
                async with (await app.pool()).acquire() as conn:
                    transaction = conn.transaction()
                    await transaction.start()
                    ids = await app.enqueue_many("withdrawn", [None] * 3, conn=conn)
                    await transaction.rollback()
                    withdrawn += ids
            except (*BROKEN, asyncpg.PostgresError):
                await asyncio.sleep(0.1)  # not acknowledged: the jobs may be there or not


async def _prepared(dsn: str) -> Any:
    conn = await asyncpg.connect(dsn)
    await conn.execute(LEDGER)
    return conn
