"""Which jobs a list shows, in which order, and where it gives up."""

import random
from datetime import timedelta

import asyncpg
import pytest

HOUR = timedelta(hours=1)
EVERY = ["pending", "blocked", "processing", "completed", "failed", "cancelled"]


@pytest.fixture
def search(conn):
    async def run(**filters):
        arguments = ", ".join(f"{name} => ${n}" for n, name in enumerate(filters, 1))
        rows = await conn.fetch(f"select * from _jobs_search({arguments})", *filters.values())
        return [row["job_id"] if row["matches"] else -row["job_id"] for row in rows]

    return run


async def test_the_newest_jobs_come_first(job, search):
    ids = [await job(status) for status in EVERY]
    assert await search() == ids[::-1]
    assert await search(before=ids[3]) == ids[2::-1]
    assert await search(max_jobs=2) == ids[:3:-1]
    assert await search(statuses=["pending", "failed", "pending"]) == [ids[4], ids[0]]
    assert await search(statuses=["processing", "blocked"]) == [ids[2], ids[1]]


async def test_the_jobs_that_ended_last_come_first_where_all_have_ended(job, search):
    a = await job("failed", finished_at=-HOUR)
    b = await job("failed", finished_at=-3 * HOUR)
    c = await job("cancelled", finished_at=-2 * HOUR)
    assert await search(statuses=["failed"]) == [a, b]
    assert await search(statuses=["cancelled", "failed"]) == [a, c, b]
    assert await search(statuses=["cancelled", "failed"], before=c) == [b]


async def test_jobs_that_ended_together_are_all_on_one_page_or_another(conn, search):
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        select 't', 'completed', '2026-01-01' from generate_series(1, 50)"""
    )
    seen = page = await search(statuses=["completed"], max_jobs=7)
    while page:
        page = await search(statuses=["completed"], max_jobs=7, before=page[-1])
        seen = seen + page
    assert seen == list(range(50, 0, -1))


async def test_pending_jobs_come_as_claims_take_them_queue_by_queue(job, search):
    ids = [
        await job(queue="b", job_type=random.choice("tu")),
        await job(queue="a", run_at=HOUR),
        await job(queue="a", run_at=-HOUR, job_type="u"),
        await job(queue="a", priority=-9, run_at=-2 * HOUR),
        await job(queue="a", priority=9, run_at=2 * HOUR),
    ]
    expected = [ids[n] for n in (4, 2, 1, 3, 0)]
    for size in (1, 2, 9):
        seen = page = await search(statuses=["pending"], max_jobs=size)
        while page:
            page = await search(statuses=["pending"], max_jobs=size, before=page[-1])
            seen = seen + page
        assert seen == expected
    assert await search(statuses=["pending"], queues=["b", "a"]) == expected
    assert await search(statuses=["pending"], queues=["b"]) == [ids[0]]
    assert await search(statuses=["pending"], job_types=["t"], queues=["a"]) == [
        ids[n] for n in (4, 1, 3)
    ]


async def test_a_page_follows_a_pending_job_that_has_been_claimed_meanwhile(conn, job, search):
    ids = [await job() for _ in range(3)]
    await conn.execute("select jobs_claim('w')")
    assert await search(statuses=["pending"], before=ids[0]) == ids[1:]


async def test_each_filter_narrows_the_list_alone_and_with_the_others(conn, search):
    await conn.execute(
        """insert into jobs (status, job_type, queue, reference_type, reference_id, finished_at)
        select status, job_type, queue, 'order', id, case when status in
            ('completed', 'failed', 'cancelled') then clock_timestamp() - id * interval '1 s' end
        from unnest($1::text[]) status, unnest('{t,u}'::text[]) job_type,
            unnest('{q,r}'::text[]) queue, generate_series(1, 2) id""",
        EVERY,
    )
    await conn.execute("update jobs set reference_key = reference_id, reference_id = null"
                       " where job_type = 'u'")
    filters = {
        "statuses": [[s] for s in EVERY] + [["failed", "completed"], ["pending", "failed"]],
        "job_types": [["t"], ["u", "t"], ["none"]],
        "queues": [["q"], ["q", "r", "q"], ["none"]],
        "reference_type": ["order"], "reference_id": [1], "reference_key": ["2"],
    }
    columns = {"statuses": "status", "job_types": "job_type", "queues": "queue"}
    chosen = random.Random(7)
    for _ in range(150):
        given = {name: chosen.choice(values) for name, values in filters.items()
                 if chosen.random() < 0.4}
        conditions = [
            f"{columns[name]} = any (${n})" if name in columns else f"{name} = ${n}"
            for n, name in enumerate(given, 1)
        ]
        expected = await conn.fetch(
            f"select id from jobs where {' and '.join(['true', *conditions])} order by id",
            *given.values(),
        )
        found = await search(**given, max_jobs=1000)
        assert sorted(found) == [row["id"] for row in expected], given


async def test_an_empty_filter_lets_nothing_pass(job, search):
    await job()
    for name in ("statuses", "job_types", "queues"):
        assert await search(**{name: []}) == []


@pytest.mark.parametrize("statuses", [None, ["completed"], ["completed", "failed"]])
async def test_a_search_says_where_it_gave_up_and_goes_on_there(conn, job, search, statuses):
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        select 't' || n % 3, case n % 2 when 0 then 'completed' else 'failed' end,
            clock_timestamp() + n * interval '1 ms'
        from generate_series(1, 300) n"""
    )
    rare = await job("completed", queue="rare", finished_at=-HOUR)
    calls, before, found = 0, None, []
    while True:
        page = await search(statuses=statuses, queues=["rare"], before=before, max_read=50)
        found += [job_id for job_id in page if job_id > 0]
        calls += 1
        if not page or page[-1] > 0:
            break
        before = -page[-1]
    assert found == [rare]
    assert calls > 1
    assert await search(statuses=statuses, queues=["rare"]) == [rare]


async def test_a_search_goes_on_within_jobs_that_ended_together(conn, job, search):
    await conn.execute(
        """insert into jobs (queue, job_type, status, finished_at)
        select case n % 40 when 0 then 'rare' else 'q' end, 't', 'completed',
            date '2026-01-01' + n / 130
        from generate_series(1, 500) n"""
    )
    expected = await search(statuses=["completed"], queues=["rare"])
    assert len(expected) == 12
    for max_read in (130, 200, 499):
        before, found = None, []
        while True:
            page = await search(
                statuses=["completed"], queues=["rare"], before=before, max_read=max_read
            )
            found += [job_id for job_id in page if job_id > 0]
            if not page or page[-1] > 0:
                break
            before = -page[-1]
        assert found == expected


async def test_pending_jobs_of_a_frequent_reference_are_listed(conn, job, search):
    await conn.execute(
        """insert into jobs (job_type, status, finished_at, reference_type, reference_id)
        select 't', 'completed', clock_timestamp(), 'tenant', 1 from generate_series(1, 20001) n"""
    )
    pending = await job(reference_type="tenant", reference_id=1)
    await job()
    assert await search(statuses=["pending"], reference_type="tenant", reference_id=1) == [pending]
    newest = await search(reference_type="tenant", reference_id=1, max_jobs=2, max_read=9)
    assert newest[0] == pending


async def test_a_list_cannot_go_on_after_an_ended_job_that_is_gone_or_runs_again(conn, job, search):
    kept, gone = await job("failed"), await job("failed")
    await conn.execute("delete from jobs where id = $1", gone)
    with pytest.raises(asyncpg.PostgresError, match="begin again"):
        await search(statuses=["failed"], before=gone)
    await conn.execute("select jobs_retry($1)", kept)
    with pytest.raises(asyncpg.PostgresError, match="begin again"):
        await search(statuses=["failed"], before=kept)
