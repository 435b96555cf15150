"""Pages are fetched, parsed and reported: each job waits for those before it."""

import asyncio

from pgjobs import App, Fail, Job, RunningJob

app = App()


@app.job("fetch")
async def fetch(job: Job[str]) -> list[str]:
    """Returns the pages of a site."""
    return [f"{job.payload}/{page}" for page in ("home", "shop", "torn")]


@app.job("parse")
async def parse(job: RunningJob[str]) -> int:
    """Counts the letters of one page. Its parent is the fetch, whose result it reads."""
    [site] = await job.parents()
    [page] = [page for page in site.result if page.endswith(job.payload)]
    if job.payload == "torn":
        raise Fail("half of the page is missing")  # no retry would help
    return len(page)


@app.job("report")
async def report(job: RunningJob[None]) -> list[str]:
    """Says what became of each page. Its parents are the parses, in the order of their ids."""
    return [
        f"job {parent.id} counted {parent.result} letters"
        if parent.status == "completed"
        else f"job {parent.id} {parent.status}: {parent.error}"
        for parent in await job.parents()
    ]


async def main() -> None:
    """Enqueues the flow in one call, so that all of it is there or nothing."""
    pages = ["home", "shop", "torn"]
    async with app:
        *_, report_id = await app.enqueue_many([
            fetch.new("example.org", ref="site"),
            *(parse.new(page, ref=page, depends_on=["site"]) for page in pages),
            # By default the report would be cancelled where a page cannot be parsed.
            report.new(None, depends_on=pages, on_parent_failed="run"),
        ])
        print(f"the report is {(await app.get(report_id)).status}")
        await app.worker().run(until_empty=True)
        for line in (await app.get(report_id)).result:
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
