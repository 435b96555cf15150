"""A database that restarts, and connections that are cut, under working workers."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import pytest
from end_to_end.processes import eventually
from end_to_end.workload import LEDGER

from pgjobs import App, migrate
from pgjobs.embedded import EmbeddedPostgres

WORKLOAD = os.path.join(os.path.dirname(__file__), "workload.py")
DONE = "select count(*) from jobs where status = 'completed'"
LEFT = "select count(*) from jobs where status in ('pending', 'processing')"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, which flushes to disk as a real one."""
    with EmbeddedPostgres(bin=request.config.getoption("--pg-bin")) as started:
        migrate(started.dsn)
        yield started


@pytest.fixture
def worker(server: EmbeddedPostgres) -> Iterator[subprocess.Popen[bytes]]:
    """A worker's process on it."""
    process = subprocess.Popen(
        [sys.executable, WORKLOAD, "20"],
        env={**os.environ, "PGJOBS_DSN": server.dsn,
             "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.dirname(WORKLOAD)))},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield process
    process.terminate()
    assert process.wait(timeout=30) == 0


async def connected(server: EmbeddedPostgres) -> asyncpg.Connection:
    connection = await asyncpg.connect(server.dsn)
    await connection.execute(LEDGER)
    return connection


async def test_a_restart_of_the_database_loses_no_job_and_undoes_no_completion(
    server: EmbeddedPostgres, worker: subprocess.Popen[bytes]
) -> None:
    connection = await connected(server)
    async with App(server.dsn) as app:
        acknowledged = await app.enqueue_many("work", [{"seconds": 0.01}] * 2_000)
    await eventually(lambda: connection.fetchval(f"{DONE} having count(*) > 300"), "300 are done")
    completed = await connection.fetch("select id from jobs where status = 'completed'")
    connection.terminate()
    await asyncio.to_thread(server.restart, mode="immediate")
    connection = await asyncpg.connect(server.dsn)
    still = "select count(*) from jobs where status = 'completed' and id = any($1::bigint[])"
    assert await connection.fetchval(still, [row["id"] for row in completed]) == len(completed)
    await eventually(lambda: _none_left(connection), "all have ended", seconds=90)
    assert await connection.fetchval(DONE) == len(acknowledged)
    assert worker.poll() is None
    await connection.close()


async def _none_left(connection: asyncpg.Connection) -> bool:
    return await connection.fetchval(LEFT) == 0


async def test_cut_connections_are_made_again_and_every_job_ends(
    server: EmbeddedPostgres, worker: subprocess.Popen[bytes]
) -> None:
    connection = await connected(server)
    async with App(server.dsn) as app:
        await app.enqueue_many("work", [{"seconds": 0.02}] * 2_000)
    # While it starts, a worker that cannot connect says so and exits.
    await eventually(lambda: connection.fetchval(f"{DONE} having count(*) > 50"), "50 are done")
    for _ in range(20):
        await connection.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
            where application_name like 'pgjobs %' order by random() limit $1""",
            random.randint(1, 2),
        )
        await asyncio.sleep(0.1)
    await eventually(lambda: _none_left(connection), "all have ended", seconds=120)
    assert await connection.fetchval(DONE) == 2_000
    assert worker.poll() is None
    await connection.close()
