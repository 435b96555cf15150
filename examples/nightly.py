"""A clean-up every night: a schedule in code enqueues its jobs."""

import asyncio
from datetime import UTC, datetime, timedelta

from pgjobs import App, JobType, RunningJob

app = App()


@app.schedule("17 3 * * *", timezone="Europe/Berlin", name="clean-up", payload={"days": 7})
@app.job(JobType.CLEANUP)
async def cleanup(job: RunningJob[dict[str, int]]) -> dict[str, int]:
    """Deletes finished jobs in batches, each in its own transaction."""
    pool = await job.app.pool()
    older_than = timedelta(days=job.payload["days"])
    before = datetime.now(UTC) - older_than  # the same for all batches: or they might never end
    query = "select jobs_cleanup($1, finished_before => $2)"
    total = 0
    while deleted := await pool.fetchval(query, older_than, before):
        total += deleted
    return {"deleted": total}


async def main() -> None:
    """The first worker writes the schedule; then one clean-up is run now."""
    async with app:
        await app.worker().run(until_empty=True)
        pool = await app.pool()
        await pool.execute("select jobs_schedule_run('clean-up')")
        await app.worker().run(until_empty=True)
        [job] = await app.list(job_type=JobType.CLEANUP)
        assert isinstance(job.result, dict)
        print(f"the job of schedule {job.schedule} deleted {job.result['deleted']} jobs")
        next_one = await pool.fetchval("select local_time from jobs_schedule_preview('clean-up')")
        print(f"the next one comes at {next_one:%H:%M} in Berlin")


if __name__ == "__main__":
    asyncio.run(main())
