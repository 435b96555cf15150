"""A clean-up every night: each run enqueues the next."""

import asyncio
from datetime import UTC, datetime, time, timedelta

from pgjobs import App, JobType, RunningJob

app = App()


@app.job(JobType.CLEANUP)
async def cleanup(job: RunningJob[dict[str, int]]) -> dict[str, int]:
    """Deletes in batches, each in its own transaction, then enqueues the next clean-up."""
    pool = await job.app.pool()
    older_than = timedelta(days=job.payload["days"])
    total = 0
    while deleted := await pool.fetchval("select jobs_cleanup($1)", older_than):
        total += deleted
    await enqueue_next(job.payload["days"])
    return {"deleted": total}


async def enqueue_next(days: int) -> None:
    """Enqueues the clean-up of the coming night; its key makes it the only one that night."""
    night = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), time(3), UTC)
    await cleanup.enqueue(
        {"days": days}, run_at=night, unique_key=f"cleanup-{night:%Y-%m-%d}", unique_scope="kept"
    )


async def main() -> None:
    """Each start of the application enqueues the clean-up; the second call adds no job."""
    async with app:
        await enqueue_next(days=7)
        await enqueue_next(days=7)
        await cleanup.enqueue({"days": 7})  # and one now
        await app.worker().run(until_empty=True)
        pool = await app.pool()
        print(await pool.fetchval("select result from jobs where status = 'completed'"))
        print(await pool.fetchval("select count(*) from jobs where status = 'pending'"), "waits")


if __name__ == "__main__":
    asyncio.run(main())
