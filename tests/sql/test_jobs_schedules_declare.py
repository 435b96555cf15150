"""What code declares: written where it differs from what code declared last, and only there."""

import asyncio
import json

import asyncpg
import pytest

A = {"name": "a", "job_type": "t", "cron": "0 3 * * *"}
LATER = A | {"cron": "0 4 * * *"}


@pytest.fixture
def declare(conn):
    """declare(A) declares as a worker's start does; returns the names of what was written."""

    async def call(*schedules, app="shop", is_newest=False):
        rows = await conn.fetch(
            "select name from _jobs_schedules_declare($1, $2::jsonb, $3) name",
            app, json.dumps(schedules), is_newest,
        )
        return [row["name"] for row in rows]

    return call


@pytest.fixture
def diff(conn):
    """The verdict by name, as `pgjobs apply --dry-run` asks for it."""

    async def call(*schedules, app="shop"):
        rows = await conn.fetch(
            "select name, verdict from _jobs_schedules_diff($1, $2::jsonb)",
            app, json.dumps(schedules),
        )
        return dict(rows)

    return call


async def cron(conn):
    return await conn.fetchval("select cron from jobs_schedules where name = 'a'")


async def test_a_new_schedule_is_made_once_and_then_left(conn, declare, diff):
    assert await diff(A) == {"a": "new"}
    assert await declare(A, {"name": "b", "job_type": "t", "every": "90.5 s"}) == ["a", "b"]
    made = await conn.fetch("select * from jobs_schedules")
    assert await diff(A) == {"a": "same", "b": "undeclared"}
    assert await declare(A) == []
    assert await conn.fetch("select * from jobs_schedules") == made


async def test_all_settings_are_written(conn, declare):
    await declare(
        {"name": "a", "job_type": "t", "every": "10 s", "payload": None, "queue": "q",
         "priority": 3, "max_retries": 1, "backoff": ["1 s", "2 s"], "missed": "all",
         "missed_within": "1 h", "overlap": "allow", "starts_at": "2030-01-01T00:00:00+00:00",
         "ends_at": "2031-01-01T00:00:00+00:00"}
    )
    row = await conn.fetchrow(
        """select payload, queue, priority, max_retries, backoff::text, missed, missed_within::text,
        overlap, starts_at::text, extract(year from ends_at)::int from jobs_schedules"""
    )
    assert tuple(row) == (
        "null", "q", 3, 1, "{00:00:01,00:00:02}", "all", "01:00:00", "allow",
        "2030-01-01 00:00:00+00", 2031,
    )


async def test_a_change_by_hand_and_a_pause_survive_every_further_start(conn, declare, diff):
    await declare(A)
    await conn.execute(
        "select jobs_schedule('a', 't', '0 5 * * *'); select jobs_schedule_pause('a')"
    )
    assert await diff(A) == {"a": "same"}
    assert await declare(A) == []
    assert await cron(conn) == "0 5 * * *"
    assert await conn.fetchval("select is_changed_by_hand from _jobs_schedules_diff('shop', '[]')")
    # A change of the code is a change, but no reason to resume.
    assert await declare(LATER) == ["a"]
    row = await conn.fetchrow("select cron, paused_at from jobs_schedules")
    assert row["cron"] == "0 4 * * *"
    assert row["paused_at"] is not None


async def test_an_older_version_that_restarts_does_not_flip_the_schedule(conn, declare, diff):
    await declare(A)
    await declare(LATER)
    for _ in range(3):
        assert await diff(A) == {"a": "older"}
        assert await declare(A) == []
        assert await declare(LATER) == []
    assert await cron(conn) == "0 4 * * *"


async def test_who_says_that_it_is_the_newest_version_writes_what_an_older_one_declared(
    conn, declare, diff
):
    await declare(A)
    await declare(LATER)
    assert await declare(A, is_newest=True) == ["a"]
    assert await cron(conn) == "0 3 * * *"
    assert (await diff(A), await diff(LATER)) == ({"a": "same"}, {"a": "older"})


async def test_of_what_code_declared_before_the_last_hundred_are_known(conn, declare, diff):
    for minute in range(60):
        await declare(A | {"cron": f"{minute} 3 * * *"})
        await declare(A | {"cron": f"{minute} 4 * * *"})
    former = "select jsonb_array_length(declared -> 'former') from jobs_schedules"
    assert await conn.fetchval(former) == 100
    assert await diff(A | {"cron": "59 3 * * *"}) == {"a": "older"}
    assert await diff(A | {"cron": "0 3 * * *"}) == {"a": "changed"}


async def test_a_schedule_that_was_made_by_hand_is_taken_over(conn, declare, diff):
    await conn.execute("select jobs_schedule('a', 't', '0 5 * * *')")
    assert await diff(A) == {"a": "changed"}
    assert await declare(A) == ["a"]
    assert await cron(conn) == "0 3 * * *"


async def test_what_another_app_declared_is_not_called_undeclared(declare, diff):
    await declare(A, app="other")
    assert await diff() == {}
    assert await diff(app="other") == {"a": "undeclared"}


async def test_one_invalid_schedule_is_named_and_none_is_written(conn, declare):
    bad = {"name": "b", "job_type": "t", "cron": "0 3 * *"}
    with pytest.raises(asyncpg.PostgresError, match="schedule b: cron must have five fields") as e:
        await declare(A, bad)
    assert e.value.sqlstate == "JQ003"
    assert await conn.fetch("select from jobs_schedules") == []


async def test_of_two_workers_that_start_at_once_the_second_finds_it_written(
    conn, other, declare, blocked
):
    await declare(A)
    async with other.transaction():
        await other.execute(
            "select _jobs_schedules_declare('shop', $1::jsonb)", json.dumps([LATER])
        )
        waiting = asyncio.create_task(declare(LATER))
        await blocked(conn)
    assert await waiting == []
