"""The doctor names jobs that were lost twice, and failed jobs whose key another job holds."""

from datetime import timedelta

import pytest


@pytest.fixture
def doctor(conn):
    async def ask(check):
        return tuple(await conn.fetchrow(
            "select verdict, detail from jobs_doctor() where check_name = $1", check))

    return ask


@pytest.fixture
def keyed(conn, job):
    """Adds a job that failed, and one that has held its key since then."""

    async def add(status="pending", minutes=11, **columns):
        failed = await job(unique_key="k", status="failed", attempt=1)
        holder = await job(unique_key="k", status=status, **columns)
        await conn.execute(
            "update jobs set created_at = created_at - make_interval(mins => $2) where id = $1",
            holder, minutes)
        return failed, holder

    return add


async def test_a_pending_job_that_was_lost_twice_is_named(doctor, job):
    assert await doctor("suspect jobs") == ("ok", "none")
    await job(crash_count=1)
    assert await doctor("suspect jobs") == ("ok", "none")
    lost = [await job(crash_count=2, run_at=timedelta(hours=1)) for _ in range(5)]
    told = ", ".join(f"{job_id} (t, lost 2 times)" for job_id in lost[:3])
    assert await doctor("suspect jobs") == ("warn", f"{told}, and 2 more")


async def test_a_lost_job_that_runs_or_has_ended_is_not_named(doctor, job):
    await job(crash_count=2, status="processing", worker="w", attempt=3)
    await job(crash_count=2, status="completed", attempt=3)
    assert await doctor("suspect jobs") == ("ok", "none")


async def test_a_failed_job_whose_key_another_job_has_held_for_long_is_named(doctor, keyed):
    failed, holder = await keyed()
    assert await doctor("held keys") == (
        "warn", f"{failed} (t; job {holder}, pending, holds the key)")


async def test_a_job_that_has_just_come_with_the_key_of_a_failed_one_is_no_trouble(doctor, keyed):
    await keyed(minutes=9)
    assert await doctor("held keys") == ("ok", "none")


async def test_a_job_that_runs_with_the_key_of_a_failed_one_is_no_trouble(doctor, keyed):
    await keyed(status="processing", worker="w", attempt=1)
    assert await doctor("held keys") == ("ok", "none")


async def test_a_failed_job_that_keeps_its_own_key_is_not_named(doctor, job):
    await job(unique_key="k", unique_scope="kept", status="failed", attempt=1)
    assert await doctor("held keys") == ("ok", "none")
