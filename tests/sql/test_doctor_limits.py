"""What the doctor says of what limits hold back, and of groups that no claim looks at."""

import pytest

ENQUEUE = """insert into jobs (queue, job_type, group_key, run_at)
    values ('q', 't', $1, clock_timestamp() - interval '2 hours')"""


@pytest.fixture
def ask(conn):
    """Verdict and detail of a check."""

    async def call(check):
        row = await conn.fetchrow(
            "select verdict, detail, advice from jobs_doctor() where check_name = $1", check
        )
        assert (row["advice"] is None) == (row["verdict"] == "ok")
        return row["verdict"], row["detail"]

    return call


@pytest.fixture
def enqueue(conn):
    async def call(many, group=None):
        for _ in range(many):
            await conn.execute(ENQUEUE, group)

    return call


NOT_THROTTLED = ("ok", "none: a claim could take a job of each queue that has due ones")


async def test_a_queue_with_everything_throttled_names_the_jobs_that_hold_the_places(
    conn, ask, enqueue
):
    check = "throttled queues"
    assert await ask(check) == NOT_THROTTLED
    await conn.execute("select jobs_limit('q', max_running => 2)")
    await enqueue(5)
    assert await ask(check) == NOT_THROTTLED
    ids = [r["id"] for r in await conn.fetch("select id from jobs_claim('w', '{q}', 9)")]
    await conn.execute(
        "update jobs set started_at = started_at - interval '3 h' where id = $1", ids[1]
    )
    assert await ask(check) == (
        "warn",
        "q (3 throttled; 2 of 2 run: ids 2, 1, the oldest for 03:00:00 by worker w)",
    )
    assert (await ask("oldest due job")) == ("ok", "none")
    # The advice: cancel the one that hangs. Its worker ends it.
    await conn.execute("select from jobs_cancel($1)", ids[1])
    await conn.execute("select from jobs_cancel($1, worker => 'w', attempt => 1)", ids[1])
    assert await ask(check) == NOT_THROTTLED


async def test_a_queue_that_was_closed_by_its_limit_is_named_until_the_limit_is_raised(
    conn, ask, enqueue
):
    await conn.execute("select jobs_limit('q', max_running => 0)")
    await conn.execute("select jobs_enqueue('t', queue => 'q')")
    assert await ask("throttled queues") == ("warn", "q (1 throttled; max_running is 0)")
    await conn.execute("select jobs_limit('q', max_running => 1)")
    assert await ask("throttled queues") == NOT_THROTTLED


async def test_a_queue_whose_groups_are_all_full_names_who_fills_one(conn, ask, enqueue):
    await conn.execute("select jobs_limit('q', max_running_per_group => 1)")
    await enqueue(2, "a")
    await enqueue(2, "b")
    await conn.execute("select from jobs_claim('w', '{q}', 9)")
    verdict, detail = await ask("throttled queues")
    assert verdict == "warn"
    assert detail.startswith("q (2 throttled; group a: 1 of 1 run: ids 1, the oldest for 00:00:0")
    await conn.execute("select from jobs_complete(1)")
    assert await ask("throttled queues") == NOT_THROTTLED


async def test_a_rate_that_is_used_up_says_when_the_next_job_starts(conn, ask, enqueue):
    await conn.execute("select jobs_limit('q', rate_count => 1, rate_period => '1 hour')")
    await enqueue(2)
    await conn.execute("select from jobs_claim('w', '{q}', 9)")
    verdict, detail = await ask("throttled queues")
    assert verdict == "warn"
    assert detail.startswith("q (1 throttled; rate 1 per 01:00:00 used up, next in ")
    await conn.execute("select jobs_limit('q')")
    assert await ask("throttled queues") == NOT_THROTTLED


async def test_a_group_that_waits_for_the_retry_of_its_first_job_is_named_until_it_is_given_up(
    conn, ask, enqueue
):
    check = "groups held by a retry"
    assert await ask(check) == ("ok", "none")
    await conn.execute("select jobs_limit('q', in_order => true)")
    await enqueue(3, "a")
    await conn.execute("select from jobs_claim('w', '{q}')")
    await conn.execute("select from jobs_fail(1, 'no', retry_in => '1 hour')")
    verdict, detail = await ask(check)
    assert verdict == "warn"
    assert detail.startswith("group a of queue q (2 wait for job 1, until its retry in 00:59:")
    assert "waits for its retry" in (await ask("throttled queues"))[1]
    await conn.execute("select from jobs_cancel(1)")
    assert await ask(check) == ("ok", "none")
    assert await conn.fetchval("select id from jobs_claim('w', '{q}')") == 2


async def test_groups_without_a_turn_are_named_until_they_are_healed(conn, ask, enqueue):
    check = "groups without a turn"
    await enqueue(2, "a")
    assert await ask(check) == ("ok", "none")
    await conn.execute("alter table jobs disable trigger jobs_notify")
    await conn.execute(
        "insert into jobs (queue, job_type, group_key) values ('q', 't', 'b'), ('new', 't', 'c')"
    )
    await conn.execute("alter table jobs enable trigger jobs_notify")
    assert await ask(check) == ("bad", "c of queue new, b of queue q")
    assert await conn.fetchval("select jobs_heal_groups(1)") == 1
    assert await conn.fetchval("select jobs_heal_groups()") == 1
    assert await conn.fetchval("select jobs_heal_groups()") == 0
    assert await ask(check) == ("ok", "none")
    assert len(await conn.fetch("select from jobs_claim('w', '{q,new}', 9)")) == 4


async def test_a_job_that_was_made_earlier_by_hand_is_found_and_healed(conn, ask):
    await conn.execute(
        """insert into jobs (queue, job_type, group_key, run_at)
        values ('q', 't', 'a', clock_timestamp() + interval '1 hour');
        update jobs set run_at = clock_timestamp()"""
    )
    assert await ask("groups without a turn") == ("bad", "a of queue q")
    await conn.execute("select jobs_heal_groups()")
    assert await ask("groups without a turn") == ("ok", "none")
    assert await conn.fetchval("select id from jobs_claim('w', '{q}')") == 1


async def test_a_queue_with_turns_that_claims_do_not_look_at_is_healed(conn, ask, enqueue):
    await enqueue(1, "a")
    await conn.execute("update jobs_queues set has_groups = false")
    assert await ask("groups without a turn") == ("bad", "a of queue q")
    assert await conn.fetchval("select jobs_heal_groups()") == 1
    assert await ask("groups without a turn") == ("ok", "none")
    assert await conn.fetchval("select has_groups from jobs_queues")


async def test_healing_refuses_no_groups(conn):
    with pytest.raises(Exception, match="max_groups must be 1 or more, not 0"):
        await conn.execute("select jobs_heal_groups(0)")
