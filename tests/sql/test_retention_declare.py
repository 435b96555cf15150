"""Retention that code declares: written where it differs from what code declared last."""

import asyncio
import json

import asyncpg
import pytest

WEEK = {"name": "completed", "status": "completed", "keep_for": "7 days"}
MONTH = WEEK | {"keep_for": "30 days"}
MAIL = {"name": "failed of mail", "status": "failed", "job_type": "mail", "keep_for": "90.5 s"}


@pytest.fixture
def declare(conn):
    """declare(WEEK) declares as a worker's start does; returns the names of what was written."""

    async def call(*rules, app="shop", is_newest=False):
        rows = await conn.fetch(
            "select name from _jobs_retention_declare($1, $2::jsonb, $3) name",
            app, json.dumps(rules), is_newest,
        )
        return [row["name"] for row in rows]

    return call


@pytest.fixture
def diff(conn):
    """The verdict by name, as `pgjobs apply --dry-run` asks for it."""

    async def call(*rules, app="shop"):
        rows = await conn.fetch(
            "select name, verdict from _jobs_retention_diff($1, $2::jsonb)", app, json.dumps(rules)
        )
        return dict(rows)

    return call


async def kept(conn):
    return await conn.fetchval(
        "select keep_for::text from jobs_retention where status = 'completed'"
    )


async def test_a_new_rule_is_made_once_and_then_left(conn, declare, diff):
    assert await diff(WEEK, MAIL) == {"completed": "new", "failed of mail": "new"}
    assert await declare(MAIL, WEEK) == ["completed", "failed of mail"]
    made = await conn.fetch("select * from jobs_retention")
    assert await diff(WEEK) == {"completed": "same", "failed of mail": "undeclared"}
    assert await declare(WEEK) == []
    assert await conn.fetch("select * from jobs_retention") == made


async def test_a_change_by_hand_survives_every_further_start(conn, declare, diff):
    await declare(WEEK)
    await conn.execute("select jobs_retain('completed', '1 day')")
    assert await declare(WEEK) == []
    assert await kept(conn) == "1 day"
    assert await conn.fetchval("select is_changed_by_hand from _jobs_retention_diff('shop', '[]')")
    assert await declare(MONTH) == ["completed"]
    assert await kept(conn) == "30 days"
    assert not await conn.fetchval(
        "select is_changed_by_hand from _jobs_retention_diff('shop', '[]')"
    )


async def test_an_older_version_that_restarts_does_not_flip_the_rule(conn, declare, diff):
    await declare(WEEK)
    await declare(MONTH)
    assert await diff(WEEK) == {"completed": "older"}
    assert await declare(WEEK) == []
    assert await kept(conn) == "30 days"
    assert await declare(WEEK, is_newest=True) == ["completed"]
    assert await kept(conn) == "7 days"


async def test_a_rule_that_was_made_by_hand_is_taken_over(conn, declare, diff):
    await conn.execute("select jobs_retain('completed', '1 day')")
    assert await diff(WEEK) == {"completed": "changed"}
    assert await declare(WEEK) == ["completed"]
    assert await kept(conn) == "7 days"


async def test_what_another_app_declared_is_not_called_undeclared(declare, diff):
    await declare(WEEK, app="other")
    assert await diff() == {}
    assert await diff(app="other") == {"completed": "undeclared"}


async def test_one_invalid_rule_is_named_and_none_is_written(conn, declare):
    bad = MAIL | {"keep_for": "1001 years"}
    with pytest.raises(asyncpg.PostgresError, match="retention of failed of mail: keep_for") as e:
        await declare(WEEK, bad)
    assert e.value.sqlstate == "JQ003"
    assert await conn.fetch("select from jobs_retention") == []


async def test_of_two_workers_that_start_at_once_the_second_finds_it_written(
    conn, other, declare, blocked
):
    await declare(WEEK)
    async with other.transaction():
        await other.execute(
            "select _jobs_retention_declare('shop', $1::jsonb)", json.dumps([MONTH])
        )
        waiting = asyncio.create_task(declare(MONTH))
        await blocked(conn)
    assert await waiting == []
