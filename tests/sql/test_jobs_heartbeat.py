from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

BEAT = "select job_id, state from jobs_heartbeat('me', $1::bigint[], $2::int[], '5 minutes')"


async def test_a_heartbeat_prolongs_the_lease_of_a_held_job_even_after_the_lease_ended(conn, job):
    late = await job("processing", lease_until=timedelta(hours=-1))
    assert [tuple(r) for r in await conn.fetch(BEAT, [late], [1])] == [(late, "held")]
    left = await conn.fetchval("select lease_until - clock_timestamp() from jobs")
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)


async def test_a_heartbeat_answers_for_every_job_in_the_order_of_the_arguments(conn, job):
    held = await job("processing")
    cancel = await job("processing", cancel_requested_at=timedelta(0))
    others = await job("processing", worker="you")
    stale = await job("processing", attempt=2)
    finished = await job("completed", worker="me", attempt=1)
    asked = [99, cancel, await job(), others, held, stale, finished, held]
    answer = await conn.fetch(BEAT, asked, [1] * 8)
    assert [r["job_id"] for r in answer] == asked
    assert [r["state"] for r in answer] == [
        "lost", "cancel", "lost", "lost", "held", "lost", "lost", "held",
    ]


@pytest.mark.parametrize(
    "columns",
    [
        {"worker": "you"},
        {"attempt": 2},
        {"status": "completed", "worker": "me", "attempt": 1, "lease_until": timedelta(hours=-1)},
    ],
)
async def test_a_heartbeat_changes_no_job_of_another_worker_no_later_attempt_and_no_ended_job(
    conn, job, row, columns
):
    others = await job(**{"status": "processing", **columns})
    before = await row(others)
    await conn.fetch(BEAT, [others], [1])
    assert await row(others) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "null, '{1}', '{1}', '1 s'",
        "'me', null, '{1}', '1 s'",
        "'me', '{1}', null, '1 s'",
        "'me', '{1}', '{1}', null",
        "'me', '{1}', '{1,2}', '1 s'",
        "'me', '{1}', '{1}', '0'",
        "'me', '{1}', '{1}', '-1 s'",
        "'me', '{1}', '{1}', '101 years'",
    ],
)
async def test_bad_arguments_raise(conn, arguments):
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_heartbeat({arguments})")


async def test_a_job_that_recovery_took_back_is_lost(conn, other, job):
    lost = await job("processing", lease_until=timedelta(seconds=-1))
    await other.execute("select jobs_recover()")
    assert (await conn.fetchrow(BEAT, [lost], [1]))["state"] == "lost"


async def test_a_locked_job_does_not_delay_the_leases_of_other_jobs(conn, other, job, row):
    locked, free = await job("processing"), await job("processing")
    async with conn.transaction():
        await conn.execute("select jobs_complete($1)", locked)
        answer = await other.fetch(BEAT, [locked, free], [1, 1])
        assert [r["state"] for r in answer] == ["held", "held"]
    assert await conn.fetchval(
        "select lease_until > clock_timestamp() + '4 minutes' from jobs where id = $1", free
    )
    answer = await other.fetch(BEAT, [locked, free], [1, 1])
    assert [r["state"] for r in answer] == ["lost", "held"]


async def test_a_job_whose_lease_is_being_prolonged_is_not_recovered(conn, other, job):
    late = await job("processing", lease_until=timedelta(hours=-1))
    async with conn.transaction():
        await conn.execute(BEAT, [late], [1])
        assert await other.fetch("select * from jobs_recover()") == []
    assert await other.fetch("select * from jobs_recover()") == []


async def test_an_id_with_two_attempts_is_prolonged_in_the_later_attempt(conn, job, row):
    running = await job("processing", attempt=2)
    before = (await row(running))["lease_until"]
    answer = await conn.fetch(BEAT, [running, running], [1, 2])
    assert [r["state"] for r in answer] == ["lost", "held"]
    assert (await row(running))["lease_until"] > before
