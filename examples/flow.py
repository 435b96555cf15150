"""A flow: one job fetches, one job for each page parses, and a report comes after all of them."""

import asyncio

from pgjobs import App, Fail, RunningJob

app = App()
PAGES = {"a": "one two three", "b": "four five", "c": ""}


@app.job("fetch")
async def fetch(job: RunningJob[None]) -> None:
    """Adds a job for each page to the batch that it belongs to itself."""
    # With the completion of this job, in one transaction: a retry adds no page twice.
    async with job.transaction() as conn:
        await parse.enqueue_many([*PAGES], batch=job.batch_id, conn=conn)


@app.job("parse")
async def parse(job: RunningJob[str]) -> int:
    """Counts the words of a page; one page has none, and no retry would help."""
    words = PAGES[job.payload].split()
    if not words:
        raise Fail(f"page {job.payload} is empty")
    return len(words)


@app.job("report")
async def report(job: RunningJob[None]) -> list[str]:
    """Runs once, when all jobs of the batch have ended, and says what became of them."""
    pages = [parent for parent in await job.parents() if parent.job_type == "parse"]
    words = sum(page.result for page in pages if page.status == "completed")
    failed = [f"failed: {page.error}" for page in pages if page.status == "failed"]
    return [f"{words} words", *failed]


async def main() -> None:
    """Runs the flow, and prints its report."""
    async with app:
        async with app.batch(report, None) as batch:
            await fetch.enqueue(None, batch=batch)
        await app.worker().run(until_empty=True)
        for line in (await batch.job.refresh()).result:
            print(line)
        counts = await app.get_batch(batch.id)
        print(f"of {counts.total} jobs {counts.completed} completed, and {counts.failed} failed")


if __name__ == "__main__":
    asyncio.run(main())
