"""A worker changes between listening and polling; test_notify.py tests what producers do then."""

import pytest

START = "select jobs_worker_start($1, '{default,q}', null, 1)"
LISTEN = "select _jobs_worker_listen($1)"
POLL = "select _jobs_worker_poll($1)"
POLLING = "select polling from jobs_workers where worker = 'w'"


@pytest.fixture
async def worker(other):
    """The session of a worker called w, in mode listening."""
    await other.execute(START, "w")
    assert await other.fetchval(LISTEN, "w")
    return other


async def test_a_worker_changes_to_polling_and_back_to_listening(conn, worker):
    assert not await conn.fetchval(POLLING)
    await worker.execute(POLL, "w")
    assert await conn.fetchval(POLLING)
    assert await worker.fetchval(LISTEN, "w")
    assert not await conn.fetchval(POLLING)


async def test_a_change_to_polling_sends_one_signal_per_queue(worker, ears):
    await worker.execute(POLL, "w")
    assert sorted(await ears.heard()) == ["default", "q"]


async def test_a_change_to_listening_never_waits_for_a_producer(conn, worker):
    await worker.execute(POLL, "w")
    async with conn.transaction():
        await conn.execute("select jobs_enqueue('t')")
        assert not await worker.fetchval(LISTEN, "w")
    assert await worker.fetchval(LISTEN, "w")


async def test_producers_of_other_queues_do_not_keep_a_worker_in_mode_polling(conn, worker):
    await worker.execute(POLL, "w")
    async with conn.transaction():
        await conn.execute("select jobs_enqueue('t', queue => 'else')")
        assert await worker.fetchval(LISTEN, "w")


async def test_a_change_to_polling_does_not_register_an_unregistered_worker(conn, worker):
    await conn.execute("delete from jobs_workers")
    await worker.execute(POLL, "w")
    assert await conn.fetchval(POLLING) is None
