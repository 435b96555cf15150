"""How a handler decides what happens next."""

import asyncio
from datetime import timedelta

from pgjobs import App, Backoff, Cancel, Fail, Job, Retry, Snooze

app = App()
calls: dict[str, int] = {}


@app.job("call", max_retries=2, backoff=Backoff.listed(timedelta(0), timedelta(0)))
async def call(job: Job[dict[str, str]]) -> str:
    """Ends in one of the five ways, as its payload says."""
    how = job.payload["how"]
    calls[how] = calls.get(how, 0) + 1
    if how == "error":
        raise ConnectionError("retried after the job's backoff, at most twice")
    if how == "retry" and calls[how] == 1:
        raise Retry(timedelta(0), "the server said when to come back")
    if how == "snooze" and calls[how] == 1:
        raise Snooze(timedelta(0))  # not ready; no retry is spent
    if how == "fail":
        raise Fail("no retry would help")
    if how == "cancel":
        raise Cancel("not needed any more")
    return "done"


async def main() -> None:
    """Runs one of each kind."""
    async with app:
        print("how the handler ended, and what became of its job:")
        for how in ("error", "retry", "snooze", "fail", "cancel"):
            await call.enqueue({"how": how}, reference=("example", 1))
        await app.worker().run(until_empty=True)
        for job in reversed(await app.list()):
            print(
                f"{job.payload['how']}: {job.status}"
                f" (attempts: {job.attempt}, retries spent: {job.retry_count})"
            )


if __name__ == "__main__":
    asyncio.run(main())
