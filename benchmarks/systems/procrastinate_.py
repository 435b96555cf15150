"""procrastinate: each slot fetches, runs and finishes one job at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ..orders import Order, Recorder
from .system import Payload, Producer, System

QUEUES = ("default", "other")


def _ignore(_: Mapping[str, Any]) -> None:
    """The task of a producer, which never runs it."""


def _app(dsn: str, tick: Callable[[Mapping[str, Any]], None], connections: int = 4) -> Any:
    import procrastinate

    # Four is the pool's own default.
    connector = procrastinate.PsycopgConnector(conninfo=dsn, max_size=max(connections, 4))
    app = procrastinate.App(connector=connector)

    @app.task(name="noop", queue=QUEUES[0])
    async def noop(**payload: Any) -> None:
        tick(payload)

    return app


@dataclass
class _Producer:
    app: Any

    async def one(self, payload: Payload) -> None:
        await self.app.configure_task("noop", queue=QUEUES[0]).defer_async(**payload)

    async def many(self, payloads: Sequence[Payload], *, queue: int = 0, priority: int = 0) -> None:
        task = self.app.configure_task("noop", queue=QUEUES[queue], priority=priority)
        await task.batch_defer_async(*payloads)


class Procrastinate(System):
    """Completed rows are kept, which is its default."""

    name = "procrastinate"
    package = "procrastinate"
    tunings = {
        "best": {"concurrency": 10},
        "default": {},
        "c1": {"concurrency": 1},
        "c10": {"concurrency": 10},
        "c50": {"concurrency": 50},
        "c100": {"concurrency": 100},
    }
    share = 0.05
    unfinished = "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"

    async def install(self, dsn: str) -> None:
        async with _app(dsn, _ignore).open_async() as app:
            await app.schema_manager.apply_schema_async()

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        async with _app(dsn, _ignore).open_async() as app:
            yield _Producer(app)

    async def work(self, order: Order, recorder: Recorder, stop: asyncio.Event) -> None:
        slots = order.tuning.get("concurrency", 1)
        # One connection per slot, as its documentation advises; above 22 more make it slower.
        async with _app(order.dsn, recorder.tick, min(slots, 20) + 2).open_async() as app:
            worker = asyncio.create_task(
                app.run_worker_async(
                    wait=not order.until_empty, install_signal_handlers=False, **order.tuning
                )
            )
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                worker.cancel()
            stopping.cancel()
            await asyncio.gather(worker, return_exceptions=stopping.done())
