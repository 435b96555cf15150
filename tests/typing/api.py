"""Code that must type-check, and marked lines that must not. Only mypy and pyright read it.

Each marked line has a mark for both programs. A mark that is not needed is an error itself.
"""
# ruff: noqa: PGH003 - the rule that refuses a line differs between releases of pyright

from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type

import asyncpg
import psycopg
import sqlalchemy
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel, PositiveInt
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session

import pgjobs
from pgjobs import (
    App,
    Backoff,
    Batch,
    CallNext,
    EnqueueRequest,
    Job,
    JobService,
    JobStatus,
    JobType,
    Lifespan,
    NewJob,
    OpenBatch,
    Outcome,
    Parent,
    Rate,
    RunningJob,
    Task,
)
from pgjobs.logs import job_fields
from pgjobs.otel import instrument
from pgjobs.testing import make_job


class Ingest(BaseModel):
    path: str


@dataclass
class Ingested:
    pages: int


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[dict[str, int]]:
    yield {"answer": 42}


app = App(lifespan=lifespan)
given: Lifespan = lifespan


@dataclass
class State:
    answer: int


@asynccontextmanager
async def typed_lifespan(app: App[State]) -> AsyncIterator[State]:
    yield State(42)


typed = App(lifespan=typed_lifespan)
declared: App[State] = App("postgresql:///a", "jobs", lifespan=typed_lifespan, pool_size=2)
assert_type(typed, App[State])
assert_type(typed.state, State)
assert_type(app, App[Any])
assert_type(App(lifespan=given), App[Any])
assert_type(App(), App[Any])
assert_type(App("postgresql:///a", "jobs", lifespan).state, Any)
declared = App()  # tests and scripts make a plain one


@app.job(JobType.FILE_INGESTION, timeout=timedelta(minutes=1), backoff=Backoff.fixed(timedelta(1)))
async def ingest(job: Job[Ingest]) -> Ingested:
    assert_type(job.payload, Ingest)
    assert_type(job.status, str)
    assert job.status == JobStatus.PROCESSING
    assert_type(job.is_new, bool | None)
    assert_type(await job.refresh(), Job[Ingest])
    assert_type(job.reference_id, int | None)
    assert_type(job.id, int)
    return Ingested(1)


app.include(typed)
app.retain("completed", timedelta(days=7))
app.retain(JobStatus.FAILED, timedelta(days=90), job_type=JobType.CLEANUP)
app.limit("mail", max_running=5, max_running_per_group=1, rate=Rate(100, per=timedelta(minutes=1)))
app.limit("api", group_rate=Rate(1, timedelta(seconds=1)), in_order=True)


@app.schedule("0 3 * * *", timezone="Europe/Berlin", payload={"path": "a"}, missed="all")
@app.schedule(every=timedelta(hours=1), name="hourly", missed_within=timedelta(1), overlap="allow")
@app.job("scheduled")
async def scheduled(job: Job[Ingest]) -> int:
    assert_type(job.schedule, str | None)
    assert_type(job.scheduled_for, datetime | None)
    return 1


@app.job("running")
async def running(job: RunningJob[Ingest]) -> None:
    assert_type(job.payload, Ingest)
    assert_type(job.app, App[Any])
    async with job.transaction(result={"a": 1}) as conn:
        assert_type(conn, asyncpg.Connection)


@app.job("in a thread", concurrency=2)
def plain(job: Job[Ingest]) -> int:
    return len(job.payload.path)


@app.job("any")
async def untyped(job: Job[Any]) -> None:
    assert_type(job.payload, Any)


@app.job("nothing")
async def nothing(job: Job[None]) -> None:
    assert_type(job.payload, None)


@app.job("grouped", group_key=lambda ingest: ingest.path)
async def grouped(job: Job[Ingest]) -> None: ...


@app.job("constrained")
async def constrained(job: Job[PositiveInt]) -> None:
    assert_type(job.payload, int)


@app.middleware
async def around(job: RunningJob[Any], call_next: CallNext) -> None:
    assert_type(await call_next(job), Any)
    assert_type(job.outcome_of(None), str)


@typed.middleware
async def around_too(job: RunningJob[Any], call_next: CallNext) -> int:
    await call_next(job)
    return job.id


@app.enqueue_middleware
def enqueueing_around(request: EnqueueRequest) -> Generator[None, list[Any], None]:
    assert_type(request.job_type, str)
    assert_type(request.payloads, list[Any])
    assert_type(request.count, int | None)
    assert_type(request.queues, list[str])
    request.headers["id"] = 1
    jobs = yield
    assert_type(jobs, list[Any])


instrument(app)
instrument(typed, tracer_provider=TracerProvider(), meter_provider=MeterProvider())
assert_type(job_fields(), dict[str, Any])
assert_type(ingest, Task[Ingest, Ingested])
assert_type(running, Task[Ingest, None])
assert_type(scheduled, Task[Ingest, int])
assert_type(plain, Task[Ingest, int])


async def enqueueing(
    conn: asyncpg.Connection, pool: asyncpg.Pool, session: AsyncSession, other: AsyncConnection
) -> None:
    job = await ingest.enqueue(Ingest(path="a"), reference=("file", 1), delay=timedelta(1))
    assert_type(job, Job[Ingest, Ingested])
    as_handlers_take_it: Job[Ingest] = job
    assert_type(await job.wait(timeout=timedelta(seconds=30)), Ingested)
    assert_type(await as_handlers_take_it.wait(), object)
    assert_type(await (await job.refresh()).wait(), Ingested)
    assert_type(await (await plain.enqueue(Ingest(path="a"), watch=True)).wait(), int)
    assert_type(await (await running.enqueue(Ingest(path="a"))).wait(), None)
    assert_type(await (await app.get(1)).wait(), Any)
    assert_type(await app.wait([job, 1], timeout=timedelta(1)), list[Outcome])
    assert_type(await ingest.enqueue_many([Ingest(path="a")]), list[int])
    assert_type(await app.enqueue("t", {"a": 1}), Job[Any, Any])
    assert_type(await pgjobs.enqueue("t"), Job[Any, Any])
    assert_type(await pgjobs.enqueue("t", priority=1, unique_scope="live"), Job[Any, Any])
    assert_type(await app.list(status=JobStatus.FAILED), list[Job[Any, Any]])
    await app.list(status="failed", job_type="t")
    await app.list(status=["failed", JobStatus.CANCELLED])
    await untyped.enqueue({"anything": 1})
    await untyped.enqueue()
    await nothing.enqueue(None)
    await constrained.enqueue(5)
    await ingest.enqueue(
        Ingest(path="a"), unique_key="k", unique_scope="period", unique_for=timedelta(1),
        on_conflict="debounce", max_wait=timedelta(1),
    )
    await ingest.enqueue(Ingest(path="a"), group_key="g", headers={"a": 1}, expires=timedelta(1))
    assert_type(await app.enqueue("t", None), Job[Any, Any])
    await plain.enqueue(Ingest(path="a"), conn=conn)
    await plain.enqueue(Ingest(path="a"), conn=pool)
    await plain.enqueue(Ingest(path="a"), conn=session)
    await plain.enqueue(Ingest(path="a"), conn=other)
    async with pool.acquire() as acquired:
        await plain.enqueue(Ingest(path="a"), conn=acquired)
    assert_type(await JobService(session).get_pending("t"), list[Job[Any]])
    await app.worker(queues=["a"], lease=timedelta(minutes=1)).run(until_empty=True)


async def flows(conn: asyncpg.Connection) -> None:
    new = ingest.new(Ingest(path="a"), ref="a", priority=1, group_key="g")
    assert_type(new, NewJob[Ingest])
    ids = await app.enqueue_many([new, plain.new(Ingest(path="b"), depends_on=["a", 1])], conn=conn)
    assert_type(ids, list[int])
    assert_type(app.sync.enqueue_many([new]), list[int])
    first = await ingest.enqueue(Ingest(path="a"))
    job = await plain.enqueue(
        Ingest(path="b"), depends_on=[first, 1], on_parent_failed="run", batch=1
    )
    assert_type(job.depends_on_left, int | None)
    assert_type(job.batch_id, int | None)
    assert_type(await job.parents(), list[Parent])
    assert_type(await app.parents(1), list[Parent])
    async with app.batch(nothing, None, conn=conn, priority=1) as batch:
        assert_type(batch, OpenBatch)
        assert_type(batch.id, int)
        assert_type(batch.job, Job[Any])
        await ingest.enqueue(Ingest(path="a"), batch=batch, conn=conn)
        await ingest.enqueue_many([Ingest(path="a")], batch=batch, depends_on=[first], conn=conn)
        ingest.sync.enqueue(Ingest(path="a"), batch=batch.id, depends_on=[first])
    with app.sync.batch("nothing") as same:
        assert_type(same, OpenBatch)
    counts = await app.get_batch(batch.id)
    assert_type(counts, Batch)
    assert_type(counts.is_open, bool)
    assert_type(app.sync.get_batch(batch.id), Batch)
    assert_type(app.sync.parents(batch.id), list[Parent])
    assert_type(await app.cancel(1, downstream=True), Job[Any, Any])
    with pgjobs.acting("anna"), pgjobs.acting(None):
        assert_type(await app.retry(1), Job[Any, Any])
    app.sync.cancel(1, downstream=True)


async def enqueueing_by_psycopg(conn: psycopg.AsyncConnection) -> None:
    await plain.enqueue(Ingest(path="a"), conn=conn)
    assert_type(await app.list(conn=conn), list[Job[Any, Any]])


def sync_calls(
    conn: psycopg.Connection,
    session: Session,
    scoped: scoped_session[Session],
    other: sqlalchemy.Connection,
) -> None:
    assert_type(ingest.sync.enqueue(Ingest(path="a"), delay=timedelta(1)), Job[Ingest])
    assert_type(ingest.sync.enqueue_many([Ingest(path="a")], priority=1), list[int])
    assert_type(app.sync.enqueue("t", {"a": 1}, unique_scope="live"), Job[Any])
    assert_type(pgjobs.sync.enqueue("t"), Job[Any])
    assert_type(typed.sync.get(1), Job[Any])
    assert_type(app.sync.list(status="failed", job_type="t", limit=5), list[Job[Any]])
    assert_type(app.sync.cancel(1, "no", conn=conn), Job[Any])
    assert_type(app.sync.retry(1, conn=session), Job[Any])
    waited = app.sync.wait([typed.sync.get(1), 2], timeout=timedelta(seconds=30))
    assert_type(waited, list[Outcome])
    assert_type(ingest.sync.wait([ingest.sync.enqueue(Ingest(path="a"))]), list[Outcome])
    assert_type(pgjobs.sync.wait([1]), list[Outcome])
    untyped.sync.enqueue()
    plain.sync.enqueue(Ingest(path="a"), conn=conn)
    plain.sync.enqueue(Ingest(path="a"), conn=session)
    plain.sync.enqueue(Ingest(path="a"), conn=scoped)
    plain.sync.enqueue(Ingest(path="a"), conn=other)


async def testing() -> None:
    job = make_job(Ingest(path="a"), state=State(1), attempt=2)
    assert_type(job, RunningJob[Ingest])
    await ingest(job)
    plain(job)


async def refused(job: Job[Ingest]) -> None:
    await ingest(make_job(1))  # type: ignore[arg-type]  # pyright: ignore
    app.schedule(5)  # type: ignore[arg-type]  # pyright: ignore
    app.schedule("@daily", missed="some")  # type: ignore[arg-type]  # pyright: ignore
    app.schedule("@daily")(refused)  # type: ignore[type-var]  # pyright: ignore
    app.retain("pending", timedelta(1))  # type: ignore[arg-type]  # pyright: ignore
    app.retain("failed", 7)  # type: ignore[arg-type]  # pyright: ignore
    app.limit("mail", rate=5)  # type: ignore[arg-type]  # pyright: ignore
    app.limit("mail", 5)  # type: ignore[call-arg]  # pyright: ignore
    typed.state.question  # type: ignore[attr-defined]  # pyright: ignore  # noqa: B018
    App(lifespan=5)  # type: ignore[call-overload]  # pyright: ignore
    await ingest.enqueue({"path": "a"})  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(None)  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(Ingested(1))  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue_many([1])  # type: ignore[list-item]  # pyright: ignore
    await ingest.enqueue(Ingest(path="a"), conn="dsn")  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(Ingest(path="a"), delay=5)  # type: ignore[arg-type]  # pyright: ignore
    await app.enqueue("t", reference="file")  # type: ignore[arg-type]  # pyright: ignore
    await pgjobs.enqueue("t", queue=5)  # type: ignore[arg-type]  # pyright: ignore
    await pgjobs.enqueue("t", unknown=5)  # type: ignore[call-arg]  # pyright: ignore
    await ingest.enqueue(job.payload, unique_scope="livee")  # type: ignore[arg-type]  # pyright: ignore
    await app.list(status="pendng")  # type: ignore[arg-type]  # pyright: ignore
    ingest.sync.enqueue({"path": "a"})  # type: ignore[arg-type]  # pyright: ignore
    ingest.sync.enqueue_many([1])  # type: ignore[list-item]  # pyright: ignore
    ingest.sync.enqueue(job.payload, delay=5)  # type: ignore[arg-type]  # pyright: ignore
    ingest.sync.enqueue(job.payload, conn="dsn")  # type: ignore[arg-type]  # pyright: ignore
    ingest.sync.enqueue(job.payload, conn=AsyncSession())  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(job.payload, conn=Session())  # type: ignore[arg-type]  # pyright: ignore
    app.sync.wait(["1"])  # type: ignore[list-item]  # pyright: ignore
    ingest.sync.wait([job], timeout=5)  # type: ignore[arg-type]  # pyright: ignore
    app.sync.list(status="pendng")  # type: ignore[arg-type]  # pyright: ignore
    pgjobs.sync.enqueue("t", unknown=5)  # type: ignore[call-arg]  # pyright: ignore
    await ingest.enqueue(job.payload, on_conflict="replce")  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(job.payload, unique_for=5)  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(job.payload, group_key=5)  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(job.payload, headers=5)  # type: ignore[arg-type]  # pyright: ignore
    app.job("t", group_key=5)  # type: ignore[arg-type]  # pyright: ignore
    app.job("t", concurrency="2")  # type: ignore[arg-type]  # pyright: ignore
    app.job("t", run_in="proces")  # type: ignore[arg-type]  # pyright: ignore
    ingest.new({"path": "a"})  # type: ignore[arg-type]  # pyright: ignore
    ingest.new(job.payload, ref=5)  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(job.payload, depends_on=5)  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(job.payload, depends_on=[None])  # type: ignore[list-item]  # pyright: ignore
    await ingest.enqueue(job.payload, on_parent_failed="stop")  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(job.payload, batch="nightly")  # type: ignore[arg-type]  # pyright: ignore
    await app.enqueue_many([Ingest(path="a")])  # type: ignore[list-item]  # pyright: ignore
    await app.cancel(1, downstream="yes")  # type: ignore[arg-type]  # pyright: ignore
    app.batch(5)  # type: ignore[arg-type]  # pyright: ignore
    (await app.get_batch(1)).total = 2  # type: ignore[misc]  # pyright: ignore
    await job.wait(timeout=5)  # type: ignore[arg-type]  # pyright: ignore
    await app.wait(job)  # type: ignore[arg-type]  # pyright: ignore
    await ingest.enqueue(job.payload, watch=5)  # type: ignore[arg-type]  # pyright: ignore
    app.worker(queues=["a"], lease=5)  # type: ignore[arg-type]  # pyright: ignore
    job.payload = Ingest(path="b")  # type: ignore[misc]  # pyright: ignore
    job.id = 2  # type: ignore[misc]  # pyright: ignore
    job.transaction()  # type: ignore[attr-defined]  # pyright: ignore
    Backoff.fixed(5)  # type: ignore[arg-type]  # pyright: ignore
    pgjobs.Snooze(5)  # type: ignore[arg-type]  # pyright: ignore
    pgjobs.acting(5)  # type: ignore[arg-type]  # pyright: ignore


@app.middleware  # type: ignore[type-var]  # pyright: ignore
async def no_call_next(job: RunningJob[Any]) -> None: ...


@app.middleware  # type: ignore[type-var]  # pyright: ignore
def not_async(job: RunningJob[Any], call_next: CallNext) -> None: ...


@app.enqueue_middleware  # type: ignore[type-var]  # pyright: ignore
def no_generator(request: EnqueueRequest) -> None: ...


instrument(app.sync)  # type: ignore[arg-type]  # pyright: ignore


@app.job("no job")  # type: ignore[arg-type]  # pyright: ignore
async def no_job(payload: Ingest) -> None: ...


@app.job("two arguments")  # type: ignore[arg-type]  # pyright: ignore
async def two_arguments(job: Job[Ingest], more: int) -> None: ...
