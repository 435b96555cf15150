"""Enqueueing without ``conn``: one patience, and one error that says whether the job may exist."""

import asyncio
import pickle
import socket
import time
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import asyncpg
import pytest
from chaos.proxy import Proxy

from pgjobs import App, Backoff, ConnectionLost, InvalidArgument
from pgjobs.connection.connector import Connector

PATIENCE_S = 0.6
HOUR = timedelta(hours=1)
ADDED = "select count(*) > 0 from jobs where job_type = 't'"
BY_THE_LINK = {"plain": {}, "run_at": {"run_at": datetime(2100, 1, 1, tzinfo=UTC)},
               "backoff": {"backoff": Backoff.fixed(HOUR)}}
BY_THE_POOL = {"delay": {"delay": HOUR}, "unique_key": {"unique_key": "k"}}
ONE_JOB = BY_THE_LINK | BY_THE_POOL
MANY_JOBS = {"many": {}, "many with delay": {"delay": HOUR}}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """The constants, short enough for a test."""
    monkeypatch.setattr("pgjobs.connection.patience.PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr("pgjobs.connection.borrowed.RESET_TIMEOUT_S", 0.5)
    monkeypatch.setattr("pgjobs.connection.borrowed.WAIT_FOR_RESET_S", 0.2)


@pytest.fixture(params=[*ONE_JOB, *MANY_JOBS])
def call(request):
    """call(app) enqueues by one of the ways."""
    kind = request.param

    def enqueue(app):
        if kind in MANY_JOBS:
            return app.enqueue_many("t", [1, 2], **MANY_JOBS[kind])
        return app.enqueue("t", **ONE_JOB[kind])

    enqueue.kind = kind
    return enqueue


@pytest.fixture(params=["direct", "pooled"])
async def through(pgjobs_dsn, request, monkeypatch):
    """An app behind a proxy, and the proxy; "pooled": as if there were a pooler too."""
    if request.param == "pooled":
        monkeypatch.setattr(Connector, "_directly", AsyncMock(return_value=None))
    async with Proxy(pgjobs_dsn) as proxy:
        app = App(proxy.dsn)
        yield app, proxy
        await asyncio.wait_for(app.close(), 5)


@pytest.fixture
async def locked(pgjobs_dsn):
    """Another session, in a transaction that keeps everybody from adding jobs."""
    other = await asyncpg.connect(pgjobs_dsn)
    await other.execute("begin; lock table jobs")
    yield other
    await other.close()


async def used(app):
    """Opens the connection of the link and one of the pool, and prepares their statements."""
    await app.enqueue("warm")
    await app.enqueue("warm", delay=HOUR)
    await app.enqueue("warm", unique_key="warm")


async def test_a_call_on_a_line_that_swallows_every_byte_gives_up(through, call):
    app, proxy = through
    await used(app)
    assert proxy.swallow("") == 2
    began = time.monotonic()
    with pytest.raises(ConnectionLost) as lost:
        await asyncio.wait_for(call(app), 5)
    assert PATIENCE_S * 0.9 < time.monotonic() - began < PATIENCE_S + 0.5
    # The delay of many jobs is looked up before any job is sent.
    assert lost.value.may_exist == (call.kind != "many with delay")
    assert lost.value.__cause__ is not None
    assert await call(app)


@pytest.mark.parametrize("through", ["direct"], indirect=True)
async def test_a_call_whose_answer_is_swallowed_may_have_added_its_job(through, conn, eventually):
    app, proxy = through
    await used(app)
    assert proxy.swallow("", only_answers=True) == 2
    for options in BY_THE_POOL["unique_key"], {}:
        with pytest.raises(ConnectionLost, match="look for it") as lost:
            await app.enqueue("t", **options)
        assert lost.value.may_exist
        await eventually(lambda: conn.fetchval(ADDED))
        await conn.execute("delete from jobs")


async def test_a_cancelled_call_returns_although_the_line_swallows_every_byte(
    through, call, eventually
):
    app, proxy = through
    await used(app)
    proxy.swallow("")
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(app), 0.1)
    assert time.monotonic() - began < 0.4
    pool = await app._connections().for_calls()
    # The connection is closed behind the caller's back.
    if call.kind not in BY_THE_LINK:
        await eventually(lambda: pool.get_size() == 0)


@pytest.mark.parametrize("options", [{}, {"delay": HOUR}], ids=["link", "pool"])
async def test_a_call_that_is_cancelled_in_its_statement_does_not_wait_to_roll_back(
    through, locked, options
):
    app, proxy = through
    await locked.execute("rollback")
    await used(app)
    await locked.execute("begin; lock table jobs")
    calling = asyncio.create_task(app.enqueue("t", **options))
    await asyncio.sleep(0.2)
    proxy.swallow("")
    calling.cancel()
    began = time.monotonic()
    # A second cancellation, as wait_for() would send one, must not be needed.
    assert (await asyncio.wait([calling], timeout=5))[0]
    assert calling.cancelled()
    assert time.monotonic() - began < 0.3


@pytest.mark.parametrize("options", [{}, {"delay": HOUR}], ids=["link", "pool"])
async def test_many_callers_of_a_dead_line_all_give_up_in_time(through, options):
    app, proxy = through
    await used(app)
    proxy.swallow("")
    began = time.monotonic()
    calls = [app.enqueue("t", n, **options) for n in range(50)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    lost = [outcome for outcome in outcomes if isinstance(outcome, ConnectionLost)]
    # Those that still have time left find a new connection.
    assert lost
    assert time.monotonic() - began < PATIENCE_S + 1
    assert len({id(error) for error in lost}) == len(lost)


async def test_a_call_behind_a_statement_that_hangs_has_its_own_patience(app, locked):
    first = asyncio.create_task(app.enqueue("first"))
    await asyncio.sleep(PATIENCE_S / 2)
    began = time.monotonic()
    waiting = [asyncio.create_task(app.enqueue("t", n)) for n in range(3)]
    with pytest.raises(ConnectionLost) as lost:
        await first
    assert lost.value.may_exist
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert PATIENCE_S * 0.9 < time.monotonic() - began < PATIENCE_S + 0.3
    # They were sent when the first call had given up.
    assert all(isinstance(o, ConnectionLost) and o.may_exist for o in outcomes)


async def test_a_call_that_waits_for_the_exhausted_pool_was_not_sent(pgjobs_dsn, conn):
    async with (
        App(pgjobs_dsn, pool_size=1) as app,
        (await app._connections().for_calls()).acquire(),
    ):
        for call in (app.enqueue("t", unique_key="k"), app.enqueue_many("t", [1])):
            began = time.monotonic()
            with pytest.raises(ConnectionLost, match="not added: try again") as lost:
                await asyncio.wait_for(call, 5)
            assert time.monotonic() - began < PATIENCE_S + 0.5
            assert not lost.value.may_exist
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_a_server_that_says_nothing_was_not_sent_anything(call):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        app = App(f"postgresql://me@127.0.0.1:{mute.getsockname()[1]}/db?sslmode=disable")
        began = time.monotonic()
        with pytest.raises(ConnectionLost, match="not added: try again") as lost:
            await asyncio.wait_for(call(app), 5)
        assert time.monotonic() - began < PATIENCE_S + 0.5
        assert not lost.value.may_exist
        await app.close()


async def test_where_nothing_listens_the_error_is_still_an_oserror(call):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    app = App(f"postgresql://me@127.0.0.1:{port}/db?sslmode=disable")
    with pytest.raises(OSError, match="not added: try again") as lost:
        await call(app)
    assert isinstance(lost.value, ConnectionLost)
    assert not lost.value.may_exist
    assert isinstance(lost.value.__cause__, ConnectionRefusedError)
    await app.close()


@pytest.mark.parametrize("options", ONE_JOB.values(), ids=ONE_JOB)
async def test_connecting_and_the_statement_share_the_patience(
    app, locked, options, monkeypatch
):
    original = Connector.__call__

    async def slow(self, *args, **options):
        await asyncio.sleep(PATIENCE_S * 0.7)
        return await original(self, *args, **options)

    monkeypatch.setattr(Connector, "__call__", slow)
    began = time.monotonic()
    with pytest.raises(ConnectionLost) as lost:
        await asyncio.wait_for(app.enqueue("t", **options), 5)
    assert time.monotonic() - began < PATIENCE_S + 0.3
    assert lost.value.may_exist


async def test_a_session_that_is_killed_in_the_statement_may_have_added_the_job(app, conn, call):
    await conn.execute(
        """
        create function die() returns trigger language plpgsql as $$
        begin
            perform pg_terminate_backend(pg_backend_pid());
            return null;
        end $$;
        create trigger die after insert on jobs for each statement execute function die();
        """
    )
    with pytest.raises(ConnectionLost, match="give a unique_key") as lost:
        await call(app)
    assert lost.value.may_exist
    assert isinstance(lost.value.__cause__, asyncpg.PostgresError | asyncpg.InterfaceError)
    await conn.execute("drop trigger die on jobs")
    assert await call(app)


@pytest.mark.parametrize(
    "reset", ["select pg_terminate_backend(pg_backend_pid())", "select pg_sleep(60)", "no sql"]
)
async def test_no_fault_of_giving_the_connection_back_reaches_the_caller(
    app, conn, call, reset, monkeypatch
):
    monkeypatch.setattr(asyncpg.Connection, "get_reset_query", lambda _: reset)
    assert await asyncio.wait_for(call(app), PATIENCE_S)
    assert await conn.fetchval("select count(*) > 0 from jobs")


async def test_an_error_of_the_pool_after_the_answer_does_not_reach_the_caller(
    app, conn, call, monkeypatch
):
    async def reset(self, *, timeout=None):  # noqa: ASYNC109 - asyncpg's argument
        await self.execute("select pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(asyncpg.Connection, "reset", reset)
    assert await asyncio.wait_for(call(app), PATIENCE_S)
    assert await conn.fetchval("select count(*) > 0 from jobs")


async def test_a_call_by_the_pool_spares_the_reset_and_who_sets_something_does_not(
    app, monkeypatch
):
    sent = []
    original = asyncpg.Connection.execute

    async def execute(self, query, *args):
        sent.append(query)
        return await original(self, query, *args)

    await used(app)
    monkeypatch.setattr(asyncpg.Connection, "execute", execute)
    await app.enqueue("t", delay=HOUR)
    assert sent == []
    pool = await app._connections().for_calls()
    async with pool.acquire() as mine:
        await mine.execute("set statement_timeout = '1h'")
    await app.enqueue("t", delay=HOUR)
    assert pool.get_size() == 1
    assert await pool.fetchval("show statement_timeout") == "0"


async def test_a_read_only_server_has_added_nothing_and_its_connection_is_not_kept(
    app, conn, call
):
    await conn.execute(
        "do $$begin execute format('alter database %I set default_transaction_read_only = on',"
        " current_database()); end$$"
    )
    with pytest.raises(ConnectionLost, match="not added: try again") as lost:
        await call(app)
    assert not lost.value.may_exist
    assert isinstance(lost.value.__cause__, asyncpg.ReadOnlySQLTransactionError)
    await conn.execute(
        "set default_transaction_read_only = off; do $$begin execute format('alter database %I"
        " reset default_transaction_read_only', current_database()); end$$"
    )
    assert await call(app)


async def test_an_app_closes_although_its_lines_swallow_every_byte(through):
    app, proxy = through
    await used(app)
    proxy.swallow("")
    began = time.monotonic()
    await app.close()
    assert time.monotonic() - began < 3


async def test_a_closing_app_waits_for_who_uses_a_connection_of_its_pool(pgjobs_dsn):
    app = App(pgjobs_dsn)
    async with (await app.pool()).acquire() as connection:
        closing = asyncio.create_task(app.close())
        await asyncio.sleep(1.2)  # twice as long as an answer of the server is waited for
        assert await connection.fetchval("select 1") == 1
    await closing


async def test_a_job_whose_call_was_cancelled_behind_a_lock_is_not_added_later(
    app, conn, pgjobs_dsn, eventually
):
    await used(app)
    other = await asyncpg.connect(pgjobs_dsn)
    transaction = other.transaction()
    await transaction.start()
    await app.enqueue("t", 1, unique_key="k", conn=other)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(app.enqueue("t", 2, unique_key="k"), 0.3)
    await asyncio.sleep(0.2)
    await transaction.rollback()
    await other.close()
    await asyncio.sleep(0.2)
    assert await conn.fetchval("select count(*) from jobs where job_type = 't'") == 0


async def test_with_conn_the_errors_are_those_of_the_driver(app, conn, pgjobs_dsn, eventually):
    mine = await asyncpg.connect(pgjobs_dsn)
    await conn.execute("select pg_terminate_backend($1)", mine.get_server_pid())
    await eventually(mine.is_closed)
    for call in (app.enqueue("t", conn=mine), app.enqueue_many("t", [1], conn=mine)):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)) as lost:
            await call
        assert not isinstance(lost.value, ConnectionLost)


async def test_what_the_database_refuses_is_no_lost_connection(app, call):
    with pytest.raises(InvalidArgument):
        await app.enqueue("t", priority=99, unique_key="k")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await call(App(app.dsn.replace("/pgjobs_", "/no_")))


async def test_calls_in_a_row_need_one_connection_of_the_pool(app):
    for n in range(20):
        await app.enqueue("t", unique_key=f"{n}")
    assert (await app._connections().for_calls()).get_size() == 1


def test_the_error_survives_another_process():
    error = pickle.loads(pickle.dumps(ConnectionLost("text", may_exist=False)))
    assert (str(error), error.may_exist) == ("text", False)


@pytest.mark.parametrize("how", ["given", "PGJOBS_DSN", "DATABASE_URL"])
async def test_a_server_that_is_not_reached_is_named_with_who_named_it(monkeypatch, call, how):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    dsn = f"postgresql://me:hush@127.0.0.1:{port}/db?sslmode=disable"
    for name in ("PGJOBS_DSN", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    if how != "given":
        monkeypatch.setenv(how, dsn)
    app = App(dsn if how == "given" else None)
    by = "the given dsn" if how == "given" else how
    app.job("t")(lambda job: None)
    with pytest.raises(ConnectionLost) as lost:
        await call(app)
    place = f"postgresql://me:***@127.0.0.1:{port}/db?sslmode=disable"
    assert str(lost.value).endswith(
        f"not added: try again once a server answers at {place}, which {by} names"
    )
    with pytest.raises(ConnectionRefusedError) as refused:
        await app.worker().run()
    assert refused.value.__notes__ == [
        f"Try again once a server answers at {place}, which {by} names."
    ]


async def test_where_no_database_is_named_the_error_says_so(monkeypatch, call):
    for name in ("PGJOBS_DSN", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("PGPORT", str(closed.getsockname()[1]))
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    with pytest.raises(
        ConnectionLost,
        match="neither PGJOBS_DSN nor DATABASE_URL is set, and no dsn was given, so those of"
        " PGHOST, PGPORT hold; write PGJOBS_DSN=postgresql://",
    ):
        await call(App())
