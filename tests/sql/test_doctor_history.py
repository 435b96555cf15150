"""The doctor names types that fail often, and types whose waits grow."""

import json

import pytest


@pytest.fixture
def doctor(conn):
    async def ask(check):
        return tuple(await conn.fetchrow(
            "select verdict, detail from jobs_doctor() where check_name = $1", check))

    return ask


@pytest.fixture
def ended(conn):
    """Notes that attempts ended some minutes ago."""

    async def add(job_type, outcome, jobs, *, wait_s=0.0, minutes_ago=1, queue="default"):
        await conn.execute(
            """insert into jobs_ends
            values (clock_timestamp() - make_interval(mins => $1), $2)""",
            minutes_ago,
            json.dumps([(queue, job_type, outcome, jobs, wait_s * jobs, {"1": jobs}, 0,
                         {"1": jobs})]),
        )
        await conn.execute("select _jobs_history_add()")

    return add


async def test_a_type_of_which_over_a_quarter_of_the_attempts_fail_is_named(doctor, ended):
    await ended("mail", "completed", 74)
    await ended("mail", "failed", 5)
    await ended("mail", "retried", 15, queue="other")
    assert await doctor("failing types") == ("ok", "none")
    await ended("mail", "lost", 5)
    assert await doctor("failing types") == (
        "warn", "mail (25 of 99 attempts, 25 %) failed in the last hour")


async def test_a_few_failures_and_those_of_another_hour_are_no_trouble(doctor, ended):
    await ended("mail", "failed", 19)
    await ended("report", "failed", 100, minutes_ago=62)
    assert await doctor("failing types") == ("ok", "none")
    await ended("mail", "failed", 1)
    assert (await doctor("failing types"))[0] == "warn"


async def test_cancelled_jobs_are_neither_failures_nor_attempts(doctor, ended):
    await ended("mail", "completed", 20)
    await ended("mail", "cancelled", 1000)
    assert (await doctor("failing types"))[0] == "ok"


async def test_a_type_whose_waits_grow_is_named(doctor, ended):
    await ended("mail", "completed", 10, minutes_ago=45, wait_s=20)
    await ended("mail", "completed", 10, minutes_ago=25, wait_s=40)
    await ended("mail", "completed", 10, minutes_ago=5, wait_s=59)
    assert await doctor("growing waits") == ("ok", "none")
    await ended("mail", "completed", 10, minutes_ago=4, wait_s=75)
    assert await doctor("growing waits") == (
        "warn", "mail (from 00:00:20 to 00:01:07 on average) within the last hour")


@pytest.mark.parametrize("waits", [(100, 100, 100), (100, 300, 250), (300, 100, 600), (1, 2, 4)])
async def test_waits_that_are_long_or_short_and_do_not_grow_are_no_trouble(doctor, ended, waits):
    for minutes_ago, wait_s in zip((45, 25, 5), waits, strict=True):
        await ended("mail", "completed", 10, minutes_ago=minutes_ago, wait_s=wait_s)
    assert await doctor("growing waits") == ("ok", "none")


async def test_odd_seconds_of_history_do_not_end_the_doctor(doctor, ended):
    for minutes_ago, wait_s in ((45, 1e11), (25, 2e11), (5, 4e11)):
        await ended("mail", "completed", 10, minutes_ago=minutes_ago, wait_s=wait_s)
    assert (await doctor("growing waits"))[0] == "warn"
