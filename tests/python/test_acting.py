"""``pgjobs.acting``: jobs_audit names the user for whom a program manages jobs."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pgjobs import App, Cancel, InvalidArgument, JobNotFound, acting
from pgjobs.database import Database

HOUR = timedelta(hours=1)
DRIVERS = ["asyncpg", "psycopg", "sqlalchemy asyncpg", "sqlalchemy psycopg"]
HOSTILE = "'; drop table jobs_audit; -- \x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}"


async def actors(conn):
    """The action and the actor of each row."""
    rows = await conn.fetch("select action, actor from jobs_audit order by id")
    return [tuple(row) for row in rows]


async def test_each_call_that_manages_names_the_user_who_acts(app, conn):
    job = await app.enqueue("t", {})
    with acting("anna"):
        await app.edit(job.id, priority=3)
        await app.copy(job.id)
        await app.cancel(job.id)
        await app.retry(job.id)
        await app.edit_many(set_priority=1, job_type="t")
        await app.cancel_many(job_type="t")
        await app.delete_many(job_type="t")
        database = Database(conn)
        await database.pause("q", HOUR, "why")
        await database.resume("q")
        await database.limit("q", 1)
        await database.limits_undeclare("q")
        await database.retain("failed", HOUR)
        await database.schedule("s", "t", "@daily")
        await database.schedule_pause("s")
        await database.schedule_resume("s")
        await database.schedule_run("s")
        await database.unschedule("s")
        await database.limits_declare("app", '[{"name": "q", "max_running": 2}]')
        await database.grant("postgres", "observer")
        await app.cancel_many(job_type="t")
        await database.cleanup(timedelta(0), ["cancelled"])
    assert await actors(conn) == [(action, "anna") for action in (
        "edit", "copy", "cancel", "retry", "edit", "cancel", "delete", "pause", "resume", "limit",
        "limit", "retain", "schedule", "schedule_pause", "schedule_resume", "schedule_run",
        "unschedule", "limit", "grant", "cancel", "cleanup",
    )]


async def test_what_a_call_returns_and_raises_is_the_same_whoever_acts(app):
    job = await app.enqueue("t", {"a": [1]}, headers={"h": "x"}, reference=("order", 7))
    with acting("anna"):
        edited = await app.edit(job.id, priority=2)
        assert (edited.payload, edited.headers, edited.priority) == ({"a": [1]}, {"h": "x"}, 2)
        assert await app.cancel_many(job_type="t") == 1
        assert await app.cancel_many(job_type="t") == 0
        with pytest.raises(JobNotFound, match="no job 77"):
            await app.retry(77)
        assert [found.id for found in await app.list()] == [job.id]


async def test_the_next_call_on_the_same_connection_of_the_pool_names_nobody(pgjobs_dsn, conn):
    async with App(pgjobs_dsn, pool_size=1) as app:
        job = await app.enqueue("t", {})
        with acting("anna"):
            await app.cancel(job.id)
        await app.retry(job.id)
        with acting("anna"), acting(None):
            await app.cancel(job.id)
    assert await actors(conn) == [("cancel", "anna"), ("retry", None), ("cancel", None)]


async def test_tasks_that_act_at_once_are_told_apart(app, conn):
    jobs = [await app.enqueue("t", {}) for _ in range(20)]

    async def cancel(job):
        with acting(f"user {job.id}"):
            await asyncio.sleep(0)
            await app.cancel(job.id)

    await asyncio.gather(*map(cancel, jobs))
    rows = await conn.fetch("select job_id, actor from jobs_audit")
    assert {tuple(row) for row in rows} == {(job.id, f"user {job.id}") for job in jobs}


@asynccontextmanager
async def begun(driver, dsn):
    """A connection in a transaction, and what ends the transaction by its name."""
    if driver == "asyncpg":
        connection = await asyncpg.connect(dsn)
        transaction = connection.transaction()
        await transaction.start()
        yield connection, lambda end: getattr(transaction, end)()
        await connection.close()
    elif driver == "psycopg":
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            yield connection, lambda end: getattr(connection, end)()
    else:
        of_driver = {"sqlalchemy asyncpg": asyncpg.connect,
                     "sqlalchemy psycopg": psycopg.AsyncConnection.connect}[driver]
        engine = create_async_engine(
            f"postgresql+{driver.split()[1]}://", async_creator=lambda: of_driver(dsn)
        )
        async with AsyncSession(engine) as session:
            yield session, lambda end: getattr(session, end)()
        await engine.dispose()


@pytest.mark.parametrize("driver", DRIVERS)
async def test_every_driver_tells_who_acts_in_the_callers_transaction(
    app, conn, pgjobs_dsn, driver
):
    job = await app.enqueue("t", {})
    for end in ("rollback", "commit"):
        assert await actors(conn) == []
        async with begun(driver, pgjobs_dsn) as (connection, ends):
            with acting(HOSTILE):
                assert (await app.cancel(job.id, conn=connection)).status == "cancelled"
            await ends(end)
    assert await actors(conn) == [
        ("cancel", "'; drop table jobs_audit; --  [31m\N{RIGHT-TO-LEFT OVERRIDE}")
    ]


async def test_with_conn_the_database_knows_the_user_until_the_end_of_the_transaction(app, conn):
    job = await app.enqueue("t", {})
    async with conn.transaction():
        with acting("anna"):
            await app.cancel(job.id, conn=conn)
        await app.retry(job.id, conn=conn)
    await app.cancel(job.id, conn=conn)
    assert await actors(conn) == [("cancel", "anna"), ("retry", "anna"), ("cancel", None)]


def test_a_sync_call_tells_who_acts(pgjobs_dsn):
    app = App(pgjobs_dsn)
    try:
        job = app.sync.enqueue("t", {})
        with acting("anna"):
            app.sync.cancel(job.id)
        app.sync.retry(job.id)
    finally:
        app.sync.close()
    with psycopg.connect(pgjobs_dsn) as connection:
        rows = connection.execute("select action, actor from jobs_audit order by id").fetchall()
    assert rows == [("cancel", "anna"), ("retry", None)]


@pytest.mark.parametrize("actor", ["", 7, b"anna"])
def test_what_is_no_name_is_refused(actor):
    with pytest.raises(InvalidArgument, match="actor must be the name of a user"), acting(actor):
        pass


@pytest.mark.parametrize("actor", ["nul \0", "half \ud800"])
async def test_a_name_that_postgresql_cannot_hold_is_refused_and_nothing_is_done(
    app, conn, actor
):
    job = await app.enqueue("t", {})
    with pytest.raises(InvalidArgument), acting(actor):
        await app.cancel(job.id)
    assert (await app.get(job.id)).status == "pending"
    assert await actors(conn) == []


async def test_a_worker_that_runs_and_cancels_its_jobs_leaves_no_row_but_for_its_declarations(
    app, conn
):
    @app.job("t")
    async def handle(job):
        raise Cancel("no need")

    app.limit("default", max_running=5)
    job = await app.enqueue("t", {})
    await app.worker().run(until_empty=True)
    assert (await app.get(job.id)).status == "cancelled"
    assert await actors(conn) == [("limit", f"app {app.declared_in}")]
    await app.worker().run(until_empty=True)
    assert len(await actors(conn)) == 1
