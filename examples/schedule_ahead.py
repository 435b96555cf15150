"""Jobs for later: after a delay, or at a given time. The clock of the database decides."""

import asyncio
from datetime import UTC, datetime, timedelta

from pgjobs import App, Job

app = App()


@app.job("remind")
async def remind(job: Job[dict[str, str]]) -> str:
    """An idle worker sleeps exactly until the next job is due."""
    return f"remember {job.payload['what']}"


async def main() -> None:
    """Three reminders, of which one is due at once."""
    async with app:
        await remind.enqueue({"what": "the milk"})
        await remind.enqueue({"what": "the meeting"}, delay=timedelta(hours=1))
        new_year = datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC)
        await remind.enqueue({"what": "the fireworks"}, run_at=new_year)
        await app.worker().run(until_empty=True)
        for job in reversed(await app.list()):
            print(f"{job.payload['what']}: {job.result or 'waits until its time has come'}")


if __name__ == "__main__":
    asyncio.run(main())
