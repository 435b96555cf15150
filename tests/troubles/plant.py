"""Plants twelve troubles among many jobs: python tests/troubles/plant.py DSN [JOBS]"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
JOBS = 1_000_000
# What tells of the troubles, by check of the doctor: what its detail names.
ON_THE_OVERVIEW = {
    "paused queues": ["letters", "the mail server moves"],
    "jobs without a handler": ["resize in queue default"],
    "throttled queues": ["api (1 throttled; rate 1", "orders (1 throttled; group customer-7"],
    "groups held by a retry": ["account-9"],
    "suspect jobs": ["report, lost 2 times"],
    "held keys": ["pending, holds the key"],
    "jobs blocked for ever": ["1 of its 1 parents did not complete"],
    "overdue schedules": ["nightly"],
    "oldest snapshot": ["forgotten psql"],
    "workers that hang": ["seen 00:2"],
    "failing types": ["import (30 of 100 attempts, 30 %)"],
}
# Each statement is given the number of jobs: 8 tenths completed, 1 failed, 1 due in a month.
FILL = (
    """insert into jobs (queue, job_type, status, attempt, run_at, finished_at)
    select 'q' || n % 20, 'background' || n % 50, case when n % 9 = 0 then 'failed'
        else 'completed' end, 1, now() - '3 days'::interval, now() - '2 days'::interval
        + n * '1 ms'::interval
    from generate_series(1, $1::int * 9 / 10) n""",
    """insert into jobs (queue, job_type, run_at)
    select 'q' || n % 20, 'background' || n % 50, now() + '30 days'::interval
    from generate_series(1, $1::int / 10) n""",
)


@dataclass(frozen=True)
class Held:
    """A job that is held back: by what, and the reason that ``jobs_why`` gives first."""

    trouble: str
    job_id: int
    reason: str


@dataclass(frozen=True)
class Troubles:
    """The jobs that are held back, and the processes behind the other troubles."""

    held: list[Held]
    hanging: "subprocess.Popen[bytes]"
    snapshot: asyncpg.Connection


async def let_snapshots_age_at_once(conn: asyncpg.Connection) -> None:
    """Lets a snapshot count as old after one second instead of five minutes: nobody can age it."""
    await conn.execute("""
        do $$ begin
            execute replace(pg_get_functiondef('_jobs_doctor_vacuum'::regproc),
                            $q$'00:05:00'$q$, $q$'00:00:01'$q$);
        end $$""")


def start_worker(dsn: str, **environment: str) -> "subprocess.Popen[bytes]":
    """Starts a worker of the app in trouble."""
    return subprocess.Popen(
        [sys.executable, "-m", "pgjobs", "worker", "app:app", "--lease", "1h"],
        cwd=HERE, env={**os.environ, "PYTHONPATH": str(ROOT), "PGJOBS_DSN": dsn, **environment},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


@asynccontextmanager
async def planted(dsn: str, jobs: int = JOBS) -> AsyncIterator[Troubles]:
    """Plants the troubles; at the end, stops the processes behind them."""
    conn = await asyncpg.connect(dsn)
    snapshot = await asyncpg.connect(dsn, server_settings={"application_name": "forgotten psql"})
    worker = start_worker(dsn, BROKEN="yes")
    try:
        await snapshot.execute("begin isolation level repeatable read; select from jobs limit 1")
        for statement in FILL:
            await conn.execute(statement, jobs)
        await _let_run(conn)
        worker.send_signal(signal.SIGSTOP)
        held = await _hold_back(conn)
        await _age(conn)
        await conn.execute("analyze")
        yield Troubles(held, worker, snapshot)
    finally:
        worker.kill()
        worker.wait()
        snapshot.terminate()
        await conn.close()


async def until(
    conn: asyncpg.Connection, query: str, *arguments: object, patience_s: float = 30
) -> None:
    """Waits until a query gives true."""
    async with asyncio.timeout(patience_s):
        while not await conn.fetchval(query, *arguments):
            await asyncio.sleep(0.02)


async def _let_run(conn: asyncpg.Connection) -> None:
    """What the worker does before it hangs: it runs, spends the rate, and fails."""
    await conn.execute("""
        select jobs_limit('orders', max_running_per_group => 1);
        select jobs_limit('api', rate_count => 1, rate_period => '1 hour');
        select jobs_limit('accounts', in_order => true)""")
    await _enqueue(conn, "ship", queue="orders", group_key="customer-7",
                   payload={"runs_for_s": 9999})
    await _enqueue(conn, "call", queue="api")
    for line in range(100):
        await _enqueue(conn, "import", payload={"line": line}, backoff=["1 hour"])
    await until(conn, """select count(*) filter (where status = 'completed') = 71
        and count(*) filter (where status = 'pending' and retry_count = 1) = 30
        and count(*) filter (where status = 'processing') = 1
        from jobs where job_type in ('ship', 'call', 'import')""")
    # The worker tells what has ended with its next ticks.
    await until(conn, "select sum(jobs) = 100 from jobs_history where job_type = 'import'")


async def _hold_back(conn: asyncpg.Connection) -> list[Held]:
    """Jobs that no worker starts, each as it would come about."""
    held = []

    async def hold(trouble: str, job_id: int, reason: str) -> None:
        held.append(Held(trouble, job_id, reason))

    await conn.execute("select jobs_pause('letters', reason => 'the mail server moves')")
    await hold("paused", await _enqueue(conn, "mail", queue="letters"), "paused")
    await hold("no worker for a type", await _enqueue(conn, "resize"), "no worker")
    await hold("group full", await _enqueue(
        conn, "ship", queue="orders", group_key="customer-7"), "group")
    await hold("rate used up", await _enqueue(conn, "call", queue="api"), "rate")

    await _failed(conn, "book", queue="accounts", group_key="account-9", backoff=["1 hour"])
    await hold("account held by a retry", await _enqueue(
        conn, "book", queue="accounts", group_key="account-9"), "group")

    suspect = await _enqueue(conn, "report", backoff=["1 hour"])
    for _ in range(2):
        await conn.execute("select jobs_start($1, 'crashing')", suspect)
        await conn.execute("select jobs_recover('crashing')")
    await hold("crashed twice", suspect, "suspect")

    await hold("key held", await _failed(
        conn, "report", unique_key="2026-11", max_retries=0), "key held")
    await _enqueue(conn, "report", unique_key="2026-11", run_at="tomorrow")

    parent = await _enqueue(conn, "report", max_retries=0)
    child = await _enqueue(conn, "report", depends_on=[parent], on_parent_failed="wait")
    await conn.execute("select jobs_start($1, 'other')", parent)
    await conn.execute("select jobs_fail($1, 'no data')", parent)
    await conn.execute("select jobs_recover()")  # counts the parents, as a tick does
    await hold("parent failed", child, "parent failed")

    await conn.execute("select jobs_schedule('nightly', 'report', cron => '0 3 * * *')")
    return held


async def _age(conn: asyncpg.Connection) -> None:
    """Moves the troubles into the past, so that each has lasted for twenty minutes."""
    await conn.execute("""
        update jobs_schedules set next_at = now() - interval '20 minutes';
        update jobs_worker_ticks set seen_at = seen_at - interval '20 minutes';
        update jobs set created_at = created_at - interval '20 minutes',
            run_at = run_at - case when run_at <= now() then interval '20 minutes' else '0' end
        where status in ('pending', 'blocked') and job_type not like 'background%'""")


async def _failed(conn: asyncpg.Connection, job_type: str, **fields: object) -> int:
    job_id = await _enqueue(conn, job_type, **fields)
    await conn.execute("select jobs_start($1, 'other')", job_id)
    await conn.execute("select jobs_fail($1, 'no such record')", job_id)
    return job_id


async def _enqueue(conn: asyncpg.Connection, job_type: str, **fields: object) -> int:
    job_id: int = await conn.fetchval(
        "select jobs_enqueue_many($1)", json.dumps([{"job_type": job_type, **fields}])
    )
    return job_id


async def _main(dsn: str, jobs: int) -> None:
    async with planted(dsn, jobs) as troubles:
        for held in troubles.held:
            print(f"{held.trouble}: job {held.job_id}")
        print("The troubles stand until Ctrl-C: pgjobs doctor, or pgjobs web, shows them.")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else JOBS))
