"""Claims and due times of many queues and types, against a plain reading of the table."""

import random

import pytest

QUEUES = [f"q{n}" for n in range(12)]
TYPES = [f"t{n}" for n in range(20)]
EARLIEST = """select min(run_at) from jobs where status = 'pending' and queue = any ($1)
    and ($2::text[] is null or job_type = any ($2))"""
IN_ORDER = """select id from jobs where status = 'pending' and queue = any ($1)
    and ($2::text[] is null or job_type = any ($2)) and run_at <= clock_timestamp()
    order by array_position($1, queue), priority desc, run_at, id limit $3"""
CALLS = [
    pytest.param(queues, types, id=f"{len(queues)} queues, {len(types) if types else 'all'} types")
    for queues in (QUEUES[:1], QUEUES[:7], QUEUES)
    for types in (None, TYPES[:1], TYPES[3:8], TYPES[:15], [*TYPES, "none", "t0"])
]


async def fill(conn, *, seed, due_share):
    """300 jobs, so that many a queue, level and type has none, and many several."""
    chance = random.Random(seed)
    rows = [
        (
            chance.choice(QUEUES), chance.choice(TYPES), chance.choice([-9, 0, 0, 3]),
            chance.randrange(-100, 0) if chance.random() < due_share else chance.randrange(50, 100),
        )
        for _ in range(300)
    ]
    await conn.executemany(
        """insert into jobs (queue, job_type, priority, run_at)
        values ($1, $2, $3, date_trunc('minute', clock_timestamp()) + $4 * interval '1 min')""",
        rows,
    )


@pytest.mark.parametrize("due_share", [0, 0.05, 1])
@pytest.mark.parametrize(("queues", "types"), CALLS)
async def test_next_due_is_the_earliest_of_all(conn, queues, types, due_share):
    await fill(conn, seed=1, due_share=due_share)
    expected = await conn.fetchval(EARLIEST, queues, types)
    assert await conn.fetchval("select jobs_next_due($1, $2)", queues, types) == expected


@pytest.mark.parametrize("due_share", [0, 0.05, 1])
@pytest.mark.parametrize(("queues", "types"), CALLS)
async def test_claims_give_all_that_is_due_in_order(conn, ids, queues, types, due_share):
    await fill(conn, seed=2, due_share=due_share)
    claimed = True
    while claimed:
        expected = await ids(IN_ORDER, queues, types, 40)
        claimed = await ids("select id from jobs_claim('me', $1, 40, null, $2)", queues, types)
        assert claimed == expected


async def test_what_is_due_later_than_the_bound_is_not_told(conn):
    await fill(conn, seed=3, due_share=0)
    ask = "select _jobs_next_due($1, $2, before => clock_timestamp() + $3::text::interval)"
    assert await conn.fetchval(ask, QUEUES, TYPES, "0") is None
    found = await conn.fetchval(ask, QUEUES, TYPES, "1 day")
    assert found == await conn.fetchval(EARLIEST, QUEUES, TYPES) is not None


async def test_an_empty_claim_of_many_types_asks_once_per_level(conn):
    """Else each type costs two probes: 0.4 s for 500 queues with 200 types."""
    await fill(conn, seed=4, due_share=0)
    await conn.execute("set track_functions = 'all'")
    calls = """select coalesce(sum(pg_stat_get_xact_function_calls(oid)), 0) from pg_proc
        where proname = '_jobs_claim_bound'"""
    for due, expected in ((False, 0), (True, 1)):
        if due:
            await conn.execute(
                """update jobs set run_at = clock_timestamp() where id = (
                select id from jobs where queue = 'q11' limit 1)"""
            )
        async with conn.transaction():
            await conn.fetch("select * from jobs_claim('me', $1, 40, null, $2)", QUEUES, TYPES)
            assert await conn.fetchval(calls) == expected
