"""How many jobs of a queue, and of each of its groups, run at once or start in a period."""

import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

HOUR = timedelta(hours=1)
MANY = """insert into jobs (job_type, group_key, queue)
    select 't', g, 'default' from unnest($1::text[]) g, generate_series(1, $2)"""
CLAIM = "select id from jobs_claim($1, max_jobs => $2)"
DUE = "select jobs_next_due('{default}')"
AGE = """update jobs_turns set turn_at = turn_at - interval '1 hour',
        full_since = full_since - interval '1 hour';
    update jobs_starts set moments = array(select m - interval '1 hour' from unnest(moments) m);
    delete from jobs_turns_from"""


@pytest.fixture
def limit(conn):
    """limit(max_running => …): limits of the queue default."""

    async def set_limits(**limits):
        names = ", ".join(f"{name} => ${n}" for n, name in enumerate(limits, 1))
        return await conn.fetchrow(f"select * from jobs_limit('default', {names})",
                                   *limits.values())

    return set_limits


async def count(conn, max_jobs=100, worker="me"):
    return len(await conn.fetch(CLAIM, worker, max_jobs))


async def end(conn, jobs):
    """Completes so many of the running jobs."""
    await conn.execute(
        """select jobs_complete(id) from (select id from jobs where status = 'processing'
        order by id limit $1) j""", jobs)


async def test_no_claim_takes_more_of_a_group_than_its_limit(conn, limit):
    await limit(max_running_per_group=2)
    await conn.execute(MANY, ["a", "b"], 5)
    assert await count(conn) == 4
    assert await count(conn, worker="another") == 0
    await end(conn, 1)
    assert await count(conn, worker="another") == 1


async def test_no_claim_takes_more_of_a_queue_than_its_limit(conn, limit):
    await limit(max_running=3)
    await conn.execute(MANY, ["a", None], 5)
    assert await count(conn) == 3
    assert await count(conn, worker="another") == 0
    await end(conn, 2)
    assert await count(conn, worker="another") == 2


@pytest.mark.parametrize("limits", [{"max_running": 3}, {"max_running_per_group": 3}])
async def test_a_claim_beside_an_uncommitted_one_takes_none_over_the_limit(
    conn, other, limit, limits
):
    await limit(**limits)
    await conn.execute(MANY, ["a"], 9)
    async with conn.transaction():
        assert await count(conn, 2) == 2
        assert await count(other, 9, "another") == 0
    await conn.execute(AGE)
    assert await count(other, 9, "another") == 1


async def test_a_claim_that_waited_for_another_one_counts_what_that_one_took(
    conn, other, blocked, limit
):
    """The other session commits while this one waits for the lock of the queue."""
    await limit(max_running=3)
    await conn.execute(MANY, [None], 9)
    await conn.execute("set lock_timeout = '0'")
    transaction = other.transaction()
    await transaction.start()
    assert await count(other, 2, "another") == 2
    claim = asyncio.create_task(count(conn))
    await blocked(conn)
    await transaction.commit()
    # It may have given up waiting after 50 ms.
    assert await claim in (0, 1)
    assert await conn.fetchval("select count(*) from jobs where status = 'processing'") <= 3


async def test_a_rolled_back_claim_leaves_its_places(conn, limit):
    await limit(max_running=2, max_running_per_group=1)
    await conn.execute(MANY, ["a", "b"], 2)
    transaction = conn.transaction()
    await transaction.start()
    assert await count(conn) == 2
    await transaction.rollback()
    assert await count(conn) == 2


async def test_a_queue_has_its_limit_among_several_queues_of_one_claim(conn, job, limit):
    await limit(max_running=1)
    await conn.execute(MANY, [None], 3)
    for _ in range(3):
        await job(queue="open")
    claim = "select queue from jobs_claim('me', $1, 9)"
    queues = [r[0] for r in await conn.fetch(claim, ["default", "open"])]
    assert sorted(queues) == ["default", "open", "open", "open"]
    assert await conn.fetch(claim, ["open", "default"]) == []


async def test_a_claim_for_free_slots_takes_no_more_of_a_queue_with_limits(conn, job, limit):
    await limit(max_running=5)
    await conn.execute(MANY, ["a", None], 4)
    for _ in range(9):
        await job(queue="open")
    claim = "select queue from jobs_claim('me', '{default,open}', 6, free => $1)"
    queues = [r[0] for r in await conn.fetch(claim, 2)]
    assert (queues.count("default"), queues.count("open")) == (2, 4)
    queues = [r[0] for r in await conn.fetch(claim, 0)]
    assert queues == ["open"] * 5


async def test_after_a_limit_was_raised_what_was_put_off_starts_at_once(conn, limit):
    await limit(max_running_per_group=1)
    await conn.execute(MANY, ["a"], 5)
    assert await count(conn) == 1
    assert await count(conn) == 0
    await limit(max_running_per_group=3)
    assert await count(conn) == 2
    await limit(group_rate_count=1, group_rate_period=HOUR)
    assert await count(conn) == 1
    assert await count(conn) == 0
    await limit(max_running_per_group=None)
    assert await count(conn) == 1


async def test_after_a_limit_was_lowered_none_starts_until_enough_have_ended(conn, limit):
    await limit(max_running_per_group=3, max_running=3)
    await conn.execute(MANY, ["a"], 9)
    assert await count(conn) == 3
    await limit(max_running_per_group=1, max_running=1)
    for ended, taken in [(0, 0), (1, 0), (1, 0), (1, 1)]:
        await end(conn, ended)
        await conn.execute(AGE)
        assert await count(conn) == taken


async def test_a_limit_of_0_stops_a_queue_until_it_is_raised(conn, limit):
    await limit(max_running_per_group=0)
    await conn.execute(MANY, ["a"], 2)
    assert await count(conn) == 0
    await limit(max_running=0)
    assert await count(conn) == 0
    await limit(max_running=None)
    assert await count(conn) == 2


async def test_in_order_one_job_of_a_group_runs_at_once_unless_told_otherwise(limit):
    assert (await limit(in_order=True))["max_running_per_group"] == 1
    assert (await limit(in_order=True, max_running_per_group=4))["max_running_per_group"] == 4


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_running": -1}, "max_running must be at least 0, not -1"),
        ({"max_running_per_group": -1}, "max_running_per_group must be at least 0, not -1"),
        ({"rate_count": 1}, "rate_count and rate_period go together"),
        ({"group_rate_period": HOUR}, "group_rate_count and group_rate_period go together"),
        ({"rate_count": 0, "rate_period": HOUR}, "rate_count must be at least 1, not 0"),
        ({"rate_count": 1, "rate_period": timedelta(0)}, "rate_period must be from 10 ms"),
        ({"group_rate_count": 1, "group_rate_period": timedelta(367)}, "to 366 days"),
    ],
)
async def test_a_limit_that_makes_no_sense_raises(limit, limits, message):
    with pytest.raises(InvalidArgument, match=message):
        await limit(**limits)


RATES = [{"rate_count": 3, "rate_period": HOUR}, {"group_rate_count": 3, "group_rate_period": HOUR}]


@pytest.mark.parametrize("limits", RATES)
async def test_a_rate_counts_each_window_of_its_period(conn, limit, limits):
    await limit(**limits)
    await conn.execute(MANY, ["a"], 20)
    assert await count(conn, 2) == 2
    await _pass(conn, HOUR / 2)
    assert await count(conn) == 1
    assert await count(conn) == 0
    await _pass(conn, HOUR / 2 + timedelta(seconds=1))
    # Only the first two have left the window.
    assert await count(conn) == 2
    await _pass(conn, HOUR / 2)
    assert await count(conn) == 1


async def _pass(conn, time):
    await conn.execute(
        "update jobs_starts set moments = array(select m - $1::interval from unnest(moments) m)",
        time)
    await conn.execute("update jobs_turns set turn_at = turn_at - $1::interval", time)
    await conn.execute("delete from jobs_turns_from")


@pytest.mark.parametrize("limits", RATES)
async def test_the_end_of_a_job_gives_no_start_back(conn, limit, limits):
    await limit(**limits)
    await conn.execute(MANY, ["a"], 20)
    assert await count(conn) == 3
    await end(conn, 3)
    await conn.execute("update jobs_turns set turn_at = clock_timestamp()")
    assert await count(conn) == 0


@pytest.mark.parametrize("limits", RATES)
async def test_a_rolled_back_claim_spends_nothing_of_a_rate(conn, limit, limits):
    await limit(**limits)
    await conn.execute(MANY, ["a"], 20)
    transaction = conn.transaction()
    await transaction.start()
    assert await count(conn) == 3
    await transaction.rollback()
    assert await count(conn) == 3


async def test_a_rate_of_a_group_says_nothing_of_other_groups(conn, limit):
    await limit(group_rate_count=2, group_rate_period=HOUR)
    await conn.execute(MANY, ["a", "b", None], 5)
    assert await count(conn) == 2 + 2 + 5


@pytest.mark.parametrize("group", [None, "a"])
async def test_a_thousand_starts_of_a_rate_are_one_short_row(conn, limit, group):
    """And never more than allowed in a window, nor late by more than a 64th of the period."""
    name = "rate" if group is None else "group_rate"
    await limit(**{f"{name}_count": 1000, f"{name}_period": HOUR})
    await conn.execute(MANY, [group], 1500)
    part = HOUR / 64
    for _ in range(25):
        assert [await count(conn, 10) for _ in range(4)] == [10] * 4
        await _pass(conn, part)
    # One moment more if the clock went from a part to the next between two starts.
    assert await conn.fetchval("select cardinality(moments) from jobs_starts") <= 32 + 17 + 1
    assert await count(conn, 10) == 0
    await _pass(conn, 39 * part)
    assert await count(conn, 100) == 40
    await _pass(conn, part)
    assert 30 <= await count(conn, 100) <= 40
    # Those that are counted together.
    await _pass(conn, 8 * part)
    assert 310 <= await count(conn, 1000) <= 330


async def test_next_due_of_a_full_queue_is_null(conn, limit):
    await limit(max_running=1)
    await conn.execute(MANY, ["a", None], 2)
    assert await conn.fetchval(f"select ({DUE}) <= clock_timestamp()")
    await count(conn)
    assert await conn.fetchval(DUE) is None
    await end(conn, 1)
    assert await conn.fetchval(f"select ({DUE}) <= clock_timestamp()")


async def test_next_due_of_a_full_group_is_later_and_an_end_makes_it_now(conn, limit):
    await limit(max_running_per_group=1)
    await conn.execute(MANY, ["a"], 2)
    await count(conn)
    assert await conn.fetchval(f"select ({DUE}) > clock_timestamp()")
    await end(conn, 1)
    assert await conn.fetchval(f"select ({DUE}) <= clock_timestamp()")


@pytest.mark.parametrize("limits", RATES)
async def test_next_due_of_a_rate_is_when_its_first_start_leaves_the_window(conn, limit, limits):
    await limit(**limits)
    await conn.execute(MANY, ["a"], 20)
    await count(conn)
    assert await count(conn) == 0
    due = await conn.fetchval(f"select ({DUE}) - clock_timestamp()")
    assert HOUR - timedelta(seconds=20) < due <= HOUR + timedelta(seconds=1)


async def test_next_due_of_a_paused_queue_is_null_whatever_its_groups(conn, limit):
    await limit(max_running_per_group=1)
    await conn.execute(MANY, ["a"], 2)
    await conn.execute("select jobs_pause('default')")
    assert await conn.fetchval(DUE) is None


async def test_next_due_knows_the_moment_of_a_retry_and_of_a_job_for_later(conn, job, limit, row):
    await limit(in_order=True)
    first = await job(group_key="a")
    later = await job(group_key="b", run_at=2 * HOUR)
    await count(conn)
    assert await conn.fetchval(DUE) == (await row(later))["run_at"]
    await conn.execute("select jobs_fail($1, 'e', retry_in => '1 hour')", first)
    assert await count(conn) == 0
    assert await conn.fetchval(DUE) == (await row(first))["run_at"]


async def test_a_raised_rate_makes_the_next_tick_of_a_worker_find_the_waiting_jobs(conn):
    await conn.execute("select jobs_limit('default', rate_count => 1, rate_period => '1 hour')")
    await conn.execute("select jobs_enqueue('t') from generate_series(1, 2)")
    assert len(await conn.fetch("select from jobs_claim('w', max_jobs => 2)")) == 1
    await conn.execute("select jobs_worker_start('w', '{default}', '{t}', 1, '1')")
    due = "select due from _jobs_worker_tick('w')"
    assert await conn.fetchval(due) is None
    await conn.execute("select jobs_limit('default', rate_count => 2, rate_period => '1 hour')")
    run_at = await conn.fetchval("select run_at from jobs where status = 'pending'")
    assert await conn.fetchval(due) == run_at
