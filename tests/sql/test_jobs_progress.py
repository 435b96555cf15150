"""jobs_progress stores what handlers report, and only of jobs that the worker holds."""

import pytest

from pgjobs.errors import InvalidArgument

PROGRESS = "select jobs_progress('me', $1::bigint[], $2::int[], $3::text[]::jsonb[]) as id"


async def test_it_stores_the_report_of_each_job_and_nothing_else(conn, job, row):
    jobs = [await job("processing") for _ in range(3)]
    before = [dict(await row(job_id)) for job_id in jobs]
    changed = await conn.fetch(PROGRESS, jobs[::-1], [1, 1, 1], ["3", "2", "1"])
    assert [record["id"] for record in changed] == jobs
    for place, (job_id, old) in enumerate(zip(jobs, before, strict=True), 1):
        assert dict(await row(job_id)) == old | {"progress": str(place)}


async def test_a_late_report_changes_nothing(conn, job, row):
    ended = await job("completed", worker="me", attempt=1)
    others = await job("processing", worker="other")
    later = await job("processing", attempt=2)
    assert await conn.fetch(PROGRESS, [ended, others, later], [1, 1, 1], ["1", "1", "1"]) == []
    for job_id in (ended, others, later):
        assert (await row(job_id))["progress"] is None


async def test_a_locked_row_holds_up_no_other_report(conn, other, job, row):
    locked, free = await job("processing"), await job("processing")
    await other.execute("begin")
    await other.execute(f"select from jobs where id = {locked} for update")
    await conn.execute("set lock_timeout = '1s'")
    assert await conn.fetchval(PROGRESS, [locked, free], [1, 1], ["1", "2"]) == free
    assert (await row(free))["progress"] == "2"


async def test_a_report_writes_no_index(conn, job):
    job_id = await job("processing")
    await conn.execute("select pg_stat_force_next_flush()")
    before = await conn.fetchval("select n_tup_hot_upd from pg_stat_user_tables"
                                 " where relname = 'jobs'")
    await conn.execute(PROGRESS, [job_id], [1], ["1"])
    await conn.execute("select pg_stat_force_next_flush()")
    assert before + 1 == await conn.fetchval(
        "select n_tup_hot_upd from pg_stat_user_tables where relname = 'jobs'"
    )


async def test_a_retry_by_hand_forgets_the_report(conn, job, row):
    job_id = await job("failed", progress="5")
    await conn.execute("select jobs_retry($1)", job_id)
    assert (await row(job_id))["progress"] is None


@pytest.mark.parametrize("arguments", [
    "'me', '{1}', '{1}', null", "'me', '{1}', '{1}', '{}'", "'me', '{1,null}', '{1,1}', '{1,1}'",
    "'me', '{1,2}', '{1,1}', '{{1},{2}}'", "'me', '{1}', '{1}', '[0:0]={1}'",
])
async def test_lists_that_do_not_fit_are_refused(conn, arguments):
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_progress({arguments})")
