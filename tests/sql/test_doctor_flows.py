"""The doctor names jobs that are blocked for ever, batches left open, and flows nobody counts."""

import pytest


@pytest.fixture
def doctor(conn):
    async def ask(check):
        return await conn.fetchrow(
            "select verdict, detail from jobs_doctor() where check_name = $1", check)

    return ask


@pytest.fixture
def add(conn):
    async def enqueue(*parents, policy="cancel"):
        return await conn.fetchval(
            "select id from jobs_enqueue('t', depends_on => $1, on_parent_failed => $2)",
            list(parents), policy)

    return enqueue


async def test_a_job_that_waits_for_a_parent_that_failed_is_blocked_for_ever(conn, add, doctor):
    parent, other = await add(), await add()
    child = await add(parent, other, policy="wait")
    await conn.execute("select jobs_cancel($1)", parent)
    assert await doctor("jobs blocked for ever") == ("ok", "none")
    await conn.execute("select jobs_cancel($1)", other)
    assert await doctor("jobs blocked for ever") == (
        "warn", f"{child} (t, 2 of its 2 parents did not complete)")
    await conn.execute("select jobs_cancel($1)", child)
    assert await doctor("jobs blocked for ever") == ("ok", "none")


async def test_a_batch_whose_members_ended_an_hour_ago_is_open_too_long(conn, doctor):
    batches = [await conn.fetchval("select id from jobs_batch('t')") for _ in range(5)]
    assert (await doctor("open batches"))["verdict"] == "ok"
    await conn.execute("update jobs set updated_at = updated_at - interval '61 minutes'")
    verdict, detail = await doctor("open batches")
    assert verdict == "warn"
    assert detail.startswith(f"{batches[0]} (t, 0 members ended 01:01:0")
    assert detail.endswith(", and 2 more")
    for batch_id in batches:
        await conn.execute("select jobs_batch_close($1)", batch_id)
    assert (await doctor("open batches"))["verdict"] == "ok"


async def test_a_flow_that_nobody_has_counted_for_a_minute_is_bad(conn, add, start_worker, doctor):
    await start_worker()
    parent = await add()
    child = await add(parent)
    await conn.execute("select jobs_cancel($1)", parent)
    assert (await doctor("flows that nobody counts"))["verdict"] == "ok"
    await conn.execute("update jobs set created_at = created_at - interval '61 seconds'")
    assert await doctor("flows that nobody counts") == ("bad", f"{child}")
    await conn.execute("select _jobs_flow_attach(10)")
    assert (await doctor("flows that nobody counts"))["verdict"] == "ok"
    await conn.execute("update jobs_flow_changes set noted_at = noted_at - interval '61 seconds'")
    assert await doctor("flows that nobody counts") == ("bad", f"{child}")
    await conn.execute("select jobs_recover()")
    assert (await doctor("flows that nobody counts"))["verdict"] == "ok"
