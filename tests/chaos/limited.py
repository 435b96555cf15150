"""A worker process whose jobs end in every way, in queues with limits (see --help)."""

import argparse
import asyncio
import logging
import time
from datetime import timedelta

from pgjobs import App, Cancel, Fail, Retry, RunningJob, Snooze

app = App()
SOON = timedelta(seconds=0.05)


@app.job("limited")
async def limited(job: RunningJob[dict[str, float]]) -> None:
    """Ends as its payload says, at the first attempt; later attempts complete."""
    if job.queue == "rated":
        began = time.time()
        pool = await app.pool()
        await pool.execute(
            "insert into begun values ($1, to_timestamp($2), $3)", job.group_key, began, job.attempt
        )
    elif job.payload["seconds"]:
        await asyncio.sleep(job.payload["seconds"])
    if job.attempt == 1:
        match job.payload["end"]:
            case 1:
                raise Retry(SOON)
            case 2:
                raise Snooze(SOON)
            case 3:
                raise Cancel("no longer wanted")
            case 4:
                raise Fail("for good")


@app.job("other")
async def other(job: RunningJob[dict[str, float]]) -> None:
    """The same by another name: the groups have jobs of two types."""
    await limited(job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=20)
    parser.add_argument("--name")
    parser.add_argument("--queues", required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    worker = app.worker(
        queues=options.queues.split(","), concurrency=options.concurrency, name=options.name,
        grace=timedelta(seconds=1),
    )
    asyncio.run(worker.run())


if __name__ == "__main__":
    main()
