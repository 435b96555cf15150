"""A worker without a free slot has listening workers claim the jobs that are left."""

import pytest

START = "select from jobs_worker_start($1, $2, $3, 10)"
MODE = "select _jobs_worker_mode($1, $2)"
HELP = "select _jobs_worker_help('me', $1::text::jsonb)"


@pytest.fixture
async def me(conn):
    await conn.execute(START, "me", ["default"], ["t"])
    return conn


@pytest.fixture
async def signals(listen):
    return await listen("public.jobs_signal")


async def picked(signals):
    return [payload.split()[0] for payload in await signals.heard()]


async def test_a_listening_worker_is_picked_for_the_jobs_that_are_left(me, other, job, signals):
    await other.execute(START, "you", ["default"], ["t", "u"])
    await other.execute(MODE, "you", "listening")
    await job()
    await signals.heard()
    await me.execute(HELP, None)
    key = await me.fetchval("select listening_key from jobs_workers where worker = 'you'")
    assert await picked(signals) == [str(key)]


@pytest.mark.parametrize(
    ("queues", "types", "mode"),
    [(["q"], ["t"], "listening"), (["default"], ["u"], "listening"),
     (["default"], ["t"], "polling"), (["default"], ["t"], "full")],
    ids=["another queue", "another type", "polling", "full"],
)
async def test_without_a_listening_worker_that_serves_the_jobs_no_signal_is_sent(
    me, other, job, signals, queues, types, mode
):
    await other.execute(START, "you", queues, types)
    await other.execute(MODE, "you", mode)
    await job()
    await signals.heard()
    await me.execute(HELP, None)
    assert await signals.heard() == []


async def test_without_due_jobs_no_signal_is_sent(me, other, job, signals):
    await other.execute(START, "you", ["default"], None)
    await other.execute(MODE, "you", "listening")
    await job("processing")
    await signals.heard()
    await me.execute(HELP, None)
    assert await signals.heard() == []


async def test_an_unregistered_worker_sends_no_signal(conn, job, signals):
    await job()
    await signals.heard()
    await conn.execute(HELP, None)
    assert await signals.heard() == []
