from datetime import timedelta

import pytest

ALL = "select id from jobs_claim('me', max_jobs => 100)"


async def test_a_job_that_was_lost_once_is_claimed_like_any_other(job, ids):
    lost = [await job(crash_count=1) for _ in range(3)]
    assert await ids(ALL) == lost


async def test_a_worker_holds_at_most_one_suspect(conn, job, ids):
    suspects = [await job(crash_count=2) for _ in range(3)]
    ordinary = await job()
    assert await ids(ALL) == [suspects[0], ordinary]
    assert await ids(ALL) == []
    assert await ids("select id from jobs_claim('another', max_jobs => 100)") == [suspects[1]]
    await conn.execute("select jobs_complete($1)", suspects[0])
    assert await ids(ALL) == [suspects[2]]


async def test_a_worker_holds_at_most_one_suspect_over_all_queues(job, ids):
    a = await job(queue="a", crash_count=2)
    await job(queue="b", crash_count=2)
    assert await ids("select id from jobs_claim('me', '{a,b}', 100)") == [a]


async def test_a_job_with_a_single_retry_is_a_suspect_after_one_loss(job, ids):
    suspect = await job(crash_count=1, max_retries=1)
    await job(crash_count=1, max_retries=1)
    assert await ids(ALL) == [suspect]


async def test_a_suspect_is_claimed_first_in_its_queue_and_counts_towards_max_jobs(job, ids):
    ordinary = await job(priority=9)
    suspect = await job(priority=-9, crash_count=2)
    assert await ids("select id from jobs_claim('me')") == [suspect]
    assert await ids("select id from jobs_claim('me')") == [ordinary]


async def test_a_suspect_is_claimed_first_among_several_types_and_priorities_too(job, ids):
    due = [await job(job_type=t, priority=p) for t, p in (("u", 1), ("t", 1), ("u", 0))]
    suspect = await job(crash_count=2)
    claim = "select id from jobs_claim('me', max_jobs => 4, job_types => '{t,u}')"
    assert await ids(claim) == [suspect, *due]


async def test_types_queues_pauses_and_run_at_hold_for_a_suspect_too(conn, job, ids):
    await job(crash_count=2, job_type="u")
    await job(crash_count=2, queue="other")
    await job(crash_count=2, run_at=timedelta(hours=1))
    assert await ids("select id from jobs_claim('me', max_jobs => 9, job_types => '{t}')") == []
    await conn.execute("select jobs_pause('other')")
    assert await ids("select id from jobs_claim('me', '{other}', 9)") == []


async def test_a_suspect_that_another_session_is_claiming_is_skipped(conn, other, job, ids):
    first, second = await job(crash_count=2), await job(crash_count=2)
    async with conn.transaction():
        assert await ids(ALL) == [first]
        claimed = await other.fetch("select id from jobs_claim('another', max_jobs => 100)")
        assert [row["id"] for row in claimed] == [second]


async def test_a_poison_job_ends_failed_and_the_jobs_beside_it_do_not(conn, job):
    poison = await job()
    beside = [await job() for _ in range(9)]
    for _ in range(200):
        await conn.execute("update jobs set run_at = clock_timestamp() where status = 'pending'")
        claimed = [row["id"] for row in await conn.fetch(ALL)]
        if not claimed:
            break
        if poison in claimed:
            await conn.execute("select jobs_recover('me')")
        else:
            await conn.execute("select jobs_complete(unnest($1::bigint[]))", claimed)
    assert await conn.fetchval("select status from jobs where id = $1", poison) == "failed"
    statuses = await conn.fetch("select distinct status from jobs where id = any ($1)", beside)
    assert [row["status"] for row in statuses] == ["completed"]
    assert await conn.fetchval("select max(retry_count) from jobs") == 0


async def test_a_suspect_is_not_claimed_beside_any_other_job_that_was_lost(conn, job, ids):
    lost = await job("processing", crash_count=1)
    suspect = await job(crash_count=2)
    ordinary = await job()
    assert await ids(ALL) == [ordinary]
    assert await ids("select id from jobs_claim('another', max_jobs => 100)") == [suspect]
    await conn.execute("select jobs_release_many('another', array[$1::bigint], '{1}')", suspect)
    await conn.execute("select jobs_complete($1)", lost)
    assert await ids(ALL) == [suspect]


@pytest.mark.parametrize("job_types", [None, ["t"], ["t", "u"]])
async def test_no_job_that_was_lost_is_claimed_beside_a_suspect(conn, job, ids, job_types):
    suspect = await job(queue="a", crash_count=2)
    lost = [await job(queue=queue, crash_count=1) for queue in "ab"]
    ordinary = [await job(queue=queue) for queue in "ab"]
    claim = "select id from jobs_claim($1, '{a,b}', 100, job_types => $2)"
    assert await ids(claim, "me", job_types) == [suspect, *ordinary]
    assert await ids(claim, "me", job_types) == []
    await conn.execute("select jobs_complete($1)", suspect)
    assert await ids(claim, "me", job_types) == lost


async def test_a_claim_without_suspects_takes_no_job_that_was_lost(job, ids):
    suspect = await job(crash_count=2)
    lost = await job(crash_count=1)
    other = await job()
    claim = "select id from jobs_claim('me', max_jobs => 9, suspects => false)"
    assert await ids(claim) == [other]
    assert await ids("select id from jobs_claim('another', max_jobs => 9)") == [suspect]
    assert await ids("select id from jobs_claim('third', max_jobs => 9)") == [lost]


async def test_a_job_that_was_lost_is_claimed_below_the_floors(job, ids):
    lost = await job(crash_count=1, run_at=timedelta(hours=-1))
    floors = """{"default": {"0": "2999-01-01"}}"""
    claim = f"select id from jobs_claim('me', max_jobs => 9, floors => '{floors}')"
    assert await ids(claim) == [lost]


async def test_jobs_that_were_lost_keep_the_order_of_priorities(job, ids):
    low, high = await job(crash_count=1, priority=-1), await job(priority=1)
    middle, lost = await job(), await job(crash_count=1)
    assert await ids("select id from jobs_claim('me', max_jobs => 2)") == [high, lost]
    assert await ids("select id from jobs_claim('me', max_jobs => 9)") == [middle, low]


async def test_a_job_without_retries_that_ran_once_beside_a_poison_job_does_not_end_failed(
    conn, job
):
    """The worker dies with all that it holds whenever it runs the poison job."""
    innocent, poison = await job(max_retries=0), await job(max_retries=3)
    deaths = 0
    while True:
        # As if every delay of a retry had passed.
        await conn.execute("update jobs set run_at = now() - interval '1 h' where worker is null")
        claimed = [r["id"] for r in await conn.fetch(ALL)]
        if not claimed:
            break
        if poison in claimed:
            deaths += 1
            await conn.execute("select jobs_recover('me')")
        else:
            await conn.execute("select jobs_complete(unnest($1::bigint[]))", claimed)
    status = "select status from jobs where id = $1"
    assert await conn.fetchval(status, innocent) == "completed"
    assert await conn.fetchval(status, poison) == "failed"
    assert deaths == 4


@pytest.mark.parametrize(("max_retries", "deaths"), [(0, 2), (1, 2), (2, 3), (3, 4), (25, 4)])
async def test_a_job_that_kills_each_of_its_workers_kills_four_at_most(
    conn, job, max_retries, deaths
):
    poison = await job(max_retries=max_retries)
    died = 0
    while await conn.fetch(ALL):
        died += 1
        await conn.execute("select jobs_recover('me')")
        await conn.execute("update jobs set run_at = now() - interval '1 h'")
    assert await conn.fetchval("select status from jobs where id = $1", poison) == "failed"
    assert died == deaths
