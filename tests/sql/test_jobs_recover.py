import asyncio
import json
from datetime import timedelta

import pytest

ALL = "select id from jobs_recover()"
MINUTE = timedelta(minutes=1)
REGISTER = "select jobs_worker_start($1, '{default}', null, 1)"
# As if two seconds had passed since jobs_recover() found a worker's session gone.
TWO_SECONDS_PASS = "update jobs_worker_ticks set missed_at = missed_at - interval '2 seconds'"


async def test_a_job_whose_lease_is_over_is_pending_again(job, ids, row):
    lost = await job("processing", lease_until=-MINUTE, retry_count=1, error="earlier")
    before = await row(lost)
    assert await ids(ALL) == [lost]
    after = await row(lost)
    assert (after["status"], after["worker"], after["lease_until"]) == ("pending", None, None)
    assert after["crash_count"] == 1
    for kept in ["retry_count", "attempt", "error", "finished_at"]:
        assert after[kept] == before[kept]


async def test_a_job_with_the_largest_crash_count_is_recovered(job, ids):
    lost = await job("processing", lease_until=-MINUTE, crash_count=32767, max_retries=10**6)
    other = await job("processing", lease_until=-MINUTE)
    assert sorted(await ids(ALL)) == [lost, other]


async def test_a_job_with_a_running_lease_or_without_a_lease_is_not_recovered(job, ids):
    await job("processing")
    await job("processing", lease_until=None)
    assert await ids(ALL) == []


async def test_a_recovery_by_name_takes_back_all_jobs_that_the_worker_holds(job, ids):
    mine = [await job("processing"), await job("processing", lease_until=None)]
    await job("processing", worker="you")
    assert sorted(await ids("select id from jobs_recover('me')")) == mine


async def test_a_job_is_due_at_once_after_its_first_loss(conn, job, row):
    lost = await job("processing", run_at=-MINUTE, lease_until=-MINUTE)
    was = (await row(lost))["run_at"]
    await conn.execute(ALL)
    assert (await row(lost))["run_at"] == was


@pytest.mark.parametrize(("crash_count", "seconds"), [(1, 5), (2, 60)])
async def test_a_job_waits_for_its_backoff_after_later_losses(conn, job, crash_count, seconds):
    backoff = [timedelta(seconds=5), timedelta(seconds=60)]
    await job("processing", crash_count=crash_count, backoff=backoff, lease_until=-MINUTE)
    delay = await conn.fetchval("select run_at - updated_at from jobs_recover()")
    assert delay == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("crash_count", "max_retries", "status"),
    [(0, 0, "pending"), (1, 0, "failed"), (0, 1, "pending"), (1, 1, "failed"), (1, 2, "pending"),
     (2, 2, "failed"), (2, 3, "pending"), (3, 3, "failed"), (2, 25, "pending"), (3, 25, "failed")],
)
async def test_a_job_ends_failed_when_it_is_lost_more_than_max_retries_or_three_times(
    conn, job, crash_count, max_retries, status
):
    await job("processing", crash_count=crash_count, max_retries=max_retries, lease_until=-MINUTE)
    after = await conn.fetchrow("select * from jobs_recover()")
    assert (after["status"], after["crash_count"]) == (status, crash_count + 1)
    assert after["retry_count"] == 0
    if status == "failed":
        assert after["error"] == f"its worker was lost {crash_count + 1} times, the last was me"
        assert after["finished_at"] is not None


async def test_a_lost_job_with_a_cancel_request_ends_cancelled(conn, job, row):
    lost = await job("processing", lease_until=-MINUTE)
    await conn.execute("select jobs_cancel($1, 'no need')", lost)
    await conn.execute(ALL)
    assert ((await row(lost))["status"], (await row(lost))["error"]) == ("cancelled", "no need")


async def test_the_jobs_of_a_worker_whose_session_is_gone_are_recovered(conn, other, job, ids):
    await other.execute(REGISTER, "them")
    lost = await job("processing", worker="them")
    leaseless = await job("processing", worker="them", lease_until=None)
    assert await ids(ALL) == []
    await other.close()
    assert await ids(ALL) == []  # the first recovery only notes that the session is gone
    await conn.execute(TWO_SECONDS_PASS)
    assert sorted(await ids(ALL)) == [lost, leaseless]
    assert await conn.fetch("select * from jobs_workers") == []
    assert await conn.fetch("select * from jobs_worker_ticks") == []


async def test_two_recoveries_in_less_than_two_seconds_do_not_find_a_worker_dead(
    conn, other, job, ids
):
    await other.execute(REGISTER, "them")
    await job("processing", worker="them")
    await other.close()
    assert await ids(ALL) == []
    assert await ids(ALL) == []
    assert await conn.fetchval("select missed_at is not null from jobs_worker_ticks")


async def test_a_worker_that_reconnects_before_the_second_recovery_keeps_its_jobs(
    conn, other, connect, job, ids
):
    await other.execute(REGISTER, "them")
    await job("processing", worker="them")
    await other.close()
    assert await ids(ALL) == []
    back = await connect()
    await back.execute(REGISTER, "them")
    await conn.execute(TWO_SECONDS_PASS)
    assert await ids(ALL) == []
    assert await conn.fetchval("select missed_at from jobs_worker_ticks") is None


async def test_a_session_never_finds_its_own_worker_dead(conn, job, ids):
    await conn.execute(REGISTER, "me")
    await job("processing")
    assert await ids(ALL) == []
    assert await conn.fetchval("select missed_at from jobs_worker_ticks") is None
    await conn.execute("update jobs_worker_ticks set missed_at = '2000-01-01'")
    assert await ids(ALL) == []


async def test_the_row_of_a_dead_worker_stays_until_its_last_job_is_taken_back(
    conn, other, connect, job, ids
):
    await other.execute(REGISTER, "them")
    locked, free = await job("processing", worker="them"), await job("processing", worker="them")
    await other.close()
    assert await ids(ALL) == []
    await conn.execute(TWO_SECONDS_PASS)
    holder = await connect()
    async with holder.transaction():
        await holder.execute("select from jobs where id = $1 for update", locked)
        assert await ids(ALL) == [free]
        assert await conn.fetchval("select count(*) from jobs_workers") == 1
    assert await ids(ALL) == [locked]
    assert await conn.fetchval("select count(*) from jobs_workers") == 0


@pytest.mark.parametrize("holds_a_job", [True, False])
async def test_a_new_worker_with_the_name_of_a_dead_worker_is_left_alone_by_a_recovery_under_way(
    conn, other, connect, job, blocked, holds_a_job
):
    recovering, holder = await connect(), await connect()
    await other.execute(REGISTER, "a")
    await holder.execute(REGISTER, "b")
    await other.close()
    await conn.execute("select jobs_recover()")
    await conn.execute(TWO_SECONDS_PASS)
    await holder.fetch("select pg_advisory_unlock_all()")
    waiting = holds_a_job and await job()
    # The recovery found "a" dead, and waits before it reads the jobs.
    async with holder.transaction():
        await holder.execute("lock table jobs in exclusive mode")
        recovery = asyncio.create_task(recovering.fetch(ALL))
        await blocked(recovering)
        await conn.execute(REGISTER, "a")
        claimed = await holder.fetch("select id from jobs_claim('a')")
        assert [r["id"] for r in claimed] == ([waiting] if holds_a_job else [])
    assert await recovery == []
    assert await conn.fetchval("select count(*) from jobs_workers where worker = 'a'") == 1
    held = await conn.fetchval("select count(*) from jobs where status = 'processing'")
    assert held == len(claimed)


async def test_a_job_whose_completion_is_under_way_is_skipped(conn, other, job, row):
    late = await job("processing", lease_until=-MINUTE)
    async with conn.transaction():
        await conn.execute("select jobs_complete($1)", late)
        assert await other.fetch(ALL) == []
    assert (await row(late))["status"] == "completed"


async def test_two_recoveries_at_once_count_one_loss(conn, other, job, row):
    lost = await job("processing", lease_until=-MINUTE)
    async with conn.transaction():
        assert len(await conn.fetch(ALL)) == 1
        assert await other.fetch(ALL) == []
    assert await other.fetch(ALL) == []
    assert (await row(lost))["crash_count"] == 1


async def test_two_recoveries_that_find_the_same_workers_dead_do_not_deadlock(
    conn, other, connect, ids
):
    for name in "abc":
        session = await connect()
        await session.execute(REGISTER, name)
        await session.close()
        # So the rows are not stored in the order of the names.
        await conn.execute("update jobs_workers set concurrency = 2 where worker = 'a'")
    assert await ids(ALL) == []
    await conn.execute(TWO_SECONDS_PASS)
    async with conn.transaction():
        await conn.execute(ALL)
        assert await other.fetch(ALL) == []
    assert await conn.fetchval("select count(*) from jobs_workers") == 0


async def test_a_recovery_sends_one_signal_per_queue(conn, job, ears):
    for queue in "aab":
        await job("processing", queue=queue, lease_until=-MINUTE)
    await job("processing", queue="c", lease_until=-MINUTE, max_retries=0, crash_count=1)
    await ears.heard()
    await conn.execute(ALL)
    assert sorted(await ears.heard()) == ["a", "b"]


async def test_a_late_completion_by_the_lost_worker_changes_nothing(conn, job, ids, row):
    lost = await job("processing", lease_until=-MINUTE)
    await conn.execute(ALL)
    assert await ids("select id from jobs_claim('me')") == [lost]
    late = "select * from jobs_complete_many('me', array[$1::bigint], '{1}', '{null}')"
    assert await ids(late, lost) == []
    assert (await row(lost))["attempt"] == 2


async def test_a_worker_whose_tick_recovers_jobs_spares_its_own_jobs(conn, job, ids):
    await job("processing", lease_until=-MINUTE)
    others = await job("processing", worker="you", lease_until=-MINUTE)
    unnamed = await job("processing", worker=None, lease_until=-MINUTE)
    tick = "select (job).id from _jobs_recover('{}', sparing => 'me')"
    assert sorted(await ids(tick)) == [others, unnamed]


async def test_the_workers_of_a_dead_workers_queues_are_told_to_look(
    conn, other, ids, signal_ears
):
    """A claim of the dead worker may have been undone while others passed over its rows."""
    await other.execute("select jobs_worker_start('them', '{a,b}', null, 1)")
    await other.close()
    await conn.execute(ALL)
    await conn.execute(TWO_SECONDS_PASS)
    await signal_ears.heard()
    await conn.execute(ALL)
    assert sorted(await signal_ears.heard()) == [f"0 {2**19 - 1} 0 a", f"0 {2**19 - 1} 0 b"]


async def test_a_recovery_in_parts_takes_back_so_many_jobs_at_a_time(job, ids):
    lost = [await job("processing", lease_until=-MINUTE) for _ in range(3)]
    part = "select (job).id from _jobs_recover('{}', max_jobs => 2)"
    first, second = await ids(part), await ids(part)
    assert (len(first), len(second)) == (2, 1)
    assert sorted(first + second) == lost
    assert await ids(part) == []


async def test_a_worker_takes_back_the_jobs_of_the_last_holder_of_its_name_in_parts(
    conn, job, row
):
    last = [await job("processing", started_at=-MINUTE) for _ in range(3)]
    never = await job("processing", lease_until=None)  # started by an older release
    own = await job("processing", started_at=MINUTE)
    others = await job("processing", worker="you", started_at=-MINUTE)
    part = "select _jobs_recover_own('me', clock_timestamp(), 3)"
    told = [json.loads(await conn.fetchval(part) or "[]") for _ in range(3)]
    assert [sum(lost["jobs"] for lost in one) for one in told] == [3, 1, 0]
    assert {lost["worker"] for one in told for lost in one} == {"me"}
    for job_id in (*last, never):
        after = await row(job_id)
        assert (after["status"], after["crash_count"]) == ("pending", 1)
    for job_id in (own, others):
        assert (await row(job_id))["status"] == "processing"


async def test_a_recovery_tells_whose_jobs_were_taken_back_and_which_have_failed(conn, job):
    old = {"started_at": -MINUTE, "lease_until": -MINUTE}
    many = [await job("processing", worker="you", **old) for _ in range(12)]
    poison = await job("processing", worker="me", crash_count=3, **old)
    told = json.loads(await conn.fetchval("select _jobs_recover_told('{}')"))
    assert sorted(told, key=lambda lost: lost["worker"]) == [
        {"worker": "me", "jobs": 1, "ids": [poison], "failed": [poison]},
        {"worker": "you", "jobs": 12, "ids": many[:10], "failed": None},
    ]
    assert await conn.fetchval("select _jobs_recover_told('{}')") is None
