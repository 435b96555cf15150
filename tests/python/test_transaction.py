"""``job.transaction()``: the handler's writes and the job's completion in one commit."""

import asyncio
import contextlib
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from pgjobs import App, ConnectionLost, JobNotHeld
from pgjobs.connection import borrowed


@pytest.fixture
async def written(conn):
    """Creates a table for the handlers; returns a function that reads its job ids."""
    await conn.execute("create table ledger (job_id bigint)")

    async def read():
        return [row["job_id"] for row in await conn.fetch("select job_id from ledger")]

    return read


INSERT = "insert into ledger values ($1)"
STATUS = "select status, result, retry_count, attempt from jobs where id = $1"


async def test_the_writes_and_the_completion_are_one_commit(app, conn, written):
    inside = []

    @app.job("t")
    async def handler(job):
        async with job.transaction(result={"n": 1}) as mine:
            await mine.execute(INSERT, job.id)
            inside.append((await written(), (await conn.fetchrow(STATUS, job.id))["status"]))

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert inside == [([], "processing")]
    assert await written() == [job.id]
    assert tuple(await conn.fetchrow(STATUS, job.id)) == ("completed", '{"n": 1}', 0, 1)


async def test_a_result_may_be_filled_inside_the_block(app, conn):
    @app.job("t")
    async def handler(job):
        result = {}
        async with job.transaction(result=result) as mine:
            result["n"] = await mine.fetchval("select 7")

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert (await conn.fetchrow(STATUS, job.id))["result"] == '{"n": 7}'


async def test_an_exception_rolls_everything_back_and_the_job_has_failed(app, conn, written):
    @app.job("t", max_retries=0)
    async def handler(job):
        async with job.transaction() as mine:
            await mine.execute(INSERT, job.id)
            raise ValueError("no")

    job = await app.enqueue("t", max_retries=0)
    await app.worker().run(until_empty=True)
    assert await written() == []
    assert (await conn.fetchrow(STATUS, job.id))["status"] == "failed"


async def test_the_writes_of_a_job_that_was_lost_meanwhile_are_rolled_back(app, conn, written):
    errors = []

    @app.job("t")
    async def handler(job):
        if job.attempt > 1:
            return
        try:
            async with job.transaction() as mine:
                await mine.execute(INSERT, job.id)
                # Recovered, and claimed again by another worker.
                async with conn.transaction():
                    await conn.execute("select from jobs_recover($1)", job.worker)
                    await conn.execute("select from jobs_claim('other')")
        except JobNotHeld as error:
            errors.append(error)
            raise

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert len(errors) == 1
    assert await written() == []
    row = await conn.fetchrow("select * from jobs where id = $1", job.id)
    assert (row["status"], row["worker"], row["retry_count"]) == ("processing", "other", 0)


async def test_an_exception_after_the_transaction_does_not_undo_it(app, conn, caplog):
    @app.job("t")
    async def handler(job):
        async with job.transaction(result=1):
            pass
        raise ValueError("too late")

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert tuple(await conn.fetchrow(STATUS, job.id)) == ("completed", "1", 0, 1)
    assert "raised after its transaction had completed it" in caplog.text


async def test_a_job_is_completed_by_its_first_transaction_only(app, conn, caplog):
    again = []

    @app.job("t")
    async def handler(job):
        async with job.transaction(result="first"):
            pass
        with pytest.raises(JobNotHeld, match="one transaction per job"):
            async with job.transaction():
                again.append("entered")
        return "second"

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert (await conn.fetchrow(STATUS, job.id))["result"] == '"first"'
    assert again == []
    assert "discarded" not in caplog.text


async def test_jobs_enqueued_in_the_transaction_exist_only_if_it_commits(app, conn):
    @app.job("t")
    async def handler(job):
        async with job.transaction() as mine:
            await app.enqueue("next", conn=mine)
            if job.payload == "bad":
                raise ValueError

    await app.enqueue_many("t", ["good", "bad"])
    await app.worker().run(until_empty=True)
    assert await conn.fetchval("select count(*) from jobs where job_type = 'next'") == 1


async def test_without_keep_completed_the_transaction_deletes_the_row(app, conn):
    @app.job("t")
    async def handler(job):
        async with job.transaction():
            pass

    await app.enqueue("t")
    await app.worker(keep_completed=False).run(until_empty=True)
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_more_jobs_than_connections_wait_for_a_connection(app, conn, written):
    @app.job("t")
    async def handler(job):
        async with job.transaction() as mine:
            await mine.execute(INSERT, job.id)
            await asyncio.sleep(0)

    ids = await app.enqueue_many("t", [None] * 60)
    await app.worker(concurrency=60).run(until_empty=True)
    assert sorted(await written()) == ids


async def test_a_completion_that_fails_rolls_the_writes_back(app, conn, written):
    @app.job("t")
    async def handler(job):
        async with job.transaction(result=object()) as mine:
            await mine.execute(INSERT, job.id)

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert await written() == []
    assert (await conn.fetchrow(STATUS, job.id))["status"] in ("pending", "failed")


DIE = "select pg_terminate_backend(pg_backend_pid())"


@pytest.mark.parametrize("reset", [DIE, "no sql", "select pg_sleep(60)"])
async def test_no_fault_after_the_commit_reaches_the_handler(
    app, conn, written, reset, monkeypatch
):
    monkeypatch.setattr("pgjobs.connection.borrowed.RESET_TIMEOUT_S", 0.3)
    monkeypatch.setattr("pgjobs.connection.borrowed.WAIT_FOR_RESET_S", 0.2)
    ends = []

    @app.job("t")
    async def handler(job):
        async with job.transaction(result=1) as mine:
            await mine.execute(INSERT, job.id)
            monkeypatch.setattr(asyncpg.Connection, "get_reset_query", lambda _: reset)
        ends.append("reached")

    job = await app.enqueue("t")
    async with asyncio.timeout(5):
        await app.worker().run(until_empty=True)
    assert ends == ["reached"]
    assert await written() == [job.id]
    assert tuple(await conn.fetchrow(STATUS, job.id)) == ("completed", "1", 0, 1)


async def test_a_lost_answer_to_the_commit_is_said(app, conn, written):
    # The trigger kills the session in its COMMIT.
    await conn.execute(
        """
        create function die() returns trigger language plpgsql as $$
        begin
            perform pg_terminate_backend(pg_backend_pid());
            return null;
        end $$;
        create constraint trigger die after insert on ledger deferrable initially deferred
            for each row execute function die();
        """
    )
    errors = []

    @app.job("t")
    async def handler(job):
        try:
            async with job.transaction() as mine:
                await mine.execute(INSERT, job.id)
        except Exception as error:
            errors.append(error)
            raise

    job = await app.enqueue("t", max_retries=0)
    await app.worker().run(until_empty=True)
    assert isinstance(errors[0], ConnectionLost)
    assert errors[0].may_exist
    assert "answer to COMMIT was lost" in str(errors[0])
    assert isinstance(errors[0].__cause__, asyncpg.PostgresError | asyncpg.InterfaceError)
    # This time the COMMIT did not take place.
    assert await written() == []
    assert (await conn.fetchrow(STATUS, job.id))["status"] == "failed"


async def test_a_connection_that_breaks_in_the_block_gives_the_error_of_the_driver(app):
    errors = []

    @app.job("t")
    async def handler(job):
        try:
            async with job.transaction() as mine:
                await mine.execute(DIE)
        except Exception as error:
            errors.append(error)
            raise

    await app.enqueue("t", max_retries=0)
    await app.worker().run(until_empty=True)
    assert isinstance(errors[0], asyncpg.PostgresError | asyncpg.InterfaceError)


async def test_an_error_of_the_handler_costs_no_connection(app, conn):
    pids = []

    @app.job("t")
    async def handler(job):
        async with job.transaction() as mine:
            pids.append(mine.get_server_pid())
            raise FileNotFoundError

    await app.enqueue_many("t", [1, 2, 3], max_retries=0)
    await app.worker(concurrency=1).run(until_empty=True)
    assert len(pids) == 3
    assert len(set(pids)) == 1


async def test_calls_without_conn_within_transactions_never_wait_for_the_pool_of_the_transactions(
    pgjobs_dsn, conn
):
    async with App(pgjobs_dsn, pool_size=2) as app:
        begun = asyncio.Barrier(2)

        @app.job("t", max_retries=0)
        async def handler(job):
            async with job.transaction():
                await begun.wait()  # all connections of the pool are in use
                await app.enqueue("u")
                await app.enqueue("u", unique_key=f"{job.id}")
                await app.enqueue_many("u", [1, 2], delay=timedelta(hours=1))

        await app.enqueue_many("t", range(10))
        await asyncio.wait_for(app.worker().run(until_empty=True), 20)
    rows = await conn.fetch("select job_type, status, count(*) from jobs group by 1, 2 order by 1")
    assert [tuple(row) for row in rows] == [("t", "completed", 10), ("u", "pending", 40)]


async def test_the_log_says_once_that_transactions_wait_for_an_exhausted_pool(
    pgjobs_dsn, monkeypatch, caplog
):
    monkeypatch.setattr(borrowed, "WARN_OF_EXHAUSTION_AFTER_S", 0.1)
    monkeypatch.setattr(borrowed, "_exhaustion", borrowed._Exhaustion())

    async with App(pgjobs_dsn, pool_size=1) as app:

        @app.job("t")
        async def handler(job):
            async with job.transaction():
                await asyncio.sleep(0.3)

        await app.enqueue_many("t", range(3))
        await app.worker().run(until_empty=True)
    warnings = [record.message for record in caplog.records if record.name == "pgjobs.pool"]
    assert len(warnings) == 1
    assert "all 1 connections of the pool" in warnings[0]
    assert "pool_size" in warnings[0]


@pytest.fixture
async def sessions(pgjobs_dsn):
    """Makes SQLAlchemy sessions on the test's database."""
    engine = create_async_engine(pgjobs_dsn.replace("postgresql://", "postgresql+asyncpg://"))
    yield async_sessionmaker(engine)
    await engine.dispose()


@pytest.mark.parametrize("keep", [True, False])
async def test_a_job_is_completed_in_the_session_of_an_orm_quietly(
    app, conn, written, sessions, caplog, keep
):
    caplog.set_level("INFO", "pgjobs")
    inside = []

    @app.job("t")
    async def handler(job):
        async with sessions() as session, session.begin():
            await session.execute(text("insert into ledger values (:id)"), {"id": job.id})
            await job.complete({"n": 1}, conn=session)
            inside.append((await written(), (await conn.fetchrow(STATUS, job.id))["status"]))
        return {"ignored": True}

    job = await app.enqueue("t")
    await app.worker(keep_completed=keep).run(until_empty=True)
    assert inside == [([], "processing")]
    assert await written() == [job.id]
    row = await conn.fetchrow(STATUS, job.id)
    assert row is None if not keep else tuple(row) == ("completed", '{"n": 1}', 0, 1)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


async def test_a_session_that_is_rolled_back_undoes_the_completion(app, conn, written, sessions):
    @app.job("t", max_retries=0)
    async def handler(job):
        async with sessions() as session, session.begin():
            await session.execute(text("insert into ledger values (:id)"), {"id": job.id})
            await job.complete(conn=session)
            raise ValueError("not after all")

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    row = await conn.fetchrow("select status, error from jobs where id = $1", job.id)
    assert (row["status"], await written()) == ("failed", [])
    assert row["error"].startswith("ValueError: not after all")


async def test_a_job_that_was_lost_cannot_be_completed_in_a_session(
    app, conn, written, sessions, caplog
):
    raised = []

    @app.job("t")
    async def handler(job):
        await conn.execute("update jobs set attempt = attempt + 1")
        with contextlib.suppress(JobNotHeld):
            async with sessions() as session, session.begin():
                await session.execute(text("insert into ledger values (:id)"), {"id": job.id})
                try:
                    await job.complete(conn=session)
                except JobNotHeld:
                    raised.append(job.id)
                    raise
        await conn.execute("update jobs set attempt = attempt - 1")

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert (raised, await written()) == ([job.id], [])
