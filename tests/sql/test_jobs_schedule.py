"""Making, changing, pausing and removing schedules."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

HOUR = timedelta(hours=1)


@pytest.fixture
def schedule(conn):
    """schedule("a", every=HOUR) calls jobs_schedule with these arguments and a job type."""

    async def make(name="a", **arguments):
        arguments = {"name": name, "job_type": "t", **arguments}
        given = ", ".join(f"{key} => ${place}" for place, key in enumerate(arguments, 1))
        return await conn.fetchrow(
            f"select * from jobs_schedule({given})", *arguments.values()
        )

    return make


async def test_left_out_arguments_have_their_defaults(schedule):
    made = dict(await schedule(cron="0 3 * * *"))
    assert made.pop("next_at").hour == 3
    for moment in ("created_at", "updated_at"):
        assert made.pop(moment)
    assert made == {
        "name": "a", "job_type": "t", "cron": "0 3 * * *", "every": None, "timezone": "UTC",
        "payload": "{}", "queue": "default", "priority": 0, "max_retries": 3, "backoff": None,
        "group_key": None, "missed": "latest", "missed_within": None, "overlap": "skip",
        "starts_at": None, "ends_at": None, "paused_at": None, "last_at": None,
        "recent_job_ids": [], "error": None, "declared": None,
    }


async def test_declaring_a_schedule_again_keeps_its_next_moment_even_if_it_is_due(conn, schedule):
    """Else a schedule of every six hours that each deploy declares would never fire."""
    await schedule(every=6 * HOUR)
    due = await conn.fetchval(
        "update jobs_schedules set next_at = clock_timestamp() - interval '1 hour'"
        " returning next_at"
    )
    again = await schedule(every=6 * HOUR, payload='{"a": 1}', queue="q", missed="all")
    assert (again["next_at"], again["payload"], again["queue"]) == (due, '{"a": 1}', "q")


@pytest.mark.parametrize(
    "changed",
    [
        {"cron": "1 3 * * *"}, {"every": HOUR}, {"cron": "0 3 * * *", "timezone": "Asia/Tokyo"},
        {"cron": "0 3 * * *", "starts_at": datetime(2100, 1, 1, tzinfo=UTC)},
        {"cron": "0 3 * * *", "ends_at": datetime(2100, 1, 1, tzinfo=UTC)},
    ],
    ids=str,
)
async def test_a_change_of_its_moments_never_fires_in_the_past(conn, schedule, changed):
    await schedule(cron="0 3 * * *")
    await conn.execute("update jobs_schedules set next_at = '2000-01-01'")
    assert (await schedule(**changed))["next_at"] > datetime.now(UTC)


async def test_a_schedule_that_is_left_with_its_defaults_loses_what_it_had(schedule):
    await schedule(every=HOUR, queue="q", priority=5, group_key="g", overlap="allow")
    changed = await schedule(cron="0 3 * * *")
    assert (changed["every"], changed["queue"], changed["priority"]) == (None, "default", 0)
    assert (changed["group_key"], changed["overlap"]) == (None, "skip")


@pytest.mark.parametrize(
    ("every", "starts_at", "after", "expected"),
    [
        ("15 min", None, "2026-01-01 00:00", "2026-01-01 00:15"),
        ("7 s", None, "1970-01-01 00:00:13", "1970-01-01 00:00:14"),
        ("1 day", "2026-01-01 09:30", "2026-06-01 09:30", "2026-06-02 09:30"),
        ("1 day", "2026-01-01 09:30", "2020-01-01 00:00", "2026-01-01 09:30"),
        ("1 s", "2026-01-01 09:30:00.000001", "2026-01-01 09:30:00.000001",
         "2026-01-01 09:30:01.000001"),
        ("90 min", "1900-01-01", "2200-01-01 00:00", "2200-01-01 01:30"),
        ("10 days", "2026-01-01", "2026-01-01 00:00", "2026-01-11 00:00"),
        ("1.5 s", None, "2026-01-01 00:00:00", "2026-01-01 00:00:01.5"),
    ],
)
async def test_every_counts_from_its_start_or_from_the_year_1970(
    conn, every, starts_at, after, expected
):
    """By days of 24 hours, whatever the session's time zone does."""
    await conn.execute("set timezone = 'Europe/Berlin'")
    found = await conn.fetchval(
        """select _jobs_schedule_next(
            jsonb_populate_record(null::jobs_schedules, jsonb_build_object(
                'every', $1::text, 'starts_at', $2::text || 'Z')),
            ($3::text || 'Z')::timestamptz) = ($4::text || 'Z')::timestamptz""",
        every, starts_at, after, expected,
    )
    assert found


async def test_after_its_end_a_schedule_has_no_next_moment(conn, schedule):
    now = await conn.fetchval("select clock_timestamp()")
    assert (await schedule(every=HOUR, ends_at=now + 2 * HOUR))["next_at"] <= now + HOUR
    assert (await schedule(every=HOUR, starts_at=now - HOUR, ends_at=now))["next_at"] is None
    at = now + timedelta(minutes=1)
    made = await schedule("once", every=HOUR, starts_at=at, ends_at=at)
    assert made["next_at"] == at


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either cron or every"),
        ({"cron": "* * * * *", "every": HOUR}, "either cron or every"),
        ({"cron": "* * * *"}, "five fields"),
        ({"cron": "* * * * *", "timezone": "Mars"}, "timezone Mars is not known"),
        ({"every": timedelta(milliseconds=999)}, "from 1 second"),
        ({"every": -HOUR}, "from 1 second"),
        ({"every": timedelta(days=40_000)}, "to 100 years"),
        ({"every": HOUR, "missed": "some"}, "latest, all or none"),
        ({"every": HOUR, "overlap": "maybe"}, "skip, allow or replace"),
        ({"every": HOUR, "missed_within": timedelta(0)}, "missed_within must be above 0"),
        ({"every": HOUR, "group_key": ""}, "group_key must have 1 to 512 bytes"),
        ({"every": HOUR, "name": ""}, "name must have 1 to 500 bytes"),
        ({"every": HOUR, "name": "x" * 501}, "name must have 1 to 500 bytes"),
        ({"every": HOUR, "name": None}, "name must have 1 to 500 bytes"),
        ({"every": HOUR, "job_type": None}, "job_type is missing"),
        ({"every": HOUR, "priority": 10}, "priority must be from -9 to 9"),
        ({"every": HOUR, "queue": ""}, "queue must have"),
        ({"every": HOUR, "max_retries": -1}, "max_retries must be 0 or more"),
        ({"every": HOUR, "backoff": []}, "backoff must be a list"),
        (
            {"every": HOUR, "starts_at": datetime(2030, 1, 1, tzinfo=UTC),
             "ends_at": datetime(2029, 1, 1, tzinfo=UTC)},
            "ends_at must not be before starts_at",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_wrong_argument_is_refused_and_named(conn, schedule, arguments, message):
    with pytest.raises(asyncpg.PostgresError, match=message) as caught:
        await schedule(**arguments)
    assert caught.value.sqlstate == "JQ003"
    assert await conn.fetchval("select count(*) from jobs_schedules") == 0


async def test_a_month_is_refused_for_every(conn):
    for every in ("1 month", "2 years 3 days"):
        with pytest.raises(asyncpg.PostgresError, match="must have no months"):
            await conn.execute(f"select jobs_schedule('a', 't', every => '{every}')")


async def test_ticks_that_pass_during_a_pause_are_not_missed(conn, schedule):
    await schedule(every=timedelta(minutes=1), missed="all")
    paused = await conn.fetchrow("select * from jobs_schedule_pause('a')")
    again = await conn.fetchrow("select * from jobs_schedule_pause('a')")
    assert paused["paused_at"] == again["paused_at"]
    await conn.execute("update jobs_schedules set next_at = clock_timestamp() - interval '1 hour'")
    assert await conn.fetch("select * from jobs_schedules_fire()") == []
    kept = await schedule(every=timedelta(minutes=1), missed="all")
    assert kept["paused_at"] == paused["paused_at"], "a deploy ends no pause"
    resumed = await conn.fetchrow("select * from jobs_schedule_resume('a')")
    assert resumed["paused_at"] is None
    assert resumed["next_at"] > datetime.now(UTC)


async def test_resuming_what_is_not_paused_changes_no_moment(conn, schedule):
    await schedule(every=HOUR)
    await conn.execute("update jobs_schedules set next_at = '2000-01-01'")
    resumed = await conn.fetchrow("select * from jobs_schedule_resume('a')")
    assert resumed["next_at"].year == 2000


async def test_a_job_can_be_run_now_also_during_a_pause(conn, schedule):
    made = await schedule(cron="0 3 1 1 *", payload='{"n": 1}', queue="q", priority=3)
    await conn.execute("select jobs_schedule_pause('a')")
    job = await conn.fetchrow("select * from jobs_schedule_run('a')")
    assert (job["payload"], job["queue"], job["priority"]) == ('{"n": 1}', "q", 3)
    after = await conn.fetchrow("select * from jobs_schedules")
    assert (after["recent_job_ids"], after["next_at"]) == ([job["id"]], made["next_at"])
    second = await conn.fetchrow("select * from jobs_schedule_run('a')")
    assert second["id"] == job["id"], "the first one is still waiting"


async def test_an_unscheduled_schedule_is_gone_and_its_jobs_stay(conn, schedule):
    await schedule(every=HOUR)
    await conn.execute("select jobs_schedule_run('a')")
    assert (await conn.fetchrow("select * from jobs_unschedule('a')"))["name"] == "a"
    assert await conn.fetchval("select count(*) from jobs") == 1
    assert await conn.fetchval("select count(*) from jobs_schedules") == 0


@pytest.mark.parametrize(
    "function",
    ["jobs_unschedule", "jobs_schedule_pause", "jobs_schedule_resume", "jobs_schedule_run"],
)
@pytest.mark.parametrize("name", ["none", None])
async def test_what_does_not_exist_is_an_error(conn, function, name):
    with pytest.raises(asyncpg.PostgresError, match="there is no schedule") as caught:
        await conn.execute(f"select * from {function}($1)", name)
    assert caught.value.sqlstate == "JQ001"


@pytest.mark.parametrize("second", ["jobs_unschedule", "jobs_schedule_pause", "jobs_schedule_run"])
async def test_of_two_sessions_the_second_waits_for_the_first(
    conn, other, schedule, blocked, second
):
    await schedule(every=HOUR)
    async with conn.transaction():
        await conn.execute("select jobs_unschedule('a')")
        waiting = asyncio.create_task(other.fetch(f"select * from {second}('a')"))
        await blocked(other)
    with pytest.raises(asyncpg.PostgresError, match="there is no schedule"):
        await waiting


async def test_two_sessions_that_declare_the_same_make_one(conn, other, blocked):
    declare = "select * from jobs_schedule('a', 't', every => $1)"
    async with conn.transaction():
        await conn.execute(declare, HOUR)
        waiting = asyncio.create_task(other.fetchrow(declare, 2 * HOUR))
        await blocked(other)
    assert (await waiting)["every"] == 2 * HOUR
    assert await conn.fetchval("select count(*) from jobs_schedules") == 1
