import asyncio

import pytest

from pgjobs.errors import InvalidArgument

MANY = "select * from jobs_complete_many('me', $1::bigint[], $2::int[], $3::jsonb[])"


async def test_each_result_reaches_its_job_in_any_order_of_the_ids(conn, job, ids, row):
    a, b = [await job("processing", error="earlier") for _ in range(2)]
    assert sorted(await ids(MANY, [b, a], [1, 1], ['"b"', None])) == [a, b]
    assert (await row(a))["result"] is None
    done = await row(b)
    assert (done["status"], done["result"], done["error"]) == ("completed", '"b"', None)
    assert (done["worker"], done["lease_until"]) == (None, None)
    assert done["finished_at"] is not None


async def test_a_job_that_fails_the_fence_is_skipped(conn, job, ids):
    mine = await job("processing")
    others = await job("processing", worker="you")
    stale = await job("processing", attempt=2)
    pending = await job()
    finished = await job("completed")
    jobs = [others, stale, mine, pending, finished, 99]
    assert await ids(MANY, jobs, [1] * 6, [None] * 6) == [mine]
    statuses = await conn.fetch("select status from jobs order by id")
    assert [r[0] for r in statuses] == [
        "completed", "processing", "processing", "pending", "completed",
    ]


async def test_a_late_completion_does_not_revive_a_cancelled_job(job, ids, row):
    cancelled = await job("cancelled", worker="me", attempt=1)
    assert await ids(MANY, [cancelled], [1], [None]) == []
    assert (await row(cancelled))["status"] == "cancelled"


async def test_keep_false_deletes_only_the_completed_rows(conn, job, ids):
    gone, stays = await job("processing"), await job("processing", worker="you")
    query = MANY.replace("$3::jsonb[]", "$3::jsonb[], keep => false")
    assert await ids(query, [gone, stays], [1, 1], [None, None]) == [gone]
    assert await ids("select id from jobs") == [stays]


async def test_keep_null_keeps_the_row(job, ids):
    a = await job("processing")
    await ids(MANY.replace("$3::jsonb[]", "$3::jsonb[], null"), [a], [1], [None])
    assert await ids("select id from jobs") == [a]


async def test_a_repeated_id_counts_once_and_empty_arrays_change_nothing(job, ids):
    a = await job("processing")
    assert await ids(MANY, [a, a], [1, 1], ["1", "1"]) == [a]
    assert await ids(MANY, [], [], []) == []


@pytest.mark.parametrize(
    "arguments",
    [
        "null, '{1}', '{1}', '{null}'",
        "'me', null, '{1}', '{null}'",
        "'me', '{1}', null, '{null}'",
        "'me', '{1}', '{1}', null",
        "'me', '{null}', '{1}', '{null}'",
        "'me', '{1}', '{null}', '{null}'",
        "'me', '{1,2}', '{1}', '{null,null}'",
        "'me', '{1}', '{1,1}', '{null}'",
        "'me', '{1}', '{1}', '{}'",
        "'me', '{{1},{2}}', '{1,1}', '{null,null}'",
        "'me', '[0:0]={1}', '{1}', '{null}'",
    ],
)
async def test_null_or_unequal_arrays_raise(conn, job, row, arguments):
    running = await job("processing")
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_complete_many({arguments})")
    assert (await row(running))["status"] == "processing"


async def test_two_batches_in_opposite_orders_do_not_deadlock(conn, other, job, blocked, ids):
    jobs = [await job("processing") for _ in range(20)]
    async with conn.transaction():
        await conn.execute("select jobs_fail($1, 'e')", jobs[10])
        batch = asyncio.create_task(other.fetch(MANY, jobs[::-1], [1] * 20, [None] * 20))
        await blocked(other)
        # The batch has locked only jobs with lower ids, so another batch may lock the higher ids.
        assert await ids(MANY, jobs[11:][::-1], [1] * 9, [None] * 9) != []
    assert len(await batch) == 10


async def test_a_job_that_recovery_took_back_first_is_skipped(conn, other, job, blocked):
    lost, mine = await job("processing"), await job("processing")
    async with conn.transaction():
        await conn.execute("update jobs set lease_until = '2000-01-01' where id = $1", lost)
        await conn.execute("select jobs_recover()")
        batch = asyncio.create_task(other.fetch(MANY, [lost, mine], [1, 1], [None, None]))
        await blocked(other)
    assert [r[0] for r in await batch] == [mine]
