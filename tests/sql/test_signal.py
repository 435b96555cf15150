"""A signal notifies all workers of a queue and picks the worker that claims at once."""

import pytest

START = "select jobs_worker_start($1, $2, $3, 1)"


@pytest.fixture
async def turns(listen):
    """A session that listens on the channel that names the picked worker."""
    return await listen("public.jobs_turn")


async def test_one_listening_worker_that_serves_the_queue_and_the_type_is_picked(
    conn, connect, ears, turns
):
    serving = {
        "right": (["q"], ["t"]),
        "right too": (["default", "q"], None),
        "another queue": (["default"], None),
        "another type": (["q"], ["u"]),
        "polling": (["q"], None),
        "gone": (["q"], None),
    }
    for name, (queues, job_types) in serving.items():
        await (await connect()).execute(START, name, queues, job_types)
    await conn.execute("update jobs_workers set polling = true where worker = 'polling'")
    await conn.execute("update jobs_workers set missed_at = now() where worker = 'gone'")
    await turns.heard(), await ears.heard()
    named = set()
    for _ in range(40):
        await conn.execute("select _jobs_signal('{q,q}', '{t}')")
        (turn,) = await turns.heard()
        named.add(turn)
    assert named == {"3 right", "3 right too"}
    assert await ears.heard() == ["q"] * 40


async def test_without_a_listening_worker_no_worker_is_picked(conn, ears, turns):
    await conn.execute("select jobs_enqueue('t')")
    assert await ears.heard() == ["default"]
    assert await turns.heard() == []


async def test_without_hops_left_no_worker_is_picked(conn, connect, ears, turns):
    await (await connect()).execute(START, "w", ["q"], None)
    await turns.heard(), await ears.heard()
    await conn.execute("select _jobs_signal('{q}', hops => 1), _jobs_signal('{q}', hops => 0)")
    assert await turns.heard() == ["1 w"]
    assert await ears.heard() == ["q"]


async def test_without_queues_no_signal_is_sent(conn, ears):
    await conn.execute("select _jobs_signal(null), _jobs_signal('{}')")
    assert await ears.heard() == []
