"""A worker's own connections: how long a statement may take, and when they are replaced."""

import asyncio
import socket
from contextlib import suppress

import asyncpg
import pytest

from pgjobs.connection.link import Link
from pgjobs.worker.mode import Mode

SLOW = "select length($1::text), pg_sleep(0.3)"


@pytest.fixture
async def link(pgjobs_dsn: str):
    made = Link(pgjobs_dsn, name="impatient", timeout_s=0.1)
    await made.connect()
    yield made
    await made.close()


async def test_a_statement_without_an_answer_is_given_up(link):
    with pytest.raises(TimeoutError):
        await link.fetch(SLOW, "small")


async def test_a_large_text_has_more_time(link, monkeypatch):
    monkeypatch.setattr("pgjobs.connection.link.SLOWEST_CHARACTERS_PER_S", 1_000)
    rows = await link.fetch(SLOW, "x" * 5_000)
    assert rows[0]["length"] == 5_000


async def test_a_large_list_of_texts_has_more_time(link, monkeypatch):
    monkeypatch.setattr("pgjobs.connection.link.SLOWEST_CHARACTERS_PER_S", 1_000)
    query = "select cardinality($1::text[]) as n, pg_sleep(0.3)"
    rows = await link.fetch(query, [None, "x" * 2_500, "y" * 2_500])
    assert rows[0]["n"] == 3


async def test_the_time_for_a_large_text_is_doubled_after_each_timeout(link, monkeypatch):
    monkeypatch.setattr("pgjobs.connection.link.SLOWEST_CHARACTERS_PER_S", 100_000)
    large = "x" * 5_000  # 0.05 s at first, and 0.8 s at last
    rows, tries = None, 0
    while rows is None and tries < 6:
        tries += 1
        with suppress(TimeoutError):
            rows = await link.fetch(SLOW, large)
    assert 2 < tries <= 5
    with pytest.raises(TimeoutError):  # the time is the first one again
        await link.fetch(SLOW, large)


async def test_a_server_that_cannot_be_reached_is_not_taken_for_a_slow_line():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        made = Link(
            f"postgresql://me@127.0.0.1:{mute.getsockname()[1]}/db?sslmode=disable",
            name="n", timeout_s=0.1,
        )
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await made.fetch("select $1", "x" * 1_000)
        assert made._slow_line_factor == 1


async def test_after_a_timeout_the_next_statement_has_a_new_connection(link):
    before = (await link.connect()).get_server_pid()
    with pytest.raises(TimeoutError):
        await link.fetch(SLOW, "small")
    assert (await link.connect()).get_server_pid() != before


async def test_after_a_cancelled_statement_the_next_one_has_a_new_connection(link):
    connection = await link.connect()
    before = connection.get_server_pid()
    calling = asyncio.create_task(link.fetch(SLOW, "x" * 10_000_000))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert connection.is_closed()
    assert (await link.connect()).get_server_pid() != before


async def test_a_connection_that_was_cut_while_idle_is_replaced_and_no_statement_fails(
    link, conn, eventually
):
    connection = await link.connect()
    await conn.execute("select pg_terminate_backend($1)", connection.get_server_pid())
    await eventually(connection.is_closed)
    assert await link.fetch("select 1 as one")


async def test_two_callers_at_once_open_one_connection(link):
    link.drop()
    connection, rows = await asyncio.gather(
        link.connect(), link.fetch("select pg_backend_pid() as pid")
    )
    assert rows[0]["pid"] == connection.get_server_pid()


async def test_connecting_to_a_server_that_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        made = Link(f"postgresql://me@127.0.0.1:{port}/db?sslmode=disable", name="n", timeout_s=0.1)
        async with asyncio.timeout(5) as waited:
            with pytest.raises(TimeoutError):
                await made.connect()
        assert not waited.expired()


async def test_a_listener_whose_new_connection_does_not_answer_tries_another(
    app, conn, quick, working, eventually, monkeypatch
):
    original, deaf = asyncpg.Connection.add_listener, asyncio.Event()

    async def add_listener(self, channel, callback):
        if not deaf.is_set():
            deaf.set()
            await asyncio.Event().wait()
        await original(self, channel, callback)

    async with working() as worker:
        monkeypatch.setattr("pgjobs.connection.notifications.STATEMENT_TIMEOUT_S", 0.1)
        monkeypatch.setattr(asyncpg.Connection, "add_listener", add_listener)
        await conn.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
            where application_name like 'pgjobs % listen' and datname = current_database()"""
        )
        await deaf.wait()
        # This worker does not listen yet, and must not say that it does.
        assert worker._listener.mode is None
        await eventually(lambda: worker._listener.mode is Mode.LISTENING)
