"""A clean-up every night: each run enqueues the next one before it does anything else."""

import asyncio
from datetime import UTC, datetime, time, timedelta

from pgjobs import App, JobType, RunningJob

app = App()


@app.job(JobType.CLEANUP)
async def cleanup(job: RunningJob[dict[str, int]]) -> dict[str, int]:
    """Enqueues the next clean-up, then deletes in batches, each in its own transaction."""
    # First, so that the chain goes on even if this run fails for good.
    await enqueue_next(job.payload["days"])
    pool = await job.app.pool()
    older_than = timedelta(days=job.payload["days"])
    before = datetime.now(UTC) - older_than  # the same for all batches: or they might never end
    query = "select jobs_cleanup($1, finished_before => $2)"
    total = 0
    while deleted := await pool.fetchval(query, older_than, before):
        total += deleted
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
        now = await cleanup.enqueue({"days": 7})
        await app.worker().run(until_empty=True)
        deleted = (await app.get(now.id)).result["deleted"]
        print(f"the clean-up of now deleted {deleted} jobs")
        print(f"{len(await app.list(status='pending'))} clean-up waits for the coming night")


if __name__ == "__main__":
    asyncio.run(main())
