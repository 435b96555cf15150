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


@pytest.fixture
async def grouped(conn):
    await conn.execute(
        """insert into jobs (queue, job_type, group_key, priority, attempt, run_at, status,
            finished_at)
        select 'q' || n % 2, (array['t', 'u'])[1 + n / 2 % 2],
            (array[null, 'a', 'b'])[1 + n % 3], n % 5, n % 7 / 6,
            clock_timestamp() + (n % 11 - 5) * interval '1 hour',
            case when n % 13 = 0 then 'processing' when n % 17 = 0 then 'failed' else 'pending' end,
            case when n % 13 <> 0 and n % 17 = 0 then clock_timestamp() end
        from generate_series(1, 300) n"""
    )


async def _pages(search, size, **filters):
    seen = page = await search(statuses=["pending"], max_jobs=size, **filters)
    while page:
        page = await search(statuses=["pending"], max_jobs=size, before=page[-1], **filters)
        seen = seen + page
    return seen


@pytest.mark.parametrize("filters", [
    {}, {"queues": ["q1"]}, {"job_types": ["u"]}, {"job_types": ["u", "t"], "queues": ["q0"]},
    {"group_key": "a"}, {"group_key": "a", "job_types": ["t"], "queues": ["q1", "q0"]},
])
async def test_each_pending_job_is_on_one_page_with_or_without_a_group(
    conn, grouped, search, filters
):
    """Whether the jobs are few or many, so that they are read and sorted, or walked over."""
    expected = await conn.fetch(
        """select id from jobs
        where status = 'pending' and ($1::text[] is null or queue = any ($1))
            and ($2::text[] is null or job_type = any ($2)) and ($3::text is null or group_key = $3)
        order by queue, group_key nulls first, case when group_key is not null then job_type end,
            case when group_key is null then -priority else (attempt = 0)::int * 20 - priority end,
            run_at, id""",
        filters.get("queues"), filters.get("job_types"), filters.get("group_key"),
    )
    expected = [row["id"] for row in expected]
    assert await search(statuses=["pending"], **filters) == expected[:20]
    assert await _pages(search, 7, **filters) == expected
    walked = await conn.fetch(
        "select * from _jobs_search_pending($1, $2, $3, 1000, null)",
        filters.get("job_types"), filters.get("queues"), filters.get("group_key"),
    )
    assert [row["job_id"] for row in walked] == expected
    pages = []
    while True:
        page = await conn.fetch(
            "select s.* from _jobs_search_pending($1, $2, $3, 7, (select j from jobs j"
            " where j.id = $4)) s",
            filters.get("job_types"), filters.get("queues"), filters.get("group_key"),
            pages[-1] if pages else None,
        )
        pages += [row["job_id"] for row in page]
        if not page:
            break
    assert pages == expected


async def test_the_jobs_of_a_group_are_found_in_each_status(conn, grouped, search):
    for status in ("pending", "processing", "failed"):
        expected = await conn.fetch(
            "select id from jobs where group_key = 'a' and status = $1", status
        )
        found = await search(statuses=[status], group_key="a", max_jobs=1000)
        assert sorted(found) == sorted(row["id"] for row in expected)
    expected = await conn.fetch("select id from jobs where group_key = 'a' order by id desc")
    assert await search(group_key="a", max_jobs=1000) == [row["id"] for row in expected]
