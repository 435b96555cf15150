"""pgjobs itself."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pgjobs import App, RunningJob

from ..orders import AWAIT, Order, Recorder
from .system import Payload, Producer, System

QUEUES = ("default", "other")
TYPE = "noop"


@dataclass
class _Producer:
    app: App

    async def one(self, payload: Payload) -> None:
        await self.app.enqueue(TYPE, payload)

    async def many(self, payloads: Sequence[Payload], *, queue: int = 0, priority: int = 0) -> None:
        await self.app.enqueue_many(TYPE, payloads, queue=QUEUES[queue], priority=priority)


class Pgjobs(System):
    """In every tuning the handlers have a timeout, which costs a little time per job."""

    name = "pgjobs"
    package = "pgjobs-queue"
    tunings = {
        "best": {"concurrency": 1500},
        "best, completed deleted": {"concurrency": 1500, "keep_completed": False},
        "default": {},
        "c1": {"concurrency": 1},
        "c10": {"concurrency": 10},
        "c50": {"concurrency": 50},
        "c100": {"concurrency": 100},
    }
    unfinished = "select count(*) from jobs where status in ('pending', 'processing', 'blocked')"

    async def install(self, dsn: str) -> None:
        await App(dsn).migrate()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        async with App(dsn) as app:
            yield _Producer(app)

    async def work(self, order: Order, recorder: Recorder, stop: asyncio.Event) -> None:
        app = App(order.dsn)
        tick = recorder.tick
        awaiting = order.kind == "await"

        @app.job(TYPE, timeout=timedelta(minutes=1))
        async def noop(job: RunningJob[dict[str, Any]]) -> None:
            tick(job.payload)
            if awaiting:
                await asyncio.sleep(AWAIT)

        @app.job("sleep", timeout=timedelta(minutes=1))
        async def sleep(job: RunningJob[dict[str, Any]]) -> None:
            tick(job.payload)
            await asyncio.sleep(job.payload["seconds"])
            recorder.end(job.payload)

        @app.job("block", timeout=timedelta(minutes=1))
        async def block(job: RunningJob[dict[str, Any]]) -> None:
            tick(job.payload)
            time.sleep(job.payload["seconds"])  # noqa: ASYNC251 - it blocks the event loop

        tuning = dict(order.tuning)
        worker = app.worker(queues=tuning.pop("queues", QUEUES), **tuning)
        gc.freeze()  # as the command `pgjobs worker` does
        if order.until_empty:
            await worker.run(until_empty=True)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run())
            await stop.wait()
            worker.stop()
