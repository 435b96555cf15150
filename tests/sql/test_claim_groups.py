"""Groups take turns: shares, priorities, types and order, and whoever makes a job pending."""

from datetime import timedelta

import asyncpg
import pytest

HOUR = timedelta(hours=1)
CLAIM = "select id from jobs_claim('me', max_jobs => $1)"
# In one statement, so that each group has one turn.
MANY = """insert into jobs (job_type, group_key)
    select 't', g from unnest($1::text[]) g, generate_series(1, 20)"""


@pytest.fixture
def claimed(conn):
    """claimed(n): the ids of a claim of so many jobs."""

    async def claim(max_jobs=1, worker="me", job_types=None, conn=conn):
        query = "select id from jobs_claim($1, max_jobs => $2, job_types => $3)"
        return [r[0] for r in await conn.fetch(query, worker, max_jobs, job_types)]

    return claim


@pytest.fixture
def age(conn):
    """Lets an hour pass for all jobs, turns and starts."""

    async def pass_time():
        await conn.execute(
            """update jobs set run_at = run_at - interval '1 hour';
            update jobs_turns set turn_at = turn_at - interval '1 hour',
                full_since = full_since - interval '1 hour';
            update jobs_starts set
                moments = array(select m - interval '1 hour' from unnest(moments) m);
            delete from jobs_turns_from"""
        )

    return pass_time


async def test_groups_are_served_in_turn_up_to_four_jobs_at_a_time(conn, job, claimed):
    large = [await job(group_key="large") for _ in range(9)]
    small = [await job(group_key="small") for _ in range(2)]
    assert await claimed(4) == large[:4]
    assert await claimed(2) == small
    assert await claimed(9) == large[4:]


async def test_a_claim_of_many_jobs_takes_the_same_share_of_each_group(conn, job, row, claimed):
    await conn.execute(MANY, ["a", "b", "c"])
    groups = [(await row(i))["group_key"] for i in await claimed(12)]
    assert {group: groups.count(group) for group in "abc"} == {"a": 4, "b": 4, "c": 4}


async def test_jobs_without_a_group_have_the_share_of_one_group(conn, job, row, claimed):
    await conn.execute(MANY, ["a", "b", "c", None])
    groups = [(await row(i))["group_key"] for i in await claimed(16)]
    assert groups.count(None) == 4


async def test_what_groups_leave_over_is_for_jobs_without_one_and_the_other_way_round(
    conn, job, claimed
):
    jobs = [await job(group_key="a"), *[await job() for _ in range(5)]]
    assert sorted(await claimed(10)) == jobs
    jobs = [await job(), *[await job(group_key="a") for _ in range(9)]]
    assert sorted(await claimed(10)) == jobs


async def test_within_a_group_the_higher_priority_comes_first_and_no_group_before_its_turn(
    conn, job, claimed
):
    low, high = await job(group_key="a", priority=-1), await job(group_key="a", priority=9)
    other = await job(group_key="b", priority=5)
    assert await claimed(1) == [high]
    assert await claimed(1) == [other]
    assert await claimed(1) == [low]


async def test_a_job_that_has_begun_before_comes_first_in_its_group(conn, job, claimed):
    await job(group_key="a", priority=9)
    begun = await job(group_key="a", priority=-9, attempt=1)
    assert await claimed(1) == [begun]


async def test_a_worker_without_the_type_neither_takes_nor_blocks_a_group(conn, job, claimed):
    foreign, own = await job(group_key="a", job_type="u"), await job(group_key="a")
    assert await claimed(9, job_types=["t"]) == [own]
    assert await claimed(9, job_types=["t"]) == []
    assert await claimed(9, "another", ["u"]) == [foreign]


async def test_a_claim_does_not_visit_groups_without_a_job_of_its_types(conn, job, claimed):
    for n in range(50):
        await job(group_key=f"g{n}", job_type="u")
    turns = "select array_agg(ctid order by ctid) from jobs_turns"
    before = await conn.fetchval(turns)
    assert await claimed(9, job_types=["t"]) == []
    assert await conn.fetchval(turns) == before


@pytest.fixture
async def ordered(conn):
    await conn.execute("select jobs_limit('default', in_order => true)")


async def test_in_order_a_job_begins_only_after_the_end_of_the_one_before(
    conn, ordered, job, claimed
):
    first, second = await job(group_key="a"), await job(group_key="a")
    assert await claimed(9) == [first]
    assert await claimed(9) == []
    await conn.execute("select jobs_complete($1)", first)
    assert await claimed(9) == [second]


async def test_in_order_a_job_that_waits_for_its_retry_holds_its_group(
    conn, ordered, job, claimed, age
):
    first, second = await job(group_key="a"), await job(group_key="a", priority=9)
    await conn.execute("update jobs set backoff = '{1 hour}'")
    assert await claimed(9) == [second]
    await conn.execute("select jobs_fail($1, 'e')", second)
    assert await claimed(9) == []
    await age()
    assert await claimed(9) == [second]
    await conn.execute("select jobs_complete($1)", second)
    assert await claimed(9) == [first]


@pytest.mark.parametrize(
    "end", ["jobs_cancel({})", "jobs_fail({}, 'e', retry => false)", "jobs_complete({})"]
)
async def test_in_order_the_next_job_begins_when_the_one_ahead_has_ended_for_good(
    conn, ordered, job, claimed, end
):
    first, second = await job(group_key="a"), await job(group_key="a")
    assert await claimed(9) == [first]
    if "cancel" in end:
        await conn.execute("select jobs_fail($1, 'e', retry_in => '1 hour')", first)
    assert await claimed(9) == []
    await conn.execute(f"select {end.format(first)}")
    assert await claimed(9) == [second]


async def test_in_order_the_end_of_a_job_lets_one_of_another_type_begin(
    conn, ordered, job, claimed
):
    """Only workers of that other type are left."""
    first, second = await job(group_key="a"), await job(group_key="a", job_type="u")
    assert await claimed(9, job_types=["t"]) == [first]
    await conn.execute("select jobs_fail($1, 'e', retry_in => '1 hour')", first)
    assert await claimed(9, job_types=["t", "u"]) == []
    assert await claimed(9, "another", job_types=["u"]) == []
    await conn.execute("select jobs_cancel($1)", first)
    assert await claimed(9, "another", job_types=["u"]) == [second]


async def test_in_order_a_fresh_job_for_later_blocks_nobody(conn, ordered, job, claimed, age):
    later = await job(group_key="a", priority=9, run_at=HOUR)
    now = await job(group_key="a")
    assert await claimed(9) == [now]
    await conn.execute("select jobs_complete($1)", now)
    assert await claimed(9) == []
    await age()
    assert await claimed(9) == [later]


async def test_in_order_a_locked_head_holds_back_those_behind_it(
    conn, ordered, other, job, claimed, age
):
    await conn.execute(
        "select jobs_limit('default', max_running_per_group => 5, in_order => true)")
    first = await job(group_key="a")
    behind = [await job(group_key="a") for _ in range(2)]
    await conn.execute("set lock_timeout = '1 s'")
    async with other.transaction():
        await other.execute("select from jobs where id = $1 for update", first)
        assert await claimed(9) == []
    await age()
    assert await claimed(9) == [first, *behind]


MADE_PENDING = {
    "fails": "select jobs_fail($1, 'e', retry_in => '0 s')",
    "is released": "select jobs_release_many('me', array[$1::bigint], '{1}')",
    "is snoozed": """select jobs_release_many('me', array[$1::bigint], '{1}',
        array[clock_timestamp()])""",
    "is recovered": "select jobs_recover('me') where $1::bigint > 0",
    "is retried": "select jobs_fail($1, 'e', retry => false), jobs_retry($1)",
    "is retried among many": "select jobs_fail($1, 'e', retry => false), jobs_retry_many()",
}


@pytest.mark.parametrize("how", MADE_PENDING)
@pytest.mark.parametrize("limit", [None, 1])
async def test_a_job_of_a_group_that_becomes_pending_again_is_claimed_again(
    conn, job, claimed, how, limit
):
    await conn.execute("select jobs_limit('default', max_running_per_group => $1)", limit)
    again = await job(group_key="a")
    assert await claimed() == [again]
    await conn.execute("delete from jobs_turns")
    await conn.execute(MADE_PENDING[how], again)
    assert await claimed() == [again]


async def test_a_retry_has_its_turn_when_it_is_due(conn, job, claimed, age):
    again = await job(group_key="a")
    assert await claimed() == [again]
    await conn.execute("select jobs_fail($1, 'e', retry_in => '1 hour')", again)
    assert await claimed() == []
    await age()
    assert await claimed() == [again]


async def test_a_turn_and_its_job_appear_together(conn, other, claimed):
    transaction = other.transaction()
    await transaction.start()
    enqueue = "select id from jobs_enqueue('t', group_key => 'a')"
    late = await other.fetchval(enqueue)
    early = await conn.fetchval(enqueue)
    # The first group of the queue: the open transaction is about to say that the queue has groups.
    await transaction.commit()
    assert await claimed(9) == [late, early]


async def test_jobs_that_copy_and_insert_add_are_claimed_too(conn, claimed):
    await conn.copy_records_to_table(
        "jobs", records=[("t", f"g{n}") for n in range(3)], columns=["job_type", "group_key"])
    await conn.execute("insert into jobs (job_type, group_key) values ('t', 'a'), ('t', 'b')")
    assert len(await claimed(9)) == 5


async def test_a_job_by_hand_asks_no_limit(conn, job, claimed):
    await conn.execute("select jobs_limit('default', 1, 1)")
    first, second = await job(group_key="a"), await job(group_key="a")
    assert await claimed(9) == [first]
    started = await conn.fetchrow("select * from jobs_start($1, 'me')", second)
    assert started["status"] == "processing"


FLAG = "select has_groups from jobs_queues where queue = 'default'"
ENQUEUE = "select id from jobs_enqueue('t', group_key => $1)"


async def test_two_producers_of_the_first_groups_of_a_queue_do_not_wait_for_each_other(
    conn, other, claimed
):
    await other.execute("set lock_timeout = '1 s'")
    async with conn.transaction():
        first = await conn.fetchval(ENQUEUE, "a")
        second = await other.fetchval(ENQUEUE, "b")
    assert await conn.fetchval(FLAG)
    assert await claimed(9) == [first, second]


@pytest.mark.parametrize("queues", ["{default}", "{default,paused}", "{default,limited}"])
async def test_a_claim_that_finds_nothing_notes_that_a_queue_has_groups(conn, other, queues):
    await conn.execute("select jobs_pause('paused'), jobs_limit('limited', 1)")
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(ENQUEUE, "a")
    second = await other.fetchval(ENQUEUE, "b")
    await transaction.rollback()
    claim = "select id from jobs_claim('me', $1, 9)"
    assert await other.fetchval(claim, queues.strip("{}").split(",")) is None
    assert await other.fetchval(claim, ["default"]) == second


async def test_a_tick_notes_that_a_queue_has_groups(conn, other, start_worker):
    session = await start_worker("me")
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(ENQUEUE, "a")
    await other.execute(ENQUEUE, "b")
    await transaction.rollback()
    assert not await conn.fetchval(FLAG)
    await session.execute("select * from _jobs_worker_tick('me')")
    assert await conn.fetchval(FLAG)


async def test_a_worker_holds_at_most_one_suspect_of_all_groups(
    conn, job, claimed, age
):
    suspects = {await job(group_key=f"g{n}", crash_count=2) for n in range(3)}
    ordinary = [await job(group_key="g1"), await job()]
    first = await claimed(100)
    assert len(suspects & set(first)) == 1
    await age()
    rest = await claimed(100)
    assert suspects & set(rest) == set()
    assert set(ordinary) <= {*first, *rest}
    await age()
    another = await claimed(100, "another")
    assert len(suspects & set(another)) == 1


async def test_a_suspect_is_not_claimed_beside_a_lost_job_with_or_without_a_group(
    conn, job, claimed, age
):
    await job("processing", crash_count=1)
    suspect = await job(group_key="a", crash_count=2)
    assert await claimed(9) == []
    await age()
    assert await claimed(9, "another") == [suspect]


async def test_in_order_a_suspect_holds_its_group_until_a_worker_may_take_it(
    conn, ordered, job, claimed, age
):
    await job("processing", crash_count=1)
    suspect, behind = await job(group_key="a", crash_count=2, attempt=2), await job(group_key="a")
    assert await claimed(9) == []
    await age()
    assert await claimed(9, "another") == [suspect]
    await conn.execute("select jobs_complete($1)", suspect)
    assert await claimed(9) == [behind]


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_a_claim_counts_only_in_read_committed(conn, job, isolation):
    plain = await job()
    async with conn.transaction(isolation=isolation):
        assert await conn.fetchval(CLAIM, 9) == plain
    await job(group_key="a")
    with pytest.raises(asyncpg.PostgresError, match="read committed, not in") as raised:
        async with conn.transaction(isolation=isolation):
            await conn.fetch(CLAIM, 9)
    assert raised.value.sqlstate == "JQ003"
