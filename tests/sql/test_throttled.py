"""What a limit holds back is throttled: what the counts say of it."""

from datetime import timedelta

import pytest

HOUR = timedelta(hours=1)


@pytest.fixture
def counts(conn):
    async def read(query="select state, sum(jobs) from jobs_counts() group by 1"):
        return {row[0]: int(row[1]) for row in await conn.fetch(query)}

    return read


@pytest.fixture
def ages(conn):
    async def read():
        rows = await conn.fetch("select state, oldest_due from _jobs_counts(1000, true)")
        return {row[0]: row[1] for row in rows}

    return read


async def test_jobs_of_groups_are_counted(job, counts):
    await job()
    for group in "aab":
        await job(group_key=group)
    await job(group_key="c", run_at=HOUR)
    await job(group_key="c", run_at=HOUR, retry_count=1, attempt=1)
    await job(group_key="c", job_type="u", priority=3)
    assert await counts() == {"due": 5, "later": 1, "retrying": 1}


async def test_jobs_beyond_the_places_of_their_group_are_throttled(conn, job, counts, ages):
    await conn.execute("select jobs_limit('default', max_running_per_group => 2)")
    for group in "aaaab":
        await job(group_key=group, run_at=-HOUR)
    assert await counts() == {"due": 3, "throttled": 2}
    await conn.execute("select from jobs_claim('w', max_jobs => 10)")
    assert await counts() == {"processing": 3, "throttled": 2}
    assert await ages() == {"throttled": None}


async def test_jobs_beyond_the_rate_of_their_group_are_throttled(conn, job, counts):
    await conn.execute(
        "select jobs_limit('default', group_rate_count => 2, group_rate_period => '1 hour')"
    )
    for group in "aaaab":
        await job(group_key=group)
    assert await counts() == {"due": 3, "throttled": 2}
    await conn.execute("select from jobs_claim('w', max_jobs => 10)")
    assert await counts() == {"processing": 3, "throttled": 2}


async def test_in_order_the_first_of_a_group_is_due_unless_a_retry_is_waited_for(
    conn, job, counts
):
    await conn.execute("select jobs_limit('default', in_order => true)")
    for _ in range(3):
        await job(group_key="a", run_at=-HOUR)
    assert await counts() == {"due": 1, "throttled": 2}
    job_id = await conn.fetchval("select id from jobs_claim('w')")
    assert await counts() == {"processing": 1, "throttled": 2}
    await conn.execute("select from jobs_fail($1, 'no', retry_in => '1 hour')", job_id)
    assert await counts() == {"retrying": 1, "throttled": 2}
    await conn.execute("select from jobs_cancel($1)", job_id)
    assert await counts() == {"cancelled": 1, "due": 1, "throttled": 1}


@pytest.mark.parametrize(
    "limits", ["max_running => 2", "rate_count => 2, rate_period => '1 hour'"]
)
async def test_jobs_beyond_the_room_of_their_queue_are_throttled(conn, job, counts, ages, limits):
    await conn.execute(f"select jobs_limit('default', {limits})")
    for n in range(3):
        await job(job_type="tuv"[n], run_at=-HOUR)
    await job(group_key="a", run_at=-HOUR)
    await job(queue="other")
    assert await counts() == {"due": 3, "throttled": 2}
    await conn.execute("select from jobs_claim('w', max_jobs => 10)")
    assert await counts() == {"processing": 2, "due": 1, "throttled": 2}
    assert (await ages())["due"] < HOUR


async def test_the_due_jobs_are_those_that_a_claim_takes(conn, job, counts):
    await conn.execute(
        "select jobs_limit('default', max_running => 7, max_running_per_group => 2)"
    )
    for n in range(12):
        await job(group_key="abc"[n % 3], job_type="tu"[n % 2], priority=n % 4)
    await job()
    due = (await counts())["due"]
    assert len(await conn.fetch("select from jobs_claim('w', max_jobs => 100)")) == due == 7


async def test_a_queue_of_many_groups_is_counted_in_part_and_says_so(conn):
    await conn.execute(
        """insert into jobs (queue, job_type, group_key)
        select 'many', 't', g from generate_series(1, 3000) g;
        insert into jobs (queue, job_type, group_key)
        select 'few', 't', g from generate_series(1, 3) g"""
    )
    rows = {(r[0], r[2]): r for r in await conn.fetch("select * from jobs_counts()")}
    assert rows["few", "due"]["jobs"] == 3
    assert not rows["few", "due"]["capped"]
    assert 100 <= rows["many", "due"]["jobs"] < 3000
    assert rows["many", "due"]["capped"]


async def test_the_oldest_due_job_of_the_stats_is_not_one_that_is_throttled(conn, job):
    await conn.execute("select jobs_limit('q', max_running_per_group => 1)")
    for _ in range(2):
        await job(queue="q", group_key="a", run_at=-HOUR)
    await job(queue="q", group_key="b", run_at=-HOUR / 2)
    oldest = "select extract(epoch from oldest_due)::int from jobs_stats where status = 'pending'"
    assert await conn.fetchval(oldest) == pytest.approx(3600, abs=60)
    await conn.execute("select from jobs_claim('w', '{q}')")
    assert await conn.fetchval(oldest) == pytest.approx(1800, abs=60)
    await conn.execute("select from jobs_claim('w', '{q}')")
    assert await conn.fetchval(oldest) is None
