"""A worker's process whose handlers write down that they ran: workload.py CONCURRENCY [NAME]."""

import asyncio
import logging
import os
import sys
from datetime import timedelta

from pgjobs import App, Job, RunningJob

LEDGER = """create table if not exists ledger
    (job_id bigint, attempt int, pid int, at timestamptz default clock_timestamp())"""

app = App()


async def note(job: Job[dict[str, float]]) -> None:
    """That it ran, in a transaction of its own, so that nothing takes it back."""
    pool = await app.pool()
    await pool.execute("insert into ledger values ($1, $2, $3)", job.id, job.attempt, os.getpid())


@app.job("work")
async def work(job: RunningJob[dict[str, float]]) -> None:
    """Takes as long as its payload says."""
    await note(job)
    await asyncio.sleep(job.payload["seconds"])


@app.job("write")
async def write(job: RunningJob[dict[str, float]]) -> None:
    """Writes to the ledger in the job's own transaction, and is slow to commit."""
    async with job.transaction() as conn:
        await conn.execute(
            "insert into ledger values ($1, $2, $3)", job.id, job.attempt, os.getpid()
        )
        await asyncio.sleep(job.payload["seconds"])


@app.job("poison", max_retries=3)
async def poison(job: RunningJob[dict[str, float]]) -> None:
    """Kills its process, as a broken C extension would."""
    await note(job)
    await asyncio.sleep(0.05)
    os._exit(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    worker = app.worker(
        concurrency=int(sys.argv[1]),
        name=sys.argv[2] if len(sys.argv) > 2 else None,
        grace=timedelta(seconds=10),
    )
    asyncio.run(worker.run())
