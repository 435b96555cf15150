"""One job per key: while the job is live, or as long as its row is kept."""

import asyncio

from pgjobs import App, Job

app = App()


@app.job("refresh")
async def refresh(job: Job[None]) -> None:
    """Refreshing twice at once would be a waste."""


async def main() -> None:
    """The second call returns the job of the first."""
    async with app:
        first = await refresh.enqueue(None, unique_key="customer-7")
        second = await refresh.enqueue(None, unique_key="customer-7")
        print(f"the second call with the same key returned the first job: {first.id == second.id}")
        await app.worker().run(until_empty=True)
        # The job has ended, so its key is free again. With unique_scope="kept" it would not be.
        third = await refresh.enqueue(None, unique_key="customer-7")
        print(f"after that job had ended, the third call did so too: {first.id == third.id}")


if __name__ == "__main__":
    asyncio.run(main())
