from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

DAY = timedelta(days=1)
FINISHED = ["completed", "failed", "cancelled"]


async def test_completed_jobs_are_deleted_after_seven_days(conn, job, ids):
    await job("completed", finished_at=-8 * DAY)
    kept = [
        await job("completed", finished_at=-6 * DAY),
        await job("failed", finished_at=-8 * DAY),
        await job("cancelled", finished_at=-8 * DAY),
        await job("pending", created_at=-8 * DAY, run_at=-8 * DAY),
        await job("processing", created_at=-8 * DAY, run_at=-8 * DAY),
    ]
    assert await conn.fetchval("select jobs_cleanup()") == 1
    assert await ids("select id from jobs order by id") == kept


async def test_an_explicit_null_means_the_default(conn, job):
    await job("completed", finished_at=-8 * DAY)
    await job("completed", finished_at=-6 * DAY)
    assert await conn.fetchval("select jobs_cleanup(null, null, null)") == 1


async def test_age_and_statuses_may_be_chosen(conn, job):
    for status in FINISHED:
        await job(status, finished_at=-timedelta(hours=2))
    assert await conn.fetchval("select jobs_cleanup('3 hours', $1)", FINISHED) == 0
    assert await conn.fetchval("select jobs_cleanup('1 hour', '{failed,failed}')") == 1
    assert await conn.fetchval("select jobs_cleanup('0', '{completed,cancelled}')") == 2
    assert await conn.fetchval("select jobs_cleanup('0', '{}')") == 0


async def test_max_jobs_bounds_all_statuses_together_and_the_oldest_jobs_are_deleted_first(
    conn, job, ids
):
    for days in range(10, 5, -1):
        await job("completed", finished_at=-days * DAY)
        await job("failed", finished_at=-days * DAY)
    cleanup = "select jobs_cleanup('1 day', '{completed,failed}', 4)"
    assert await conn.fetchval(cleanup) == 4
    assert await ids("select id from jobs where status = 'completed' order by id") == [9]
    assert [await conn.fetchval(cleanup) for _ in range(3)] == [4, 2, 0]


async def test_calls_with_one_boundary_end_while_further_jobs_become_old_enough(conn, job, ids):
    before = await conn.fetchval("select clock_timestamp() - interval '7 days'")
    await job("completed", finished_at=-8 * DAY)
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        values ('t', 'completed', $1)""", before,
    )
    cleanup = "select jobs_cleanup(finished_before => $1)"
    assert [await conn.fetchval(cleanup, before) for _ in range(2)] == [1, 0]
    assert await conn.fetchval("select jobs_cleanup()") == 1


async def test_a_boundary_deletes_nothing_that_is_not_old_enough(conn, job):
    await job("completed", finished_at=-6 * DAY)
    await job("completed", finished_at=-8 * DAY)
    cleanup = "select jobs_cleanup(finished_before => clock_timestamp())"
    assert await conn.fetchval(cleanup) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "older_than => '-1 s'",
        "older_than => '1001 years'",
        "statuses => '{pending}'",
        "statuses => '{processing}'",
        "statuses => '{completed,null}'",
        "statuses => '{nonsense}'",
        "statuses => '{{completed},{failed}}'",
        "older_than => '-290000 years 104400001 days'",
        "max_jobs => -1",
    ],
)
async def test_bad_arguments_raise(conn, arguments):
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_cleanup({arguments})")


async def test_locked_rows_are_skipped(conn, other, job):
    locked = await job("failed", finished_at=-8 * DAY)
    await job("failed", finished_at=-8 * DAY)
    async with conn.transaction():
        await conn.execute("select jobs_retry($1)", locked)
        assert await other.fetchval("select jobs_cleanup(statuses => '{failed}')") == 1
    assert await other.fetchval("select jobs_cleanup(statuses => '{failed}')") == 0


async def test_a_cleanup_blocks_no_claim_and_no_enqueue(conn, other, job):
    await job("completed", finished_at=-8 * DAY)
    waiting = await job()
    async with conn.transaction():
        await conn.execute("select jobs_cleanup()")
        claimed = await other.fetch("select id from jobs_claim('me')")
        await other.execute("select jobs_enqueue('t')")
    assert [r[0] for r in claimed] == [waiting]
