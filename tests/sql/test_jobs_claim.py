import asyncio
from datetime import timedelta

import asyncpg
import pytest

from pgjobs.errors import InvalidArgument

ALL = "select id from jobs_claim('me', max_jobs => 100)"


async def test_a_claimed_job_is_processing_and_held_by_its_worker_under_a_lease(conn, job):
    await job()
    claimed = await conn.fetchrow("select * from jobs_claim('me', lease => '5 minutes')")
    assert (claimed["status"], claimed["worker"], claimed["attempt"]) == ("processing", "me", 1)
    left = await conn.fetchval("select lease_until - clock_timestamp() from jobs")
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)


async def test_an_explicit_null_means_the_default(conn, job):
    await job()
    await job(queue="other")
    claimed = await conn.fetch("select * from jobs_claim('me', null, null, null, null)")
    assert [(row["queue"], row["job_type"]) for row in claimed] == [("default", "t")]
    assert await conn.fetchval(
        "select lease_until > clock_timestamp() + '50 s' from jobs where worker = 'me'"
    )


async def test_jobs_are_claimed_in_the_order_of_the_given_queues(job, ids):
    a, b, c = [await job(queue=queue) for queue in "abc"]
    assert await ids("select id from jobs_claim('me', '{c,a,b}', 10)") == [c, a, b]


async def test_an_earlier_queue_comes_before_a_higher_priority(job, ids):
    urgent = await job(queue="b", priority=9)
    lazy = await job(queue="a", priority=-9)
    assert await ids("select id from jobs_claim('me', '{a,b}', 1)") == [lazy]
    assert await ids("select id from jobs_claim('me', '{a,b}', 1)") == [urgent]


async def test_a_queue_named_twice_counts_once(job, ids):
    expected = [await job(queue="a"), await job(queue="b")]
    assert await ids("select id from jobs_claim('me', '{a,b,a}', 10)") == expected


async def test_higher_priority_comes_before_earlier_run_at(job, ids):
    levels = [await job(priority=p, run_at=timedelta(minutes=-p - 10)) for p in range(-9, 10)]
    assert await ids(ALL) == levels[::-1]


@pytest.mark.parametrize("job_types", [None, ["t"], ["t", "u", "v", "t"]])
async def test_within_a_priority_run_at_decides_and_then_the_id(conn, job, ids, job_types):
    late = [await job(run_at=timedelta(minutes=-1), job_type="t") for _ in range(3)]
    early = [await job(run_at=timedelta(minutes=-2), job_type="t") for _ in range(3)]
    await conn.execute("update jobs set run_at = date_trunc('minute', run_at)")
    query = "select id from jobs_claim('me', max_jobs => 4, job_types => $1)"
    assert await ids(query, job_types) == [*early, late[0]]


@pytest.mark.parametrize("job_types", [None, list("abcde")])
@pytest.mark.parametrize("max_jobs", [1, 7, 100])
async def test_the_order_is_the_same_across_many_types(conn, ids, job_types, max_jobs):
    # Some types have many more jobs than others, so that a claim has to read several chunks.
    await conn.execute(
        """insert into jobs (job_type, priority, run_at)
        select substr('aaaaaaaaaaaaaabbbccde', 1 + floor(random() * 21)::int, 1), n % 2,
            clock_timestamp() - random() * interval '1 hour'
        from generate_series(1, 1000) n"""
    )
    expected = await ids("select id from jobs order by priority desc, run_at, id")
    query = "select id from jobs_claim('me', max_jobs => $1, job_types => $2)"
    claimed = []
    while len(claimed) < 1000:
        some = await ids(query, max_jobs, job_types)
        assert len(some) == min(max_jobs, 1000 - len(claimed))
        claimed += some
        if max_jobs == 1 and len(claimed) >= 50:
            break
    assert claimed == expected[: len(claimed)]


async def test_max_jobs_is_exact(conn, ids):
    await conn.execute("insert into jobs (job_type) select 't' from generate_series(1, 30)")
    assert len(await ids("select id from jobs_claim('me')")) == 1
    assert len(await ids("select id from jobs_claim('me', max_jobs => 0)")) == 0
    assert len(await ids("select id from jobs_claim('me', max_jobs => 28)")) == 28
    assert len(await ids("select id from jobs_claim('me', max_jobs => 2147483647)")) == 1


async def test_a_type_named_twice_is_not_claimed_twice(job, ids):
    a, b, c = [await job() for _ in range(3)]
    query = "select id from jobs_claim('me', max_jobs => 2, job_types => '{t,t,u,u}')"
    assert await ids(query) == [a, b]
    assert await ids(query) == [c]


async def test_only_the_given_types_are_claimed(job, ids):
    await job(job_type="a")
    b = await job(job_type="b")
    assert await ids("select id from jobs_claim('me', max_jobs => 9, job_types => '{b,x}')") == [b]
    assert await ids("select id from jobs_claim('me', max_jobs => 9, job_types => '{}')") == []


async def test_only_the_given_queues_are_claimed(job, ids):
    await job(queue="other")
    assert await ids(ALL) == []
    assert await ids("select id from jobs_claim('me', '{}', 9)") == []


async def test_a_future_job_waits_until_it_is_due(conn, job, ids):
    future = await job(run_at=timedelta(hours=1))
    assert await ids(ALL) == []
    await conn.execute("update jobs set run_at = clock_timestamp()")
    assert await ids(ALL) == [future]


async def test_a_future_job_does_not_hide_a_due_job_of_lower_priority(job, ids):
    await job(priority=9, run_at=timedelta(hours=1))
    due = await job(priority=-9)
    assert await ids(ALL) == [due]


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
async def test_only_pending_jobs_are_claimed(job, ids, status):
    await job(status)
    assert await ids(ALL) == []


async def test_no_job_of_a_paused_queue_is_claimed(conn, job, ids):
    await job(queue="a")
    b = await job(queue="b")
    await conn.execute("select jobs_pause('a')")
    assert await ids("select id from jobs_claim('me', '{a,b}', 9)") == [b]


async def test_each_claim_is_a_new_attempt(conn, job):
    job_id = await job()
    await conn.execute("select jobs_claim('me')")
    await conn.execute("select jobs_release_many('me', array[$1::bigint], '{1}')", job_id)
    assert await conn.fetchval("select attempt from jobs_claim('me')") == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("null", "worker is missing"),
        ("''", "worker is missing"),
        ("repeat('w', 513)", "worker must have at most 512 bytes"),
        ("'me', max_jobs => -1", "max_jobs must be 0 or more"),
        ("'me', lease => '0'", "lease must be above 0"),
        ("'me', lease => '-1 s'", "lease must be above 0"),
        ("'me', lease => '101 years'", "lease must be above 0"),
        ("'me', lease => '-290000 years 104400001 days'", "lease must be above 0"),
        ("'me', '{a,null}'", "queues must not hold nulls"),
        ("'me', '{{a},{b}}'", "must be plain lists"),
        ("'me', job_types => '{null}'", "job_types must not hold nulls"),
        ("'me', job_types => '{{a},{b}}'", "must be plain lists"),
    ],
)
async def test_bad_arguments_raise(conn, arguments, problem):
    with pytest.raises(InvalidArgument, match=problem):
        await conn.fetch(f"select jobs_claim({arguments})")


@pytest.mark.parametrize("job_types", [None, ["t"], ["t", "u"]])
async def test_a_job_that_another_session_is_claiming_is_skipped(
    conn, other, job, ids, job_types
):
    a, b = await job(), await job()
    query = "select id from jobs_claim($1, max_jobs => 1, job_types => $2)"
    async with conn.transaction():
        assert await ids(query, "me", job_types) == [a]
        assert [r[0] for r in await other.fetch(query, "other", job_types)] == [b]
        assert await other.fetch(query, "other", job_types) == []


async def test_a_claim_that_is_rolled_back_leaves_the_job_as_it_was(conn, other, job):
    job_id = await job()
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("select jobs_claim('me')")
    await transaction.rollback()
    claimed = await other.fetchrow("select id, attempt, worker from jobs_claim('other')")
    assert tuple(claimed) == (job_id, 1, "other")


async def test_racing_workers_claim_each_job_exactly_once(conn, connect, ids):
    await conn.execute(
        """insert into jobs (job_type, priority)
        select 't' || n % 3, n % 2 from generate_series(1, 900) n"""
    )
    sessions = [await connect() for _ in range(6)]

    async def work(number: int) -> list[int]:
        mine: list[int] = []
        while rows := await sessions[number].fetch(
            "select id from jobs_claim($1, max_jobs => 7)", f"worker {number}"
        ):
            mine += [row["id"] for row in rows]
        return mine

    claimed = [job for mine in await asyncio.gather(*map(work, range(6))) for job in mine]
    # A claim may find no job while other claims lock all jobs that are left: claim once more.
    claimed += await ids("select id from jobs_claim('me', max_jobs => 900)")
    assert sorted(claimed) == list(range(1, 901))
    assert await conn.fetchval("select max(attempt) from jobs") == 1


async def test_a_claim_takes_at_most_max_jobs_while_other_sessions_commit_jobs(conn, connect):
    # The jobs have an old run_at, so they may be due between the two statements of a claim.
    producers = [await connect() for _ in range(2)]
    done = asyncio.Event()

    async def produce(session) -> None:
        while not done.is_set():
            await session.execute(
                """insert into jobs (job_type, run_at)
                select 't' || n % 2, clock_timestamp() - random() * interval '1 hour'
                from generate_series(1, 20) n"""
            )

    async with asyncio.TaskGroup() as tasks:
        for session in producers:
            tasks.create_task(produce(session))
        for _ in range(100):
            assert len(await conn.fetch("select id from jobs_claim('me', max_jobs => 10)")) <= 10
        done.set()


async def test_a_floor_is_a_lower_bound_for_its_own_priority_only(job, ids):
    old = await job(priority=2, run_at=timedelta(hours=-2))
    new = await job(priority=2, run_at=timedelta(minutes=-1))
    between = await job(priority=1)
    above = await job(priority=3)
    below = await job(priority=-1)
    floors = """select id from jobs_claim('me', max_jobs => 9, floors => jsonb_build_object(
        'default', jsonb_build_object('2', clock_timestamp() - interval '1 hour',
                                      '0', clock_timestamp() - interval '1 hour')))"""
    assert await ids(floors) == [above, new, between, below]
    assert await ids(ALL) == [old]


async def test_floors_of_another_form_raise_and_claim_no_job(conn, job, row):
    """Only pgjobs' own worker gives floors, so no claim pays for an error in our words."""
    waiting = await job(run_at=timedelta(hours=-1))
    before = await row(waiting)
    for floors in ('{"default": 1}', '{"default": {"high": "2030-01-01"}}',
                   '{"default": {"0": "someday"}}'):
        with pytest.raises(asyncpg.DataError):
            await conn.execute("select jobs_claim('me', floors => $1)", floors)
    assert await row(waiting) == before


async def test_a_job_is_found_up_to_a_fifth_of_a_second_below_its_floor(conn, job, ids):
    """A job may become visible a little after a later one."""
    floors = """select id from jobs_claim('me', max_jobs => 9, floors => jsonb_build_object(
        'default', jsonb_build_object('0', clock_timestamp())))"""
    await job(run_at=timedelta(seconds=-1))
    assert await ids(floors) == []
    late = await job(run_at=timedelta(seconds=-0.1))
    assert await ids(floors) == [late]
