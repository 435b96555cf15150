import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument, WorkerNameTaken

START = "select * from jobs_worker_start('w', '{default,q}', '{t}', 4, '1.2')"


async def test_a_new_worker_is_registered_and_has_been_seen(conn):
    row = await conn.fetchrow(START)
    assert row == await conn.fetchrow("select * from jobs_workers")
    assert (row["worker"], row["queues"], row["job_types"]) == ("w", ["default", "q"], ["t"])
    assert (row["concurrency"], row["version"]) == (4, "1.2")
    ticks = await conn.fetchrow("select * from jobs_worker_ticks")
    assert (ticks["worker"], ticks["missed_at"], ticks["beats_until"]) == ("w", None, None)
    assert row["started_at"] - timedelta(seconds=1) < ticks["seen_at"] <= row["started_at"]


async def test_the_name_of_a_living_worker_is_refused(conn, other):
    await other.execute(START)
    with pytest.raises(WorkerNameTaken, match="a living worker is named w"):
        await conn.execute(START)


async def test_when_a_workers_session_has_ended_a_new_worker_takes_over_the_name_and_the_row(
    conn, other
):
    await other.execute(START)
    before = await conn.fetchrow("select * from jobs_workers")
    await other.execute(
        "update jobs_worker_ticks set missed_at = '2000-01-01', beats_until = '3000-01-01'"
    )
    await other.close()
    row = await conn.fetchrow("select * from jobs_worker_start('w', null, null, null)")
    assert (row["queues"], row["job_types"], row["concurrency"]) == (["default"], None, 1)
    assert row["version"] is None
    ticks = await conn.fetchrow("select missed_at, beats_until from jobs_worker_ticks")
    assert tuple(ticks) == (None, None)
    # A producer whose snapshot is older takes the old keys, which nobody holds any more.
    assert row["name_key"] == before["name_key"]
    keys = [r[key] for r in (row, before) for key in ("listening_key", "polling_key")]
    assert len(set(keys)) == 4


async def test_a_rolled_back_registration_keeps_nothing_but_the_name(conn, other):
    transaction = other.transaction()
    await transaction.start()
    await other.execute(START)
    await transaction.rollback()
    assert await conn.fetch("select * from jobs_workers") == []
    with pytest.raises(WorkerNameTaken):
        await conn.execute(START)


async def test_a_session_that_checks_whether_a_worker_lives_does_not_make_the_start_fail(
    conn, other
):
    key = await conn.fetchval("select _jobs_advisory_key('name', 'w')")
    await other.execute("select pg_advisory_lock_shared($1)", key)
    start = asyncio.create_task(conn.execute(START))
    await asyncio.sleep(0.005)
    await other.execute("select pg_advisory_unlock_shared($1)", key)
    await start


@pytest.mark.parametrize(
    "arguments",
    [
        "null, '{q}', null, 1",
        "'', '{q}', null, 1",
        "repeat('w', 513), '{q}', null, 1",
        "'w', '{null}', null, 1",
    ],
)
async def test_bad_arguments_raise(conn, arguments):
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_worker_start({arguments})")


async def test_workers_with_different_names_do_not_conflict(conn, other):
    await conn.execute(START)
    await other.execute("select jobs_worker_start('v', '{default}', null, 1)")
    assert await conn.fetchval("select count(*) from jobs_workers") == 2


async def test_a_start_is_told_to_the_workers_of_its_queues_so_that_they_notice_its_death(
    conn, ears, signal_ears
):
    await conn.execute(START)
    assert sorted(await signal_ears.heard()) == ["started default", "started q"]
    # Clients that only listen for jobs hear nothing of it.
    assert await ears.heard() == []


async def test_a_start_without_queues_is_told_to_the_default_queue(conn, signal_ears):
    await conn.execute("select jobs_worker_start('w', null, null, 1)")
    assert await signal_ears.heard() == ["started default"]
