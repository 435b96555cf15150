"""What is wrong with schedules: each state is made by calls, and what the advice says mends it."""

import pytest


@pytest.fixture
def ask(conn):
    """The verdict and detail of one check of the doctor."""

    async def ask(check):
        row = await conn.fetchrow("select * from jobs_doctor() where check_name = $1", check)
        return row["verdict"], row["detail"]

    return ask


async def fire_again(conn):
    """Lets one more tick come due, an hour after the last, and fires it."""
    await conn.execute(
        """update jobs_schedules set next_at = next_at - interval '1 hour',
            last_at = last_at - interval '1 hour';
        select jobs_schedules_fire()"""
    )


async def test_an_overdue_schedule_is_named_until_somebody_fires_it(conn, ask):
    await conn.execute("select jobs_schedule('nightly', 't', every => '1 hour')")
    assert await ask("overdue schedules") == ("ok", "none")
    await conn.execute(
        "update jobs_schedules set next_at = clock_timestamp() - interval '5 min 1 ms'"
    )
    assert await ask("overdue schedules") == ("warn", "nightly (for 00:05:00)")
    await conn.execute("update jobs_schedules set next_at = next_at - interval '1 hour'")
    assert (await ask("overdue schedules"))[0] == "bad"
    await conn.execute("select jobs_schedules_fire()")
    assert await ask("overdue schedules") == ("ok", "none")


async def test_a_paused_schedule_is_not_overdue(conn, ask):
    await conn.execute(
        """select jobs_schedule('nightly', 't', every => '1 hour');
        select jobs_schedule_pause('nightly');
        update jobs_schedules set next_at = clock_timestamp() - interval '1 day'"""
    )
    assert await ask("overdue schedules") == ("ok", "none")


async def test_a_schedule_whose_type_no_living_worker_serves_is_named(conn, ask, start_worker):
    await conn.execute("select jobs_schedule('nightly', 'report', every => '1 hour', queue => 'q')")
    check = "schedules without a handler"
    assert (await ask(check))[0] == "ok", "that no worker lives is told by the check on workers"
    await start_worker("other types", queues=["q"], job_types=["mail"])
    await start_worker("other queue", queues=["default"], job_types=["report"])
    assert await ask(check) == ("bad", "nightly (report in queue q)")
    await start_worker("right", queues=["q"], job_types=["report"])
    assert await ask(check) == ("ok", "none")


async def test_a_schedule_whose_last_three_runs_failed_is_named_until_one_succeeds(conn, ask):
    await conn.execute(
        "select jobs_schedule('nightly', 't', every => '1 hour', max_retries => 0)"
    )
    check = "schedules that end badly"
    for expected in ("ok", "ok", "bad"):
        await fire_again(conn)
        await conn.execute("select jobs_fail(id, 'e') from jobs_claim('w')")
        assert (await ask(check))[0] == expected
    assert await ask(check) == ("bad", "nightly")
    await conn.execute("select jobs_schedule_run('nightly')")
    assert (await ask(check))[0] == "bad", "the job of now has not ended yet"
    await conn.execute("select jobs_complete(id) from jobs_claim('w')")
    assert await ask(check) == ("ok", "none")


async def test_a_completed_job_that_was_deleted_is_not_taken_for_a_failed_one(conn, ask):
    await conn.execute(
        "select jobs_schedule('nightly', 't', every => '1 hour', max_retries => 0)"
    )
    for end in ("jobs_fail(id, 'e')", "jobs_complete(id)", "jobs_fail(id, 'e')"):
        await fire_again(conn)
        await conn.execute(f"select {end} from jobs_claim('w')")
    await conn.execute("select jobs_cleanup('0')")
    assert await ask("schedules that end badly") == ("ok", "none")


async def test_a_schedule_that_skips_its_ticks_because_its_job_lives_is_named(conn, ask):
    await conn.execute("select jobs_schedule('slow', 't', every => '1 hour')")
    await fire_again(conn)
    check = "schedules that skip themselves"
    assert await ask(check) == ("ok", "none")
    for _ in range(3):
        await fire_again(conn)
    assert await conn.fetchval("select count(*) from jobs") == 1
    assert await ask(check) == ("warn", "slow")
    await conn.execute("select jobs_schedule('slow', 't', every => '1 hour', overlap => 'allow')")
    assert await ask(check) == ("ok", "none")


async def test_a_schedule_whose_jobs_are_replaced_before_they_begin_is_named(conn, ask):
    await conn.execute("select jobs_schedule('slow', 't', every => '1 hour', overlap => 'replace')")
    check = "schedules that skip themselves"
    for _ in range(3):
        await fire_again(conn)
        assert await ask(check) == ("ok", "none")
    await fire_again(conn)
    assert await ask(check) == ("warn", "slow")
    await conn.execute("select from jobs_claim('w')")
    await conn.execute("select jobs_complete(id) from jobs where status = 'processing'")
    assert await ask(check) == ("ok", "none"), "more workers: its job began"


async def test_a_schedule_with_an_error_is_named_until_it_is_changed(conn, ask):
    await conn.execute(
        """select jobs_schedule('nightly', 't', every => '1 hour');
        update jobs_schedules set queue = '', next_at = clock_timestamp();
        select jobs_schedules_fire()"""
    )
    verdict, detail = await ask("schedules with an error")
    assert verdict == "bad"
    assert detail.startswith("nightly (")
    assert "jobs_queue_has_a_name" in detail
    await conn.execute("select jobs_schedule('nightly', 't', every => '1 hour')")
    assert await ask("schedules with an error") == ("ok", "none")
