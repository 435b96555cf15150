"""A middleware around plain functions in child processes, which import this module."""

import asyncio
from contextvars import ContextVar

from python import included_in_children

from pgjobs import App, CallNext, RunningJob

app = App()
app.include(included_in_children.app)
request_id: ContextVar[str] = ContextVar("request_id")


@app.middleware
async def with_request_id(job: RunningJob[dict[str, bool]], call_next: CallNext) -> None:
    await asyncio.sleep(0)
    request_id.set(job.headers["request_id"])
    assert set(job.payload or {}) <= {"raises"}
    try:
        await call_next(job)
    except ZeroDivisionError as error:
        raise ValueError(f"seen by the middleware: {request_id.get()!r}") from error


@app.job("surrounded", run_in="process")
def surrounded(job: RunningJob[dict[str, bool]]) -> list[str]:
    if job.payload["raises"]:
        raise ZeroDivisionError
    return [request_id.get(), asyncio.run(_said())]


async def _said() -> str:
    return "in a loop of its own"
