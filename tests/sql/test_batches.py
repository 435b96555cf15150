"""A batch is its callback: a job that runs once, when all members have ended."""

import asyncio
import json

import asyncpg
import pytest

from tests.sql.test_flows import count_flows, run


@pytest.fixture
async def worker(connect):
    session = await connect()
    await session.execute("select jobs_worker_start('w', '{elsewhere}', '{x}', 1, '0')")
    return session


@pytest.fixture
def batch(conn):
    async def make(policy="run"):
        return await conn.fetchval(
            "select id from jobs_batch('callback', on_parent_failed => $1)", policy)

    return make


@pytest.fixture
def member(conn):
    async def add(batch_id):
        return await conn.fetchval("select id from jobs_enqueue('t', batch_id => $1)", batch_id)

    return add


@pytest.fixture
def status(conn):
    async def read(job_id):
        return await conn.fetchval("select status from jobs where id = $1", job_id)

    return read


async def counts(conn):
    return await conn.fetchrow("select total, completed, failed, cancelled, open from jobs_batches")


async def close(conn, batch_id):
    await conn.execute("select jobs_batch_close($1)", batch_id)


async def test_the_callback_waits_for_the_members_and_for_the_close(
    conn, batch, member, status, worker
):
    b = await batch()
    first, second = await member(b), await member(b)
    await run(conn, first)
    await count_flows(conn)
    assert await counts(conn) == (2, 1, 0, 0, True)
    await run(conn, second, "failed")
    await count_flows(conn)
    assert await status(b) == "blocked"
    await close(conn, b)
    await count_flows(conn)
    assert await status(b) == "pending"
    assert await counts(conn) == (2, 1, 1, 0, False)
    parents = await conn.fetch("select job_id, status, error from jobs_parents($1)", b)
    assert parents == [(first, "completed", None), (second, "failed", "broken")]


async def test_an_empty_batch_runs_its_callback_at_once(conn, batch, status, worker):
    b = await batch()
    await close(conn, b)
    await count_flows(conn)
    assert await status(b) == "pending"


async def test_a_batch_in_one_transaction(conn, status):
    async with conn.transaction():
        b = await conn.fetchval("select id from jobs_batch('callback')")
        await conn.execute("select jobs_enqueue_many($1)", json.dumps(
            [{"job_type": "t", "batch_id": b}] * 3))
        await close(conn, b)
    assert await counts(conn) == (3, 0, 0, 0, False)
    await conn.fetch("select jobs_claim('me', max_jobs => 10)")
    ids = [r[0] for r in await conn.fetch("select id from jobs where batch_id = $1", b)]
    await conn.execute(
        "select jobs_complete_many('me', $1, '{1,1,1}', '{null,null,null}')", ids)
    assert await counts(conn) == (3, 3, 0, 0, False)
    assert await status(b) == "pending"


async def test_a_member_may_add_members_while_it_runs(conn, batch, member, status, worker):
    b = await batch()
    first = await member(b)
    await close(conn, b)
    await conn.execute("select jobs_claim('me')")
    second = await member(b)
    await conn.execute("select jobs_complete($1)", first)
    await count_flows(conn)
    assert await status(b) == "blocked"
    await run(conn, second)
    await count_flows(conn)
    assert await status(b) == "pending"


async def test_a_batch_whose_callback_was_let_go_takes_no_members(
    conn, batch, member, status, worker
):
    b = await batch()
    await close(conn, b)
    await count_flows(conn)
    with pytest.raises(asyncpg.PostgresError, match="takes no more jobs: its callback is pending"
                       ) as raised:
        await member(b)
    assert raised.value.sqlstate == "JQ002"


async def test_a_batch_that_does_not_exist_is_named(conn, member, job):
    plain = await job()
    for batch_id in (77, plain):
        with pytest.raises(asyncpg.PostgresError, match=f"no batch {batch_id}") as raised:
            await member(batch_id)
        assert raised.value.sqlstate == "JQ001"
        with pytest.raises(asyncpg.PostgresError, match=f"no batch {batch_id}"):
            await close(conn, batch_id)


async def test_an_open_transaction_that_adds_members_holds_the_callback_back(
    conn, connect, batch, member, status, worker
):
    b = await batch()
    first = await member(b)
    producer = await connect()
    transaction = producer.transaction()
    await transaction.start()
    late = await producer.fetchval("select id from jobs_enqueue('t', batch_id => $1)", b)
    async with asyncio.timeout(5):
        await run(conn, first)
        await close(conn, b)
        await count_flows(conn)
    assert await status(b) == "blocked"
    await transaction.commit()
    await count_flows(conn)
    assert await status(b) == "blocked"
    await run(conn, late)
    await count_flows(conn)
    assert await status(b) == "pending"


async def test_an_open_transaction_that_closes_the_batch_holds_up_no_count(
    conn, connect, batch, member, status, worker
):
    b, other = await batch(), await batch()
    first, second = await member(b), await member(other)
    await close(conn, other)
    producer = await connect()
    transaction = producer.transaction()
    await transaction.start()
    await close(producer, b)
    await run(conn, first)
    await run(conn, second)
    async with asyncio.timeout(5):
        await count_flows(conn)
    assert (await status(b), await status(other)) == ("blocked", "pending")
    await transaction.commit()
    await count_flows(conn)
    assert await status(b) == "pending"


async def test_a_producer_that_gives_up_holds_the_callback_back_no_longer(
    conn, connect, batch, member, status, worker
):
    b = await batch()
    first = await member(b)
    producer = await connect()
    transaction = producer.transaction()
    await transaction.start()
    await producer.execute("select id from jobs_enqueue('t', batch_id => $1)", b)
    await run(conn, first)
    await close(conn, b)
    await count_flows(conn)
    await transaction.rollback()
    await count_flows(conn)
    assert await status(b) == "pending"


async def test_cancel_ends_the_callback_at_the_first_member_that_fails(
    conn, batch, member, status, worker
):
    b = await batch("cancel")
    first, second = await member(b), await member(b)
    await run(conn, first, "failed")
    await count_flows(conn)
    assert await status(b) == "cancelled"
    await run(conn, second)
    await count_flows(conn)
    assert await status(b) == "cancelled"


async def test_a_member_retried_before_the_callback_counts_again_and_after_it_reopens_nothing(
    conn, batch, member, status, worker
):
    b = await batch()
    first = await member(b)
    await run(conn, first, "failed")
    await count_flows(conn)
    await conn.execute("select jobs_retry($1)", first)
    await close(conn, b)
    await count_flows(conn)
    assert await status(b) == "blocked"
    await run(conn, first, "failed")
    await count_flows(conn)
    assert await status(b) == "pending"
    await run(conn, b)
    await conn.execute("select jobs_retry($1)", first)
    await run(conn, first)
    await count_flows(conn)
    assert await status(b) == "completed"
    assert await counts(conn) == (1, 1, 0, 0, False)


@pytest.mark.parametrize("of", ["the batch", "a job after it", "another batch that it is in"])
async def test_a_member_that_would_wait_for_itself_is_refused(conn, batch, of):
    b = await batch()
    if of == "the batch":
        parent = b
    elif of == "a job after it":
        parent = await conn.fetchval(
            "select id from jobs_enqueue('t', depends_on => array[$1::bigint])", b)
    else:
        parent, b = b, await conn.fetchval("select id from jobs_batch('c', batch_id => $1)", b)
    for call, args in (
        ("select jobs_enqueue('t', batch_id => $1, depends_on => array[$2::bigint])", (b, parent)),
        ("select jobs_enqueue_many($1)", (json.dumps(
            [{"job_type": "t"}, {"job_type": "t", "batch_id": b, "depends_on": [parent]}]),)),
    ):
        with pytest.raises(asyncpg.PostgresError, match=f"cannot depend on job {parent}"):
            await conn.execute(call, *args)


async def test_cancel_many_and_retry_many_know_the_batch(conn, batch, member, status, worker):
    b = await batch()
    members = [await member(b) for _ in range(3)]
    assert await conn.fetchval("select jobs_cancel_many(batch_id => $1)", b) == 3
    await close(conn, b)
    await count_flows(conn)
    assert [await status(m) for m in members] == ["cancelled"] * 3
    assert await status(b) == "pending"


async def test_two_transactions_make_no_circle_of_two_batches(
    conn, connect, batch, blocked, worker
):
    first, second = await batch(), await batch()
    add = "select jobs_enqueue('t', batch_id => $1, depends_on => array[$2::bigint])"
    one, two = await connect(), await connect()
    transaction = one.transaction()
    await transaction.start()
    await one.execute(add, first, second)
    late = asyncio.create_task(two.fetch(add, second, first))
    await blocked(two)
    await transaction.commit()
    with pytest.raises(asyncpg.PostgresError, match=f"cannot depend on job {first}"):
        await late


async def test_a_retried_callback_waits_for_the_close_and_for_who_adds_members(
    conn, connect, batch, status, worker
):
    b = await batch()
    await conn.execute("select jobs_cancel($1)", b)
    await conn.execute("select jobs_retry($1)", b)
    await count_flows(conn)
    assert await status(b) == "blocked"
    producer = await connect()
    transaction = producer.transaction()
    await transaction.start()
    await producer.execute("select jobs_enqueue('t', batch_id => $1)", b)
    await close(conn, b)
    await conn.execute("select jobs_cancel($1)", b)
    await conn.execute("select jobs_retry($1)", b)
    await count_flows(conn)
    assert await status(b) == "blocked"
    await transaction.rollback()
    await count_flows(conn)
    assert await status(b) == "pending"


async def test_a_job_beside_members_may_depend_on_the_batch(conn, batch, status, worker):
    b = await batch()
    jobs = [{"job_type": "t", "batch_id": b}, {"job_type": "after", "depends_on": [b]}]
    ids = [r[0] for r in await conn.fetch("select jobs_enqueue_many($1)", json.dumps(jobs))]
    assert [await status(i) for i in ids] == ["pending", "blocked"]
    jobs = [{"job_type": "t", "ref": "x", "depends_on": [b]},
            {"job_type": "t", "batch_id": b, "depends_on": ["x"]}]
    with pytest.raises(asyncpg.PostgresError, match=f"cannot depend on job {b}"):
        await conn.execute("select jobs_enqueue_many($1)", json.dumps(jobs))


@pytest.mark.parametrize("holds", ["the close", "a new member"])
async def test_nobody_who_deletes_waits_for_a_session_that_holds_the_batch(
    conn, connect, batch, status, worker, holds
):
    b = await batch()
    if holds == "the close":
        await close(conn, b)
        await count_flows(conn)
    holding = await connect()
    transaction = holding.transaction()
    await transaction.start()
    if holds == "the close":
        await close(holding, b)
    else:
        await holding.execute("select jobs_enqueue('t', batch_id => $1)", b)
    async with asyncio.timeout(5):
        if holds == "the close":
            await conn.execute("select jobs_claim('me')")
            await conn.execute(
                "select jobs_complete_many('me', array[$1::bigint], '{1}', '{null}', false)", b)
        else:
            await conn.execute("select jobs_cancel($1)", b)
            await conn.execute("select jobs_cleanup('0', '{cancelled}')")
        await conn.execute("select _jobs_flow_tidy(10)")
    assert await status(b) is None
    await transaction.rollback()
    await conn.execute("update jobs_flows set counted_at = counted_at - interval '61 minutes'")
    await conn.execute("select _jobs_flow_tidy(10)")
    assert await conn.fetchval("select count(*) from jobs_flows") == 0


async def test_a_producer_does_not_read_callbacks(conn, make_role, acting_as):
    b = await conn.fetchval(
        """select id from jobs_batch('t', '{"secret": 1}', unique_key => 'k')""")
    await conn.execute("select jobs_cancel($1, 'secret error')", b)
    producer = await make_role("producer")
    async with acting_as(producer):
        row = await conn.fetchrow("select * from jobs_batch_close($1)", b)
        assert (row["id"], row["payload"], row["error"], row["unique_key"]) == (b, None, None, None)
        with pytest.raises(asyncpg.PostgresError, match="its callback waits no more"):
            await conn.execute("select jobs_enqueue('t', batch_id => $1)", b)
