"""A worker process whose handlers write each run to a ledger (see --help)."""

import argparse
import asyncio
import logging
import os
import time
from datetime import timedelta
from multiprocessing import get_context
from typing import Any
from uuid import UUID, uuid4

import psycopg

from pgjobs import App, RunningJob
from pgjobs.worker.outage import Outage

LEDGER = """
    create table if not exists ledger (
        run uuid primary key, job_id bigint, attempt int, pid int,
        at timestamptz default clock_timestamp(), stopped_at timestamptz);
    create table if not exists writes (job_id bigint)"""

app = App()
Load = RunningJob[dict[str, float]]


async def note(job: RunningJob[Any]) -> UUID:
    """Writes the run to the ledger, in a transaction of its own that nothing rolls back.

    Writes one row per run, also if the connection is cut before the answer comes.
    """
    run, pool = uuid4(), await app.pool()
    await Outage("ledger").persist(lambda: pool.execute(
        "insert into ledger values ($1, $2, $3, $4) on conflict do nothing",
        run, job.id, job.attempt, os.getpid(),
    ), "the ledger")
    return run


@app.job("work")
async def work(job: Load) -> dict[str, UUID]:
    """Takes the seconds of its payload; the result names the run that completed the job."""
    return await take(job, job.payload["seconds"])


@app.job("once")
async def once(job: Load) -> dict[str, UUID]:
    """Takes the seconds of its payload at the first attempt only."""
    return await take(job, job.payload["seconds"] if job.attempt == 1 else 0)


async def take(job: Load, seconds: float) -> dict[str, UUID]:
    run = await note(job)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        pool = await app.pool()
        await pool.execute("update ledger set stopped_at = clock_timestamp() where run = $1", run)
        raise
    return {"run": run}


@app.job("fail", max_retries=1)
async def fail(job: Load) -> None:
    """Fails at each attempt."""
    await note(job)
    raise RuntimeError("as it should")


@app.job("write")
async def write(job: Load) -> None:
    """Writes in the transaction of the job, and commits late."""
    await note(job)
    async with job.transaction() as conn:
        await conn.execute("insert into writes values ($1)", job.id)
        await asyncio.sleep(job.payload["seconds"])


@app.job("later")
async def later(job: Load) -> None:
    """Enqueues a job that is due a second later by the clock of the database."""
    await note(job)
    await app.enqueue("work", {"seconds": 0}, delay=timedelta(seconds=1))


@app.job("block")
async def block(job: Load) -> None:
    """Blocks the event loop at its first attempt."""
    await note(job)
    if job.attempt == 1:
        time.sleep(job.payload["seconds"])  # noqa: ASYNC251 - the fault itself


@app.job("large")
async def large(job: Load) -> str:
    """Returns a result of that many characters."""
    await note(job)
    return "x" * int(job.payload["characters"])


@app.job("bulky")
async def bulky(job: RunningJob[dict[str, str]]) -> dict[str, UUID]:
    """Has a large payload; the result names the run that completed the job."""
    return {"run": await note(job)}


@app.job("poison")
async def poison(job: Load) -> None:
    """Kills its process, as a broken C extension would."""
    await note(job)
    await asyncio.sleep(0.05)
    os._exit(1)


@app.job("fork")
async def fork(job: Load) -> None:
    """Forks a child that it ends, and one that lives on when the worker has died."""
    await note(job)
    forking = get_context("fork")
    ended = forking.Process(target=time.sleep, args=(600,))
    ended.start()
    ended.terminate()
    await asyncio.to_thread(ended.join)
    if job.attempt == 1:
        forking.Process(target=time.sleep, args=(60,), daemon=True).start()
        await asyncio.sleep(job.payload["seconds"])


def take_plainly(job: Load) -> dict[str, UUID]:
    """Takes the seconds of its payload, and says when it ends, whatever is asked of it."""
    run = uuid4()
    with psycopg.connect(os.environ["PGJOBS_DSN"], autocommit=True) as conn:
        conn.execute("insert into ledger values (%s, %s, %s, %s)",
                     (run, job.id, job.attempt, os.getpid()))
        time.sleep(job.payload["seconds"])
        conn.execute("update ledger set stopped_at = clock_timestamp() where run = %s", (run,))
    return {"run": run}


@app.job("thread")
def in_thread(job: Load) -> dict[str, UUID]:
    return take_plainly(job)


@app.job("overdue", timeout=timedelta(seconds=0.2))
def overdue(job: Load) -> None:
    """Outlives its timeout, and fails at its first attempt."""
    take_plainly(job)
    if job.attempt == 1:
        job.raise_if_stopping()


@app.job("process", run_in="process")
def in_process(job: Load) -> dict[str, UUID]:
    return take_plainly(job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=20)
    parser.add_argument("--name")
    parser.add_argument("--lease", type=float, default=60)
    parser.add_argument("--grace", type=float, default=10)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    worker = app.worker(
        concurrency=options.concurrency, name=options.name,
        lease=timedelta(seconds=options.lease), grace=timedelta(seconds=options.grace),
    )
    asyncio.run(worker.run())


if __name__ == "__main__":
    main()
