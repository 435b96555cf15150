"""Fixtures of the Python tests: an app on this test's database, and workers beside it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from pgjobs import App, RunningJob, Worker
from pgjobs.worker.mode import Mode

Working = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
async def app(pgjobs_dsn: str) -> AsyncIterator[App]:
    """An app without handlers, opened."""
    async with App(dsn=pgjobs_dsn) as made:
        yield made


@pytest.fixture
def working(app: App) -> Working:
    """``async with working(concurrency=2) as worker``: the worker runs beside the block only."""

    @asynccontextmanager
    async def run(of: App = app, **options: Any) -> AsyncIterator[Worker]:
        worker = of.worker(**options)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run())
            await eventually(lambda: worker._listener.mode is Mode.LISTENING)
            try:
                yield worker
            finally:
                worker.stop()

    return run


@pytest.fixture
def job_row(conn: asyncpg.Connection) -> Callable[[int], Awaitable[asyncpg.Record]]:
    """The row of a job."""

    async def fetch(job_id: int) -> asyncpg.Record:
        row = await conn.fetchrow("select * from jobs where id = $1", job_id)
        assert row is not None
        return row

    return fetch


@pytest.fixture
def until_status(conn: asyncpg.Connection) -> Callable[[int, str], Awaitable[asyncpg.Record]]:
    """Waits until a job has a status, and returns its row."""

    async def wait(job_id: int, status: str) -> asyncpg.Record:
        row: Any = None

        async def reached() -> bool:
            nonlocal row
            row = await conn.fetchrow("select * from jobs where id = $1", job_id)
            return bool(row["status"] == status)

        try:
            await eventually(reached)
        except TimeoutError:
            raise AssertionError(f"expected {status}, but {dict(row)}") from None
        return row

    return wait


async def eventually(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Waits until the condition, plain or a coroutine function, holds, or raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[None]]:
    return eventually


class Recorder:
    """A handler that records when each job began, and ends when ``go`` is set."""

    def __init__(self) -> None:
        self.began: list[tuple[int, float]] = []
        self.running = 0
        self.most = 0
        self.cancelled: list[int] = []
        self.go = asyncio.Event()

    async def __call__(self, job: RunningJob[Any]) -> None:
        self.began.append((job.id, time.monotonic()))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise
        finally:
            self.running -= 1


@pytest.fixture
def recorder(app: App) -> Recorder:
    made = Recorder()
    app.job("t")(made)
    return made


@pytest.fixture
def quick(recorder: Recorder) -> Recorder:
    """A recorder whose runs end at once."""
    recorder.go.set()
    return recorder
