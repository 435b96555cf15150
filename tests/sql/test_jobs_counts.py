from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

HOUR = timedelta(hours=1)


@pytest.fixture
def counts(conn):
    async def read(*arguments: Any) -> list[Sequence[Any]]:
        rows = await conn.fetch(
            f"select * from jobs_counts({', '.join(f'${n + 1}' for n in range(len(arguments)))})"
            ' order by queue collate "C", job_type collate "C", state',
            *arguments,
        )
        return [tuple(row) for row in rows]

    return read


async def test_jobs_are_counted_per_queue_type_and_state(job, counts):
    for _ in range(2):
        await job()
    await job(priority=3)
    await job(run_at=HOUR)
    await job(queue="q", job_type="u")
    for status in ("blocked", "processing", "completed", "failed", "cancelled", "failed"):
        await job(status)
    assert await counts() == [
        ("default", "t", "blocked", 1, False),
        ("default", "t", "cancelled", 1, False),
        ("default", "t", "completed", 1, False),
        ("default", "t", "due", 3, False),
        ("default", "t", "failed", 2, False),
        ("default", "t", "later", 1, False),
        ("default", "t", "processing", 1, False),
        ("q", "u", "due", 1, False),
    ]


async def test_an_empty_table_has_no_counts(counts):
    assert await counts() == []


async def test_a_job_waits_for_its_retry_until_it_is_due_again(job, counts):
    await job(retry_count=1, run_at=HOUR)
    await job(crash_count=1, run_at=HOUR)
    await job(attempt=1, run_at=HOUR)  # given back with a later run_at: no retry was spent
    await job(retry_count=1)
    assert await counts() == [
        ("default", "t", "due", 1, False),
        ("default", "t", "later", 1, False),
        ("default", "t", "retrying", 2, False),
    ]


async def test_a_paused_queue_has_due_jobs(conn, job, counts):
    await job()
    await conn.execute("select jobs_pause('default')")
    assert await counts() == [("default", "t", "due", 1, False)]


async def test_a_count_is_exact_up_to_the_cap(job, counts):
    for _ in range(3):
        await job()
        await job("failed")
    await job(queue="q")
    assert await counts(3) == [
        ("default", "t", "due", 3, False), ("default", "t", "failed", 3, False),
        ("q", "t", "due", 1, False),
    ]
    assert await counts(2) == [
        ("default", "t", "due", 2, True), ("default", "t", "failed", 2, True),
        ("q", "t", "due", 1, False),
    ]


async def test_the_priorities_of_a_type_are_counted_together(job, counts):
    for priority in (0, 1, 2):
        await job(priority=priority)
    assert await counts(3) == [("default", "t", "due", 3, False)]
    assert await counts(2) == [("default", "t", "due", 2, True)]


async def test_where_later_jobs_are_capped_there_may_be_more_retries(job, counts):
    for _ in range(2):
        await job(run_at=HOUR)
    await job(retry_count=1, run_at=2 * HOUR)
    assert await counts(1) == [
        ("default", "t", "later", 1, True), ("default", "t", "retrying", 0, True),
    ]


async def test_an_explicit_null_means_the_default(job, counts):
    await job()
    assert await counts(None) == await counts()


@pytest.mark.parametrize("cap", [0, -1])
async def test_a_cap_below_one_is_refused(counts, cap):
    with pytest.raises(asyncpg.PostgresError, match="cap must be 1"):
        await counts(cap)


async def test_a_queue_of_too_many_types_is_counted_as_a_whole(conn, job, counts):
    await conn.execute(
        """insert into jobs (queue, job_type)
        select 'many', 't' || n from generate_series(1, 1000) n"""
    )
    await job(queue="few")
    found = [row for row in await counts() if row[3]]
    assert found == [("few", "t", "due", 1, False), ("many", None, "due", 100, True)]
    # Whoever wants to know may pay for it.
    exact = await counts(60_000)
    assert len(exact) == 1001
    assert not any(row[4] for row in exact)


async def test_behind_500_queues_the_others_are_counted_as_a_whole(conn, counts):
    await conn.execute(
        """insert into jobs (queue, job_type, run_at)
        select 'q' || n, 't', clock_timestamp() - interval '1 s'
        from generate_series(1001, 2200) n"""
    )
    found = [row for row in await counts() if row[3]]
    assert found[0] == ("q1001", "t", "due", 1, False)
    assert found[-1] == (None, None, "due", 100, True)
    assert len(found) == 501


async def test_no_backlog_hides_another_queue(conn, job, counts):
    await conn.execute(
        """insert into jobs (queue, job_type)
        select 'a' || n % 31, 't' from generate_series(1, 310000) n"""
    )
    await job(queue="z")
    found = await counts()
    assert [row[0] for row in found] == sorted([f"a{n}" for n in range(31)] + ["z"])
    assert found[0] == ("a0", "t", "due", 10000, False)
    assert ("z", "t", "due", 1, False) in found


async def test_ended_jobs_of_too_many_types_are_told_apart_by_queue(conn, counts):
    await conn.execute(
        """insert into jobs (queue, job_type, status, finished_at)
        select 'q' || n % 2, 't' || n, 'failed', clock_timestamp() from generate_series(1, 502) n"""
    )
    assert await counts() == [
        ("q0", None, "failed", 251, False), ("q1", None, "failed", 251, False),
    ]


async def test_jobs_that_ended_last_are_counted_first(job, counts):
    for age in (-2, 0, -1, 0):
        await job("failed", queue="old" if age else "new", finished_at=age * HOUR)
    assert await counts(1) == [("new", "t", "failed", 1, True)]


async def test_an_observer_may_count(conn, job, make_role, acting_as, counts):
    await job()
    async with acting_as(await make_role("observer")):
        assert await counts() == [("default", "t", "due", 1, False)]


async def test_the_oldest_due_job_is_told_with_the_due_jobs_only(conn, job):
    await job(run_at=-2 * HOUR)
    await job(run_at=-HOUR, priority=1)
    await job(run_at=HOUR)
    ages = dict(await conn.fetch("select state, oldest_due from _jobs_counts()"))
    assert 2 * HOUR <= ages["due"] < 3 * HOUR
    assert ages["later"] is None


async def test_who_asks_for_due_jobs_alone_gets_the_same_counts_of_them(
    conn: asyncpg.Connection,
) -> None:
    await conn.execute(
        """insert into jobs (queue, job_type, run_at, status, finished_at)
        select 'q' || n % 3, 't' || n % 2, clock_timestamp() + case when n % 5 = 0 then '1 h'
            else interval '-1 h' end,
            case when n % 7 = 0 then 'failed' else 'pending' end, case when n % 7 = 0 then now() end
        from generate_series(1, 200) n"""
    )
    query = "select queue, job_type, state, jobs, capped from _jobs_counts({}) order by 1, 2, 3"
    everything = await conn.fetch(query.format("20"))
    assert {row["state"] for row in everything} == {"due", "later", "failed"}
    assert await conn.fetch(query.format("20, due_only => true")) == [
        row for row in everything if row["state"] == "due"
    ]


async def test_who_asks_for_due_jobs_alone_reads_20_jobs_of_each_of_500_queues(conn):
    await conn.execute(
        """insert into jobs (queue, job_type)
        select 'q' || q, 't' || t from generate_series(1, 500) q, generate_series(1, 60) t"""
    )
    async with conn.transaction():
        found = await conn.fetch(
            "select jobs, capped from _jobs_counts(1000, due_only => true) where state = 'due'"
        )
        probes, rows = await conn.fetchrow(
            """select pg_stat_get_xact_numscans(i), pg_stat_get_xact_tuples_returned(i)
            from cast('ix_jobs_claim' as regclass) i"""
        )
    assert found == [(20, True)] * 500
    # For each queue: the next one, its second range, its rows.
    assert probes < 3 * 500 + 10
    assert rows < (2 + 21) * 500 + 10
