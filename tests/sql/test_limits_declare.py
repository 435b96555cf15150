"""Limits that code declares: written where they differ from what code declared last."""

import asyncio
import json

import asyncpg
import pytest

FIVE = {"name": "mail", "max_running": 5}
SIX = FIVE | {"max_running": 6}
ALL = {
    "name": "api", "max_running": 5, "max_running_per_group": 1, "rate_count": 100,
    "rate_period": "60.000000 s", "group_rate_count": 2, "group_rate_period": "1.5 s",
    "in_order": True,
}


@pytest.fixture
def declare(conn):
    """declare(FIVE) declares as a worker's start does; returns the queues that were written."""

    async def call(*limits, app="shop", is_newest=False):
        rows = await conn.fetch(
            "select name from _jobs_limits_declare($1, $2::jsonb, $3) name",
            app, json.dumps(limits), is_newest,
        )
        return [row["name"] for row in rows]

    return call


@pytest.fixture
def diff(conn):
    """The verdict by queue, as `pgjobs apply --dry-run` asks for it."""

    async def call(*limits, app="shop"):
        rows = await conn.fetch(
            "select name, verdict from _jobs_limits_diff($1, $2::jsonb)", app, json.dumps(limits)
        )
        return dict(rows)

    return call


async def limit(conn, queue="mail"):
    return await conn.fetchval("select max_running from jobs_queues where queue = $1", queue)


async def by_hand(conn):
    return await conn.fetchval("select is_changed_by_hand from _jobs_limits_diff('shop', '[]')")


async def test_new_limits_are_set_once_and_then_left(conn, declare, diff):
    assert await diff(FIVE, ALL) == {"mail": "new", "api": "new"}
    assert await declare(FIVE, ALL) == ["api", "mail"]
    made = await conn.fetch("select * from jobs_queues")
    assert await diff(FIVE) == {"mail": "same", "api": "undeclared"}
    assert await declare(FIVE, ALL) == []
    assert await conn.fetch("select * from jobs_queues") == made


async def test_all_limits_are_written(conn, declare):
    await declare(ALL)
    row = await conn.fetchrow(
        """select max_running, max_running_per_group, rate_count, rate_period::text,
        group_rate_count, group_rate_period::text, in_order from jobs_queues"""
    )
    assert tuple(row) == (5, 1, 100, "00:01:00", 2, "00:00:01.5", True)


async def test_a_queue_that_is_only_paused_has_no_limits_yet(conn, declare, diff):
    await conn.execute("select jobs_pause('mail')")
    assert await diff(FIVE) == {"mail": "new"}
    assert await declare(FIVE) == ["mail"]
    assert await conn.fetchval("select paused_at is not null from jobs_queues")


@pytest.mark.parametrize(
    "change", ["max_running => 2", "rate_count => 9, rate_period => '1 s'", ""]
)
async def test_a_change_by_hand_survives_every_further_start(conn, declare, diff, change):
    await declare(FIVE)
    assert not await by_hand(conn)
    await conn.execute(f"select jobs_limit('mail'{', ' if change else ''}{change})")
    changed = await limit(conn)
    assert await by_hand(conn)
    assert await diff(FIVE) == {"mail": "same"}
    assert await declare(FIVE) == []
    assert await limit(conn) == changed
    assert await declare(SIX) == ["mail"]
    assert await limit(conn) == 6
    assert not await by_hand(conn)


async def test_an_older_version_that_restarts_does_not_flip_the_limit(conn, declare, diff):
    await declare(FIVE)
    await declare(SIX)
    assert await diff(FIVE) == {"mail": "older"}
    assert await declare(FIVE) == []
    assert await limit(conn) == 6
    assert await declare(FIVE, is_newest=True) == ["mail"]
    assert await limit(conn) == 5


async def test_limits_that_were_set_by_hand_are_taken_over(conn, declare, diff):
    await conn.execute("select jobs_limit('mail', max_running => 1)")
    assert await diff(FIVE) == {"mail": "changed"}
    assert await declare(FIVE) == ["mail"]
    assert await limit(conn) == 5


async def test_what_another_app_declared_is_not_called_undeclared(declare, diff):
    await declare(FIVE, app="other")
    assert await diff() == {}
    assert await diff(app="other") == {"mail": "undeclared"}


async def test_what_is_undeclared_is_no_limit_and_forgotten(conn, declare, diff):
    await declare(FIVE)
    await conn.execute("select _jobs_limits_undeclare('mail')")
    assert await diff() == {}
    assert await limit(conn) is None
    assert await declare(FIVE) == ["mail"]


async def test_one_invalid_limit_is_named_and_none_is_written(conn, declare):
    bad = {"name": "bad", "rate_count": 1, "rate_period": "500 days"}
    with pytest.raises(asyncpg.PostgresError, match="limits of queue bad: rate_period") as e:
        await declare(FIVE, bad)
    assert e.value.sqlstate == "JQ003"
    assert await conn.fetch("select from jobs_queues") == []


async def test_of_two_workers_that_start_at_once_the_second_finds_it_written(
    conn, other, declare, blocked
):
    await declare(FIVE)
    async with other.transaction():
        await other.execute("select _jobs_limits_declare('shop', $1::jsonb)", json.dumps([SIX]))
        waiting = asyncio.create_task(declare(SIX))
        await blocked(conn)
    assert await waiting == []
