"""What holds back the others of a group in a queue whose limit is in_order, and what does not."""

import asyncpg
import pytest

CLAIM = "select payload #>> '{}' as name from jobs_claim('w', max_jobs => 10, job_types => $1)"


@pytest.fixture
async def add(conn):
    await conn.execute("select jobs_limit('default', in_order => true)")

    async def add(*names, job_type="t", group_key="g"):
        ids = [
            await conn.fetchval(
                "insert into jobs (job_type, group_key, payload)"
                " values ($1, $2, to_jsonb($3::text)) returning id", job_type, group_key, name)
            for name in names
        ]
        return ids if len(ids) > 1 else ids[0]

    return add


@pytest.fixture
def claim(conn):
    async def claim(job_types=None):
        return [row["name"] for row in await conn.fetch(CLAIM, job_types)]

    return claim


async def test_a_job_that_waits_for_its_retry_holds_its_group_and_no_other(conn, add, claim):
    first, _ = await add("first", "second")
    await add("other", group_key="other")
    assert sorted(await claim()) == ["first", "other"]
    await conn.execute("select jobs_fail($1, 'x', retry_in => '1 hour')", first)
    assert await claim() == []
    await conn.execute("select jobs_cancel($1)", first)
    assert await claim() == ["second"]


async def test_a_snoozed_job_holds_its_group(conn, add, claim):
    first, _ = await add("first", "second")
    assert await claim() == ["first"]
    await conn.execute(
        "select jobs_release_many('w', $1, '{1}', array[now() + '1 hour'::interval])", [first]
    )
    assert await claim() == []


async def test_after_a_failure_for_good_the_next_one_starts(conn, add, claim):
    first, _ = await add("first", "second")
    assert await claim() == ["first"]
    await conn.execute("select jobs_fail($1, 'x', retry => false)", first)
    assert await claim() == ["second"]


async def test_a_job_that_is_retried_by_hand_goes_first(conn, add, claim):
    first, second, _ = await add("first", "second", "third")
    assert await claim() == ["first"]
    await conn.execute("select jobs_fail($1, 'x', retry => false)", first)
    assert await claim() == ["second"]
    await conn.execute("select jobs_retry($1)", first)
    await conn.execute("select jobs_complete($1)", second)
    assert await claim() == ["first"]


async def test_a_job_for_later_holds_nobody(conn, add, claim):
    later, _ = await add("later", "now")
    await conn.execute("update jobs set run_at = now() + '1 hour'::interval where id = $1", later)
    assert await claim() == ["now"]


async def test_a_group_goes_on_when_a_job_of_a_type_that_nobody_serves_is_cancelled(
    conn, add, claim
):
    unserved = await add("unserved", job_type="unserved")
    await add("served")
    assert await claim(["t"]) == []
    await conn.execute("select jobs_cancel($1)", unserved)
    assert await claim(["t"]) == ["served"]


async def test_a_claim_of_an_older_snapshot_is_refused(conn, add, claim):
    await add("first")
    with pytest.raises(asyncpg.PostgresError, match="read committed") as raised:
        async with conn.transaction(isolation="repeatable_read"):
            await claim()
    assert raised.value.sqlstate == "JQ003"
