"""A worker's mode is what its session has locked; test_notify.py tests what producers do then."""

import itertools

import pytest

from pgjobs.schema.migrate import migrate

START = "select jobs_worker_start($1, '{default,q}', null, 1)"
CHANGE = "select _jobs_worker_mode($1, $2)"
MODE = "select mode from _jobs_worker_modes() where worker = $1"
NAMES = ["listening", "polling", "full"]


@pytest.mark.parametrize(("before", "after"), [*itertools.product(NAMES, NAMES)])
async def test_a_worker_changes_from_each_mode_to_each_mode(conn, start_worker, before, after):
    session = await start_worker("w", before)
    assert await conn.fetchval(MODE, "w") == before
    assert await session.fetchval(CHANGE, "w", after)
    assert await conn.fetchval(MODE, "w") == after


async def test_a_worker_that_has_just_started_takes_no_signals_so_it_is_full(conn, other):
    await other.execute(START, "w")
    assert await conn.fetchval(MODE, "w") == "full"


@pytest.mark.parametrize("mode", NAMES)
async def test_a_worker_whose_session_has_ended_is_gone_and_its_locks_are_free(
    conn, start_worker, mode
):
    session = await start_worker("w", mode)
    await session.close()
    assert await conn.fetchval(MODE, "w") == "gone"
    assert await conn.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0


async def test_two_workers_poll_a_queue_and_a_third_is_refused_and_stays_listening(
    conn, start_worker
):
    await start_worker("a", "polling"), await start_worker("b", "polling")
    third = await start_worker("c", "listening")
    assert not await third.fetchval(CHANGE, "c", "polling")
    assert [await conn.fetchval(MODE, name) for name in "abc"] == ["polling"] * 2 + ["listening"]


@pytest.mark.parametrize("mode", ["listening", "full"])
async def test_a_worker_that_stops_polling_leaves_its_place_to_another(start_worker, mode):
    first = await start_worker("a", "polling", ["default", "q"])
    await start_worker("b", "polling", ["default", "q"])
    third = await start_worker("c", "listening", ["q", "default"])
    assert not await third.fetchval(CHANGE, "c", "polling")
    assert await first.fetchval(CHANGE, "a", mode)
    assert await third.fetchval(CHANGE, "c", "polling")


async def test_a_worker_that_dies_leaves_its_place_to_another(start_worker):
    first = await start_worker("a", "polling")
    await start_worker("b", "polling")
    third = await start_worker("c", "listening")
    await first.close()
    assert await third.fetchval(CHANGE, "c", "polling")


async def test_a_worker_that_is_refused_in_one_queue_takes_no_place_in_the_others(start_worker):
    for name in "ab":
        await start_worker(name, "polling", ["q"])
    refused = await start_worker("c", "listening", ["default", "q", "r"])
    assert not await refused.fetchval(CHANGE, "c", "polling")
    for name in "de":
        await start_worker(name, "polling", ["default", "r"])


async def test_a_change_to_the_same_mode_takes_no_second_place_and_no_second_lock(start_worker):
    first = await start_worker("a", "polling")
    assert await first.fetchval(CHANGE, "a", "polling")
    await start_worker("b", "polling")
    assert await first.fetchval(CHANGE, "a", "listening")
    assert await first.fetchval(CHANGE, "a", "listening")
    await start_worker("c", "polling")
    assert await first.fetchval(CHANGE, "a", "full")
    held = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    assert await first.fetchval(held) == 1  # the name


async def test_a_queue_that_is_named_twice_takes_one_place(start_worker):
    await start_worker("a", "polling", ["default", "default"])
    await start_worker("b", "polling")


async def test_a_change_to_polling_tells_the_workers_of_each_queue_once(start_worker, signal_ears):
    session = await start_worker("w", "listening", ["default", "q"])
    await signal_ears.heard()
    for _ in range(2):
        await session.execute(CHANGE, "w", "polling")
    assert sorted(await signal_ears.heard()) == ["polling default", "polling q"]
    await session.execute(CHANGE, "w", "full")
    assert await signal_ears.heard() == []


async def test_no_change_waits_for_an_open_producer(conn, start_worker):
    session = await start_worker("w", "polling")
    await session.execute("set lock_timeout = '1s'")
    async with conn.transaction():
        await conn.execute("select jobs_enqueue('t')")
        for mode in ("listening", "polling", "full", "listening"):
            assert await session.fetchval(CHANGE, "w", mode)


async def test_the_row_that_producers_read_does_not_change_with_modes_ticks_and_beats(
    conn, start_worker
):
    version = "select xmin, xmax, ctid from jobs_workers"
    session = await start_worker("w", "listening")
    before = await conn.fetchrow(version)
    for mode in [*NAMES, *NAMES]:
        await session.execute(CHANGE, "w", mode)
        await session.execute("select from _jobs_worker_tick('w')")
        await session.execute("select from _jobs_worker_tick('w', false)")
        await session.execute("select from _jobs_worker_watch('w', '{}')")
        await conn.execute("select from _jobs_worker_beat('w', '{}', '{}', '1 min', '1 s')")
        await conn.execute("select jobs_recover()")
    assert await conn.fetchrow(version) == before


@pytest.mark.parametrize("mode", NAMES)
async def test_an_unregistered_worker_has_no_mode_and_takes_no_lock(conn, mode):
    assert not await conn.fetchval(CHANGE, "nobody", mode)
    assert await conn.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0
    assert await conn.fetch("select * from _jobs_worker_modes()") == []


async def test_workers_of_two_schemas_do_not_share_places_or_names(
    conn, pgjobs_dsn, connect, start_worker
):
    migrate(pgjobs_dsn, schema="elsewhere")
    for name in "ab":
        await start_worker(name, "polling")
    session = await connect()
    await session.execute("select elsewhere.jobs_worker_start('a', '{default}', null, 1)")
    assert await session.fetchval("select elsewhere._jobs_worker_mode('a', 'polling')")
