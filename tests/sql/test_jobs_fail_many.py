import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

MANY = """select * from jobs_fail_many(
    'me', $1::bigint[], $2::int[], $3::text[], $4::boolean[], $5::interval[])"""
MINUTE = timedelta(minutes=1)


async def test_each_job_gets_its_own_error_retry_and_delay(job, ids, row):
    a, b, c = [await job("processing") for _ in range(3)]
    changed = await ids(MANY, [c, a, b], [1] * 3, ["C", "A", "B"], [None, True, False],
                        [None, MINUTE, MINUTE])
    assert sorted(changed) == [a, b, c]
    rows = [await row(i) for i in (a, b, c)]
    assert [r["error"] for r in rows] == ["A", "B", "C"]
    assert [r["status"] for r in rows] == ["pending", "failed", "pending"]
    assert [r["retry_count"] for r in rows] == [1, 0, 1]
    assert rows[0]["run_at"] - rows[0]["updated_at"] == MINUTE
    assert timedelta(0) < rows[2]["run_at"] - rows[2]["updated_at"] < MINUTE


async def test_a_job_that_fails_the_fence_is_skipped(conn, job, ids):
    others = await job("processing", worker="you")
    mine = await job("processing")
    stale = await job("processing", attempt=2)
    jobs = [others, 99, stale, mine, await job(), await job("cancelled")]
    assert await ids(MANY, jobs, [1] * 6, list("abcdef"), [True] * 6, [None] * 6) == [mine]
    changed = await conn.fetch("select id, error from jobs where error is not null")
    assert [tuple(r) for r in changed] == [(mine, "d")]


async def test_a_repeated_id_spends_one_retry(job, ids, row):
    a = await job("processing")
    assert await ids(MANY, [a, a], [1, 1], ["x", "y"], [True] * 2, [None] * 2) == [a]
    assert ((await row(a))["retry_count"], (await row(a))["error"]) == (1, "x")


async def test_empty_arrays_change_nothing(ids):
    assert await ids(MANY, [], [], [], [], []) == []


async def test_one_bad_delay_or_missing_error_changes_nothing(conn, job):
    jobs = [await job("processing"), await job("processing")]
    with pytest.raises(InvalidArgument, match="retry_in"):
        await conn.execute(MANY, jobs, [1, 1], ["a", "b"], [True] * 2, [None, -MINUTE])
    with pytest.raises(InvalidArgument, match="error is missing"):
        await conn.execute(MANY, jobs, [1, 1], ["a", None], [True] * 2, [None, None])
    assert await conn.fetchval("select count(*) from jobs where status = 'processing'") == 2


@pytest.mark.parametrize("list_of_two", ["{{%s},{%s}}", "{{%s,%s}}", "[5:6]={%s,%s}"])
@pytest.mark.parametrize("place", range(1, 6))
async def test_an_array_that_is_not_a_plain_list_raises(conn, job, place, list_of_two):
    await job("processing")
    await job("processing")
    arguments = ["'me'", "'{1,2}'", "'{1,1}'", "'{e,e}'", "'{t,t}'", "'{1s,1s}'"]
    value = arguments[place][2]
    arguments[place] = f"'{list_of_two % (value, value)}'"
    with pytest.raises(InvalidArgument, match="plain lists"):
        await conn.execute(f"select jobs_fail_many({', '.join(arguments)})")


@pytest.mark.parametrize("missing", range(6))
async def test_null_arrays_raise(conn, missing):
    arguments = ["'me'", "'{1}'", "'{1}'", "'{e}'", "'{t}'", "'{1s}'"]
    arguments[missing] = "null"
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_fail_many({', '.join(arguments)})")


@pytest.mark.parametrize("short", range(1, 6))
async def test_unequal_arrays_raise(conn, short):
    arguments = ["'me'", "'{1,2}'", "'{1,1}'", "'{e,e}'", "'{t,t}'", "'{1s,1s}'"]
    arguments[short] = "'{}'"
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_fail_many({', '.join(arguments)})")


async def test_two_batches_in_opposite_orders_do_not_deadlock(conn, other, job, blocked):
    jobs = [await job("processing") for _ in range(20)]
    rest = [["e"] * 20, [True] * 20, [None] * 20]
    async with conn.transaction():
        first = await conn.fetch(MANY, jobs, [1] * 20, *rest)
        second = asyncio.create_task(other.fetch(MANY, jobs[::-1], [1] * 20, *rest))
        await blocked(other)
    assert (len(first), await second) == (20, [])
    assert await conn.fetchval("select max(retry_count) from jobs") == 1


async def test_failures_send_one_signal_per_queue(conn, job, ears):
    jobs = [await job("processing", queue=queue) for queue in "aabb"]
    last = await job("processing", queue="c", retry_count=3)
    await ears.heard()
    await conn.execute(MANY, [*jobs, last], [1] * 5, ["e"] * 5, [True] * 5, [None] * 5)
    assert sorted(await ears.heard()) == ["a", "b"]
