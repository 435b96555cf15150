"""Firing: one job per tick, whoever fires, however often, and whatever was missed."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

FIRE = "select * from jobs_schedules_fire()"
TICK = "headers ->> 'pgjobs.scheduled_for'"


@pytest.fixture
def due(conn):
    """due("a", "every => '1 min'", ago="1 hour") makes a schedule that is due for that long."""

    async def make(name, arguments, ago="1 s"):
        await conn.execute(f"select jobs_schedule('{name}', 't', {arguments})")
        return await conn.fetchval(
            """update jobs_schedules set next_at = _jobs_schedule_next(
                jobs_schedules, clock_timestamp() - $2::text::interval)
            where name = $1 returning next_at""",
            name, ago,
        )

    return make


async def ticks(conn):
    rows = await conn.fetch(f"select {TICK} as tick from jobs order by id")
    return [datetime.fromisoformat(row["tick"]) for row in rows]


async def test_the_job_has_what_the_schedule_says_and_knows_its_tick(conn, due):
    tick = await due(
        "a", """every => '1 hour', payload => '{"a": 1}', queue => 'q', priority => 2,
        max_retries => 7, backoff => '{1 s,2 s}', group_key => 'g'""", ago="1 hour",
    )
    (job,) = await conn.fetch(FIRE)
    assert (job["payload"], job["queue"], job["priority"]) == ('{"a": 1}', "q", 2)
    assert (job["max_retries"], job["group_key"], len(job["backoff"])) == (7, "g", 2)
    assert await ticks(conn) == [tick]
    schedule = await conn.fetchrow("select * from jobs_schedules")
    assert (schedule["last_at"], schedule["recent_job_ids"]) == (tick, [job["id"]])
    assert schedule["next_at"] > datetime.now(UTC)
    assert await conn.fetch(FIRE) == []


@pytest.mark.parametrize(
    ("missed", "expected"), [("latest", 1), ("all", 10), ("none", 0)]
)
async def test_what_becomes_of_missed_ticks(conn, due, missed, expected):
    first = await due(
        "a", f"""every => '10 min', missed => '{missed}', overlap => 'allow',
        starts_at => clock_timestamp() - interval '95 min'""", ago="100 min",
    )
    await conn.fetch(FIRE)
    found = await ticks(conn)
    assert len(found) == expected
    all_of_them = [first + n * timedelta(minutes=10) for n in range(10)]
    assert found == (all_of_them[-expected:] if expected else [])
    assert await conn.fetchval("select next_at > clock_timestamp() from jobs_schedules")


async def test_a_tick_that_is_due_now_is_not_missed(conn, due):
    await due("a", "every => '1 s', missed => 'none'", ago="1 s")
    assert len(await conn.fetch(FIRE)) == 1


async def test_of_all_missed_ticks_at_most_the_latest_thousand_are_made_up_for(conn, due):
    await due("a", "every => '1 s', missed => 'all', overlap => 'allow'", ago="2 hours")
    assert len(await conn.fetch(FIRE)) == 1000
    found = await ticks(conn)
    assert found == [found[-1] - n * timedelta(seconds=1) for n in range(999, -1, -1)]
    assert datetime.now(UTC) - found[-1] < timedelta(seconds=5)


async def test_older_ticks_than_missed_within_are_not_made_up_for(conn, due):
    await due(
        "a", """every => '10 min', missed => 'all', missed_within => '35 min',
        overlap => 'allow'""", ago="5 hours",
    )
    await conn.fetch(FIRE)
    found = await ticks(conn)
    assert len(found) in (3, 4)
    assert all(datetime.now(UTC) - tick < timedelta(minutes=36) for tick in found)


async def test_a_year_of_missed_minutes_costs_few_steps(conn, due):
    await due("a", "cron => '* * * * *'", ago="1 year")
    async with asyncio.timeout(10):
        assert len(await conn.fetch(FIRE)) == 1


async def test_with_skip_a_tick_gives_none_while_the_last_job_lives(conn, due):
    await due("a", "every => '1 hour'", ago="1 hour")
    assert len(await conn.fetch(FIRE)) == 1
    for status in ("pending", "processing"):
        await conn.execute("update jobs set status = $1, worker = 'w'", status)
        await conn.execute("update jobs_schedules set next_at = clock_timestamp()")
        assert await conn.fetch(FIRE) == []
        assert await conn.fetchval("select next_at > clock_timestamp() from jobs_schedules")
    await conn.execute("update jobs set status = 'failed', finished_at = now()")
    await conn.execute("update jobs_schedules set next_at = clock_timestamp()")
    assert len(await conn.fetch(FIRE)) == 1


async def test_with_replace_the_waiting_job_is_cancelled_and_the_running_one_goes_on(conn, due):
    await due("a", "every => '1 s', overlap => 'replace'")
    again = "update jobs_schedules set next_at = clock_timestamp()"
    statuses = "select status from jobs order by id"
    await conn.fetch(FIRE)
    await conn.execute(again)
    assert len(await conn.fetch(FIRE)) == 1
    assert [r[0] for r in await conn.fetch(statuses)] == ["cancelled", "pending"]
    await conn.execute(
        "update jobs set status = 'processing', worker = 'w' where status = 'pending'"
    )
    await conn.execute(again)
    assert len(await conn.fetch(FIRE)) == 1
    assert [r[0] for r in await conn.fetch(statuses)] == ["cancelled", "processing", "pending"]


async def test_with_allow_each_tick_gives_a_job(conn, due):
    await due("a", "every => '1 s', overlap => 'allow'")
    for _ in range(3):
        await conn.execute("update jobs_schedules set next_at = clock_timestamp()")
        await conn.fetch(FIRE)
    assert await conn.fetchval("select count(*) from jobs where status = 'pending'") == 3


async def test_a_schedule_that_cannot_enqueue_says_why_and_stops_no_other(conn, due):
    await due("bad", "every => '1 hour'", ago="5 hours")
    await due("good", "every => '1 hour'", ago="1 hour")
    await due("broken", "every => '1 hour'", ago="3 hours")
    await conn.execute("update jobs_schedules set queue = '' where name = 'bad'")
    await conn.execute(
        "update jobs_schedules set every = null, cron = 'x' where name = 'broken'"
    )
    fired = await conn.fetch(FIRE)
    assert [row["unique_key"] for row in fired] == ["schedule/good"]
    errors = dict(await conn.fetch("select name, error from jobs_schedules"))
    assert "jobs_queue_has_a_name" in errors["bad"]
    assert "five fields" in errors["broken"]
    assert errors["good"] is None
    assert await conn.fetchval("select min(next_at) > clock_timestamp() from jobs_schedules")
    await conn.execute(
        "update jobs_schedules set queue = 'q', next_at = now() where name = 'bad'"
    )
    await conn.fetch(FIRE)
    assert await conn.fetchval("select error from jobs_schedules where name = 'bad'") is None


async def test_an_error_takes_back_all_jobs_of_its_schedule_and_none_is_returned(conn, due):
    await due("a", "every => '1 s', missed => 'all', overlap => 'allow'", ago="4 s")
    await conn.execute(
        """create function refuse() returns trigger language plpgsql as $$
        begin
            if (select count(*) from jobs) >= 2 then raise 'full'; end if;
            return new;
        end $$;
        create trigger refuse before insert on jobs for each row execute function refuse()"""
    )
    assert await conn.fetch(FIRE) == []
    assert await conn.fetchval("select count(*) from jobs") == 0
    schedule = await conn.fetchrow("select * from jobs_schedules")
    assert (schedule["error"], schedule["last_at"]) == ("full", None)
    assert schedule["recent_job_ids"] == []


async def test_a_call_stops_after_a_second_and_the_next_one_goes_on_with_the_same_schedule(
    conn, due
):
    """Else a call that takes longer than its client is patient would be undone for ever."""
    await conn.execute(
        """create function slow() returns trigger language plpgsql as $$
            begin perform pg_sleep(0.25); return new; end $$;
        create trigger slow before insert on jobs for each row execute function slow()"""
    )
    all_missed = "every => '1 min', missed => 'all', overlap => 'allow'"
    first = await due("a", all_missed, ago="7 min")
    await due("b", all_missed, ago="2 min")
    calls = []
    while fired := await conn.fetch(FIRE):
        calls.append(len(fired))
    assert calls[0] < 7
    assert len(calls) >= 2
    name = "headers ->> 'pgjobs.schedule'"
    rows = await conn.fetch(f"select {name} as name, {TICK} as tick from jobs")
    found = sorted(datetime.fromisoformat(row["tick"]) for row in rows if row["name"] == "a")
    assert found == [first + n * timedelta(minutes=1) for n in range(len(found))]
    assert len(found) >= 7
    assert len([row for row in rows if row["name"] == "b"]) in (2, 3)


async def test_two_sessions_never_fire_the_same_tick(conn, other, due):
    for n in range(5):
        await due(f"s{n}", "every => '1 hour', overlap => 'allow'", ago="1 hour")
    async with conn.transaction():
        assert len(await conn.fetch("select * from jobs_schedules_fire(3)")) == 3
        assert len(await other.fetch(FIRE)) == 2, "it passes over those that are locked"
    assert await other.fetch(FIRE) == []
    assert await conn.fetchval("select count(*) from jobs") == 5


async def test_a_firer_does_not_fire_what_another_one_commits_meanwhile(conn, other, due):
    await due("a", "every => '1 hour', overlap => 'allow'", ago="1 hour")
    async with conn.transaction():
        assert len(await conn.fetch(FIRE)) == 1
        second = asyncio.create_task(other.fetch(FIRE))
        await asyncio.wait({second}, timeout=0.3)
    assert await second == []
    assert await conn.fetchval("select count(*) from jobs") == 1


async def test_a_firer_that_is_killed_leaves_its_ticks_to_the_next_one(conn, connect, due):
    tick = await due("a", "every => '1 hour'", ago="1 hour")
    victim = await connect()
    await victim.execute("begin")
    assert len(await victim.fetch(FIRE)) == 1
    await conn.fetchval("select pg_terminate_backend($1, 5000)", victim.get_server_pid())
    assert await conn.fetchval("select count(*) from jobs") == 0
    assert len(await conn.fetch(FIRE)) == 1
    assert await ticks(conn) == [tick]


async def test_a_key_that_another_transaction_holds_delays_that_schedule_alone(conn, other, due):
    await due("held", "every => '1 hour'", ago="2 hours")
    await due("free", "every => '1 hour'", ago="1 hour")
    async with other.transaction():
        await other.execute("select jobs_enqueue('t', unique_key => 'schedule/held')")
        assert [r["unique_key"] for r in await conn.fetch(FIRE)] == ["schedule/free"]
        assert await conn.fetchval(
            "select next_at < now() and error is null from jobs_schedules where name = 'held'"
        )
    await conn.execute("delete from jobs")
    assert [r["unique_key"] for r in await conn.fetch(FIRE)] == ["schedule/held"]


async def test_many_keys_that_are_held_delay_the_other_schedules_by_little(conn, other, due):
    """A worker gives its statement three seconds, and would be cut if each key took one."""
    for n in range(20):
        await due(f"held {n}", "every => '1 hour'", ago="2 hours")
    await due("free", "every => '1 hour'", ago="1 hour")
    await conn.execute("set statement_timeout = '3s'")
    async with other.transaction():
        await other.execute(
            """select jobs_enqueue('t', unique_key => 'schedule/held ' || n)
            from generate_series(0, 19) n"""
        )
        assert [r["unique_key"] for r in await conn.fetch(FIRE)] == ["schedule/free"]
    assert await conn.fetchval("show lock_timeout") == "0"


async def test_firing_many_schedules_takes_few_subtransactions(conn, due):
    """More than 64 that have written make every session of the server slower."""
    await conn.execute(
        """select jobs_schedule('s' || n, 't', every => '1 hour') from generate_series(1, 100) n;
        update jobs_schedules set next_at = clock_timestamp()"""
    )
    async with conn.transaction():
        before = await conn.fetchval("select pg_current_xact_id()::text::bigint")
        assert len(await conn.fetch(FIRE)) == 100
        subtransactions = await conn.fetchval(
            "select count(distinct xmin::text::bigint) from jobs where xmin::text::bigint > $1",
            before,
        )
    assert subtransactions == 1


async def test_the_bound_is_heeded_and_the_most_overdue_come_first(conn, due):
    for n in (2, 3, 1):
        await due(f"s{n}", "every => '1 hour'", ago=f"{n} hours")
    assert [
        row["unique_key"] for row in await conn.fetch("select * from jobs_schedules_fire(2)")
    ] == ["schedule/s3", "schedule/s2"]


async def test_a_hundred_thousand_that_are_not_due_cost_one_probe(conn):
    await conn.execute(
        """alter table jobs_schedules set (autovacuum_enabled = false);
        insert into jobs_schedules (name, job_type, every, next_at)
        select 's' || n, 't', '1 day', now() + interval '1 hour' from generate_series(1, 20000) n"""
    )
    read = """select seq_tup_read + coalesce(idx_tup_fetch, 0)
        from pg_stat_xact_user_tables where relname = 'jobs_schedules'"""
    async with conn.transaction():
        await conn.fetch("select * from _jobs_worker_fire()")
        assert await conn.fetchval(read) <= 2



# The clock moves if all that it has written moves the other way.
MOVE_CLOCK = """update jobs_schedules set next_at = next_at - $1::interval,
    last_at = last_at - $1::interval, starts_at = starts_at - $1::interval"""
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(("missed", "expected"), [("latest", 1), ("all", 6), ("none", 0)])
async def test_when_the_clock_goes_forward_an_hour_missed_decides_and_only_once(
    conn, due, missed, expected
):
    await due(
        "a", f"""every => '10 min', missed => '{missed}', overlap => 'allow',
        starts_at => clock_timestamp() - interval '25 min'""", ago="10 min",
    )
    await conn.fetch(FIRE)
    await conn.execute("delete from jobs")
    await conn.execute(MOVE_CLOCK, HOUR)
    assert len(await conn.fetch(FIRE)) == expected
    for _ in range(3):
        assert await conn.fetch(FIRE) == []
    found = await ticks(conn)
    assert len(set(found)) == expected
    assert await conn.fetchval("select next_at > clock_timestamp() from jobs_schedules")


async def test_when_the_clock_goes_back_an_hour_no_tick_comes_twice_and_the_next_at_its_moment(
    conn, due
):
    await due("a", "every => '10 min', overlap => 'allow'", ago="10 min")
    assert len(await conn.fetch(FIRE)) == 1
    next_at = await conn.fetchval("select next_at from jobs_schedules")
    await conn.execute(MOVE_CLOCK, -HOUR)
    for _ in range(3):
        assert await conn.fetch(FIRE) == []
    row = await conn.fetchrow("select * from _jobs_worker_fire()")
    assert (row["fired"], row["fires_at"]) == (False, next_at + HOUR)
    await conn.execute(MOVE_CLOCK, next_at + HOUR - datetime.now(UTC))
    assert len(await conn.fetch(FIRE)) == 1
    assert await conn.fetch(FIRE) == []
