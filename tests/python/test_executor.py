"""``conn=``: a job exists if and only if the caller's transaction commits, whatever the driver."""

from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import asyncpg
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pgjobs import Backoff, InvalidArgument, JobNotFound, JobService

KINDS = ["connection", "proxy", "session", "async connection", "psycopg session"]


@pytest.fixture(params=KINDS)
async def begun(request, pgjobs_dsn):
    """``async with begun() as (conn, execute)``: a transaction, committed unless it raises."""
    kind = request.param

    async def connect():
        return await asyncpg.connect(pgjobs_dsn)

    async def connect_psycopg():
        return await psycopg.AsyncConnection.connect(pgjobs_dsn)

    engine = pool = None
    if kind == "proxy":
        pool = await asyncpg.create_pool(pgjobs_dsn, min_size=0)
    elif kind.startswith("psycopg"):
        engine = create_async_engine("postgresql+psycopg://", async_creator=connect_psycopg)
    elif kind != "connection":
        engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)

    @asynccontextmanager
    async def begin():
        if kind == "connection":
            conn = await connect()
            try:
                async with conn.transaction():
                    yield conn, conn.execute
            finally:
                await conn.close()
        elif kind == "proxy":
            async with pool.acquire() as conn, conn.transaction():
                yield conn, conn.execute
        elif kind == "async connection":
            async with engine.begin() as conn:
                yield conn, lambda query: conn.execute(text(query))
        else:
            async with AsyncSession(engine) as session, session.begin():
                yield session, lambda query: session.execute(text(query))

    yield begin
    if engine is not None:
        await engine.dispose()
    if pool is not None:
        await pool.close()


async def count(conn):
    return await conn.fetchval("select count(*) from jobs")


async def test_the_job_is_there_after_the_commit_and_not_before(app, conn, begun):
    async with begun() as (mine, execute):
        await execute("create table orders (id int)")
        job = await app.enqueue("t", {"a": "100%"}, conn=mine)
        ids = await app.enqueue_many("t", [1, 2], conn=mine)
        assert await count(conn) == 0
    assert [row["id"] for row in await conn.fetch("select id from jobs order by id")] == [
        job.id, *ids
    ]
    assert await conn.fetchval("select payload ->> 'a' from jobs where id = $1", job.id) == "100%"
    await conn.execute("select from orders")


async def test_a_rollback_leaves_no_job(app, conn, begun):
    with suppress(ZeroDivisionError):
        async with begun() as (mine, _):
            await app.enqueue("t", conn=mine)
            await app.enqueue_many("t", [1], conn=mine)
            raise ZeroDivisionError
    assert await count(conn) == 0


async def test_every_argument_arrives(app, begun):
    at = datetime(2100, 1, 1, tzinfo=UTC)
    hours = [timedelta(hours=1), timedelta(hours=2)]
    async with begun() as (mine, _):
        job = await app.enqueue(
            "t", {"k": [1, None]}, queue="q", priority=-9, run_at=at, reference=("r", 2**62),
            max_retries=0, unique_key="%(k)s", unique_scope="kept",
            backoff=Backoff.listed(*hours), conn=mine,
        )
        again = await app.enqueue("t", unique_key="%(k)s", delay=hours[0], conn=mine)
    assert again.id == job.id
    assert (job.payload, job.queue, job.priority) == ({"k": [1, None]}, "q", -9)
    assert (job.run_at, job.reference, job.max_retries) == (at, ("r", 2**62), 0)
    assert (job.unique_key, job.unique_scope, job.backoff) == ("%(k)s", "kept", hours)


async def test_every_driver_raises_the_errors_of_pgjobs(app, begun):
    with pytest.raises(JobNotFound, match="7"):
        async with begun() as (mine, _):
            await JobService(mine).mark_processing(7)
    for options in ({"priority": 10}, {"queue": "\x00"}, {"queue": "x" * 600}):
        with pytest.raises(InvalidArgument):
            async with begun() as (mine, _):
                await app.enqueue("t", conn=mine, **options)


async def test_the_service_works_in_the_callers_transaction(begun, conn):
    async with begun() as (mine, _):
        service = JobService(mine, worker="me", lease=timedelta(minutes=1))
        job = await service.create("t", 2**40, "file")
        await service.mark_processing(job.id)
        await service.mark_failed(job.id, "no")
        await service.mark_processing(job.id)
        await service.mark_completed(job.id, [1])
        assert await service.cleanup_completed(days=1) == 0
        assert await service.recover() == []
    assert await conn.fetchval("select status from jobs where id = $1", job.id) == "completed"


async def test_an_error_may_be_rolled_back_to_a_savepoint(app, conn, pgjobs_dsn):
    async def connect():
        return await asyncpg.connect(pgjobs_dsn)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    async with AsyncSession(engine) as session, session.begin():
        await app.enqueue("t", conn=session)
        with pytest.raises(InvalidArgument):
            async with session.begin_nested():
                await app.enqueue("t", priority=99, conn=session)
    await engine.dispose()
    assert await count(conn) == 1


async def test_a_pool_commits_at_once(app, conn, pgjobs_dsn):
    async with asyncpg.create_pool(pgjobs_dsn, min_size=0) as pool:
        await app.enqueue("t", conn=pool)
        assert await count(conn) == 1


async def test_a_json_codec_of_the_caller_does_no_harm(app, conn):
    import json

    for kind in ("json", "jsonb"):
        await conn.set_type_codec(
            kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )
    job = await app.enqueue("t", {"a": 1}, conn=conn)
    assert job.payload == {"a": 1}
    assert await app.enqueue_many("t", [{"a": 1}], conn=conn)


@pytest.mark.parametrize("conn_", [object(), "postgresql://", 1])
async def test_a_conn_of_another_type_is_refused(app, conn_):
    with pytest.raises(InvalidArgument, match="conn must be an asyncpg connection"):
        await app.enqueue("t", conn=conn_)


async def test_what_is_refused_is_told_with_its_module(app):
    class AsyncConnection:
        """As psycopg's class is named, and SQLAlchemy's."""

    AsyncConnection.__module__, AsyncConnection.__qualname__ = "psycopg", "AsyncConnection"
    with pytest.raises(InvalidArgument, match=r"not psycopg\.AsyncConnection$"):
        await app.enqueue("t", conn=AsyncConnection())


async def test_a_synchronous_session_is_refused(app):
    from sqlalchemy.orm import Session

    with pytest.raises(InvalidArgument, match="AsyncSession"):
        await app.enqueue("t", conn=Session())
