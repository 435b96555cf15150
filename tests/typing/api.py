"""Code that must type-check, and marked lines that must not. Only mypy and pyright read it.

Each marked line has a mark for both programs. A mark that is not needed is an error itself.
"""
# ruff: noqa: PGH003 - the rule that refuses a line differs between releases of pyright

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

import asyncpg
from pydantic import BaseModel, PositiveInt
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

import pgjobs
from pgjobs import App, Backoff, Job, JobService, JobStatus, JobType, RunningJob, Task


class Ingest(BaseModel):
    path: str


@dataclass
class Ingested:
    pages: int


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[dict[str, int]]:
    yield {"answer": 42}


app = App(lifespan=lifespan)


@app.job(JobType.FILE_INGESTION, timeout=timedelta(minutes=1), backoff=Backoff.fixed(timedelta(1)))
async def ingest(job: Job[Ingest]) -> Ingested:
    assert_type(job.payload, Ingest)
    assert_type(job.status, JobStatus | str)
    assert_type(job.reference_id, int | None)
    assert_type(job.id, int)
    return Ingested(1)


@app.job("running")
async def running(job: RunningJob[Ingest]) -> None:
    assert_type(job.payload, Ingest)
    assert_type(job.app, App)
    async with job.transaction(result={"a": 1}) as conn:
        assert_type(conn, asyncpg.Connection)


@app.job("in a thread")
def plain(job: Job[Ingest]) -> int:
    return len(job.payload.path)


@app.job("any")
async def untyped(job: Job[Any]) -> None:
    assert_type(job.payload, Any)


@app.job("nothing")
async def nothing(job: Job[None]) -> None:
    assert_type(job.payload, None)


@app.job("constrained")
async def constrained(job: Job[PositiveInt]) -> None:
    assert_type(job.payload, int)


assert_type(ingest, Task[Ingest, Ingested])
assert_type(running, Task[Ingest, None])
assert_type(plain, Task[Ingest, int])


async def enqueueing(
    conn: asyncpg.Connection, pool: asyncpg.Pool, session: AsyncSession, other: AsyncConnection
) -> None:
    job = await ingest.enqueue(Ingest(path="a"), reference=("file", 1), delay=timedelta(1))
    assert_type(job, Job[Ingest])
    assert_type(await ingest.enqueue_many([Ingest(path="a")]), list[int])
    assert_type(await app.enqueue("t", {"a": 1}), Job[Any])
    assert_type(await pgjobs.enqueue("t"), Job[Any])
    await untyped.enqueue({"anything": 1})
    await untyped.enqueue()
    await nothing.enqueue(None)
    await constrained.enqueue(5)
    assert_type(await app.enqueue("t", None), Job[Any])
    await plain.enqueue(Ingest(path="a"), conn=conn)
    await plain.enqueue(Ingest(path="a"), conn=pool)
    await plain.enqueue(Ingest(path="a"), conn=session)
    await plain.enqueue(Ingest(path="a"), conn=other)
    async with pool.acquire() as acquired:
        await plain.enqueue(Ingest(path="a"), conn=acquired)
    assert_type(await JobService(session).get_pending("t"), list[Job[Any]])
    await app.worker(queues=["a"], lease=timedelta(minutes=1)).run(until_empty=True)


async def refused(job: Job[Ingest]) -> None:
    await ingest.enqueue({"path": "a"})  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(None)  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(Ingested(1))  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue_many([1])  # type: ignore[list-item]  # pyright: ignore
    await ingest.enqueue(Ingest(path="a"), conn="dsn")  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(Ingest(path="a"), delay=5)  # type: ignore[arg-type]  # pyright: ignore
    await app.enqueue("t", reference="file")  # type: ignore[arg-type]  # pyright: ignore
    app.worker(queues=["a"], lease=5)  # type: ignore[arg-type]  # pyright: ignore
    job.payload = Ingest(path="b")  # type: ignore[misc]  # pyright: ignore
    job.id = 2  # type: ignore[misc]  # pyright: ignore
    job.transaction()  # type: ignore[attr-defined]  # pyright: ignore
    Backoff.fixed(5)  # type: ignore[arg-type]  # pyright: ignore
    pgjobs.Snooze(5)  # type: ignore[arg-type]  # pyright: ignore


@app.job("no job")  # type: ignore[arg-type]  # pyright: ignore
async def no_job(payload: Ingest) -> None: ...


@app.job("two arguments")  # type: ignore[arg-type]  # pyright: ignore
async def two_arguments(job: Job[Ingest], more: int) -> None: ...
