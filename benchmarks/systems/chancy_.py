"""chancy: one claim per poll, completions sent together at an interval."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ..orders import Order, Recorder
from .system import Payload, Producer, System

POLL = 0.005  # seconds between checks for the end: chancy has no drain mode
_recorder: Recorder | None = None


async def noop(**payload: Any) -> None:
    """The job. Chancy finds it by its import path, so it is a function of the module."""
    assert _recorder is not None
    _recorder.tick(payload)


def _client(dsn: str) -> Any:
    from chancy import Chancy as Client

    # At INFO the log line of each claimed job would take most of the measured time.
    log = logging.getLogger("benchmarks.chancy")
    log.setLevel(logging.WARNING)
    return Client(dsn, log=log)


@dataclass
class _Producer:
    client: Any
    job: Any

    async def one(self, payload: Payload) -> None:
        await self.client.push(self.job.with_kwargs(**payload))

    async def many(self, payloads: Sequence[Payload], *, queue: int = 0, priority: int = 0) -> None:
        job = self.job.with_priority(priority)
        jobs = [job.with_kwargs(**payload) for payload in payloads]
        async for _ in self.client.push_many(jobs):
            pass


class Chancy(System):
    """``outgoing``: seconds between its writes of completions, an attribute of its worker."""

    name = "chancy"
    package = "chancy"
    tunings = {
        "best": {"concurrency": 1000, "eager_polling": True, "outgoing": 0.05},
        "default": {},
        "c1": {"concurrency": 1, "eager_polling": True, "outgoing": 0.05},
        "c10": {"concurrency": 10, "eager_polling": True, "outgoing": 0.05},
        "c50": {"concurrency": 50, "eager_polling": True, "outgoing": 0.05},
        "c100": {"concurrency": 100, "eager_polling": True, "outgoing": 0.05},
    }
    share = 0.2
    shares = {"default": 0.01}  # 100 jobs per poll, every 5 s
    unfinished = (
        "select count(*) from chancy_jobs where state in ('pending', 'running', 'retrying')"
    )

    async def install(self, dsn: str) -> None:
        async with _client(dsn) as client:
            await client.migrate()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        from chancy import Job

        async with _client(dsn) as client:
            yield _Producer(client, Job(func="benchmarks.systems.chancy_.noop"))

    async def work(self, order: Order, recorder: Recorder, stop: asyncio.Event) -> None:
        from chancy import Chancy as Client
        from chancy import Queue, Worker

        global _recorder  # noqa: PLW0603 - the job is found by import, as in any chancy program
        _recorder = recorder
        tuning = dict(order.tuning)
        outgoing = tuning.pop("outgoing", None)
        async with _client(order.dsn) as client:
            # Always in this process: it could not count the jobs of a child process.
            queue = Queue("default", executor=Client.Executor.Async, **tuning)
            await client.declare(queue, upsert=True)
            worker = Worker(client, register_signal_handlers=False)
            if outgoing is not None:
                worker.send_outgoing_interval = outgoing
            async with worker:
                if order.until_empty:
                    await self._empty(client, order, recorder)
                else:
                    await stop.wait()

    async def _empty(self, client: Any, order: Order, recorder: Recorder) -> None:
        while recorder.report.handled < order.jobs:
            await asyncio.sleep(POLL)
        async with client.pool.connection() as connection:
            while True:
                found = await (await connection.execute(self.unfinished)).fetchone()
                if not found[0]:
                    # What its worker writes while it stops is not part of the drain.
                    recorder.finish()
                    return
                await connection.commit()
                await asyncio.sleep(POLL)
