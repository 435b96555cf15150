"""A clean-up that a worker runs by itself, every night."""

import asyncio
from datetime import timedelta

from pgjobs import App, JobType, RunningJob

app = App()


@app.job(JobType.CLEANUP)
async def cleanup(job: RunningJob[dict[str, int]]) -> dict[str, int]:
    """Deletes in batches, each a transaction of its own, then enqueues the next night's."""
    pool = await job.app.pool()
    older_than = timedelta(days=job.payload["days"])
    total = 0
    while deleted := await pool.fetchval("select jobs_cleanup($1)", older_than):
        total += deleted
    # The key is this job's own until it ends, so the next night's has another.
    await cleanup.enqueue(
        job.payload, delay=timedelta(days=1), unique_key=f"cleanup-after-{job.id}",
        unique_scope="kept",
    )  # fmt: skip
    return {"deleted": total}


async def main() -> None:
    """The first night's; a second call while it waits changes nothing."""
    async with app:
        await cleanup.enqueue({"days": 0}, unique_key="cleanup")
        await app.worker().run(until_empty=True)
        pool = await app.pool()
        print(await pool.fetchval("select result from jobs where status = 'completed'"))


if __name__ == "__main__":
    asyncio.run(main())
