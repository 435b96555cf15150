"""Resting and rising; what producers make of it is in test_jobs_notify.py."""

import pytest

START = "select jobs_worker_start($1, '{default,q}', null, 1)"
REST = "select _jobs_worker_listen($1)"
RISE = "select _jobs_worker_poll($1)"
AWAKE = "select polling from jobs_workers where worker = 'w'"


@pytest.fixture
async def worker(other):
    """The session of a worker called w, at rest."""
    await other.execute(START, "w")
    assert await other.fetchval(REST, "w")
    return other


async def test_a_worker_rises_and_rests_again(conn, worker):
    assert not await conn.fetchval(AWAKE)
    await worker.execute(RISE, "w")
    assert await conn.fetchval(AWAKE)
    assert await worker.fetchval(REST, "w")
    assert not await conn.fetchval(AWAKE)


async def test_rising_wakes_whoever_sleeps_on_its_queues(worker, ears):
    await worker.execute(RISE, "w")
    assert sorted(await ears.heard()) == ["default", "q"]


async def test_resting_never_waits_for_a_producer(conn, worker):
    await worker.execute(RISE, "w")
    async with conn.transaction():
        await conn.execute("select jobs_enqueue('t')")
        assert not await worker.fetchval(REST, "w")
    assert await worker.fetchval(REST, "w")


async def test_producers_of_other_queues_do_not_keep_it_awake(conn, worker):
    await worker.execute(RISE, "w")
    async with conn.transaction():
        await conn.execute("select jobs_enqueue('t', queue => 'else')")
        assert await worker.fetchval(REST, "w")


async def test_a_worker_that_is_off_the_register_rises_to_nobody(conn, worker):
    await conn.execute("delete from jobs_workers")
    await worker.execute(RISE, "w")
    assert await conn.fetchval(AWAKE) is None
