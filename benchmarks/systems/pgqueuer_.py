"""pgqueuer: batches of jobs, each run as a task; completions are buffered per batch."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from ..orders import AWAIT, Order, Recorder
from .system import Payload, Producer, System


@dataclass
class _Producer:
    queries: Any

    async def one(self, payload: Payload) -> None:
        await self.queries.enqueue("noop", json.dumps(payload).encode())

    async def many(self, payloads: Sequence[Payload], *, queue: int = 0, priority: int = 0) -> None:
        await self.queries.enqueue(
            ["noop"] * len(payloads),
            [json.dumps(payload).encode() for payload in payloads],
            [priority] * len(payloads),
        )


class PgQueuer(System):
    """Its concurrency is the size of its batches; it has entrypoints instead of queues."""

    name = "pgqueuer"
    package = "pgqueuer"
    tunings = {
        "best": {"batch_size": 1000},
        "default": {},
        "c1": {"batch_size": 1},
        "c10": {"batch_size": 10},
        "c50": {"batch_size": 50},
        "c100": {"batch_size": 100},
    }
    share = 0.5
    unfinished = "select count(*) from pgqueuer"

    async def install(self, dsn: str) -> None:
        from pgqueuer import AsyncpgDriver, Queries

        connection = await asyncpg.connect(dsn)
        try:
            await Queries(AsyncpgDriver(connection)).install()
        finally:
            await connection.close()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        from pgqueuer import AsyncpgDriver, Queries

        connection = await asyncpg.connect(dsn)
        try:
            yield _Producer(Queries(AsyncpgDriver(connection)))
        finally:
            await connection.close()

    async def work(self, order: Order, recorder: Recorder, stop: asyncio.Event) -> None:
        import pgqueuer
        from pgqueuer.types import QueueExecutionMode

        connection = await asyncpg.connect(order.dsn)
        manager = pgqueuer.PgQueuer.from_asyncpg_connection(connection)
        tick = recorder.tick
        probing, awaiting = order.kind == "probe", order.kind == "await"

        async def noop(job: pgqueuer.Job) -> None:
            tick(json.loads(job.payload or b"{}") if probing else {})
            if awaiting:
                await asyncio.sleep(AWAIT)

        manager.entrypoint("noop")(noop)
        for key in range(order.keys):
            manager.entrypoint(f"k{key}", concurrency_limit=1)(noop)
        mode = QueueExecutionMode.drain if order.until_empty else QueueExecutionMode.continuous
        running = asyncio.create_task(manager.run(mode=mode, **order.tuning))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        manager.shutdown.set()
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await running
        if not connection.is_closed():
            await connection.close()
