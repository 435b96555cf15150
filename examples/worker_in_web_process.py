"""A worker inside the web process: it starts and stops with the server.

    uvicorn examples.worker_in_web_process:api
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from pgjobs import App, Job

app = App()


@app.job("greeting")
async def greet(job: Job[str]) -> str:
    """Any small job: it shares the event loop with the requests."""
    await asyncio.sleep(0.5)
    return f"hello {job.payload}"


def stop_server(working: "asyncio.Task[None]") -> None:
    """A server whose worker has failed would take jobs that nobody runs: restart both instead."""
    if not working.cancelled() and working.exception() is not None:
        signal.raise_signal(signal.SIGTERM)


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    """The server hears the signals, ends its requests, and then the worker stops."""
    async with app:
        worker = app.worker(concurrency=10)
        working = asyncio.create_task(worker.run(signals=False))
        working.add_done_callback(stop_server)
        yield
        worker.stop()
        await working


api = FastAPI(lifespan=lifespan)


@api.post("/greetings", status_code=202)
async def enqueue(name: str) -> dict[str, int]:
    """Adds a job; the worker in this process, or in another one, runs it."""
    job = await greet.enqueue(name)
    return {"job": job.id}
