import asyncio
from datetime import timedelta

import pytest

ALL = "select id from jobs_recover()"
MINUTE = timedelta(minutes=1)
REGISTER = "select jobs_worker_start($1, '{default}', null, 1)"
# What jobs_recover() notes at its first look, aged.
AGE_MISS = "update jobs_workers set missed_at = missed_at - interval '2 seconds'"


async def test_a_job_whose_lease_is_over_is_pending_again(job, ids, row):
    lost = await job("processing", lease_until=-MINUTE, retry_count=1, error="earlier")
    before = await row(lost)
    assert await ids(ALL) == [lost]
    after = await row(lost)
    assert (after["status"], after["worker"], after["lease_until"]) == ("pending", None, None)
    assert after["crash_count"] == 1
    for kept in ["retry_count", "attempt", "error", "finished_at"]:
        assert after[kept] == before[kept]


async def test_a_job_that_was_lost_as_often_as_can_be_counted_is_recovered(job, ids):
    lost = await job("processing", lease_until=-MINUTE, crash_count=32767, max_retries=10**6)
    other = await job("processing", lease_until=-MINUTE)
    assert sorted(await ids(ALL)) == [lost, other]


async def test_a_running_lease_and_no_lease_at_all_are_respected(job, ids):
    await job("processing")
    await job("processing", lease_until=None)
    assert await ids(ALL) == []


async def test_by_name_all_that_this_worker_holds_comes_back(job, ids):
    mine = [await job("processing"), await job("processing", lease_until=None)]
    await job("processing", worker="you")
    assert sorted(await ids("select id from jobs_recover('me')")) == mine


async def test_after_the_first_loss_it_comes_back_at_once(conn, job, row):
    lost = await job("processing", run_at=-MINUTE, lease_until=-MINUTE)
    was = (await row(lost))["run_at"]
    await conn.execute(ALL)
    assert (await row(lost))["run_at"] == was


@pytest.mark.parametrize(("crash_count", "seconds"), [(1, 5), (2, 60)])
async def test_after_later_losses_it_waits_for_its_backoff(conn, job, crash_count, seconds):
    backoff = [timedelta(seconds=5), timedelta(seconds=60)]
    await job("processing", crash_count=crash_count, backoff=backoff, lease_until=-MINUTE)
    delay = await conn.fetchval("select run_at - updated_at from jobs_recover()")
    assert delay == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("crash_count", "max_retries", "status"),
    [(0, 0, "failed"), (0, 1, "pending"), (1, 1, "failed"), (2, 3, "pending"), (3, 3, "failed")],
)
async def test_it_fails_when_it_was_lost_more_often_than_it_may_be_retried(
    conn, job, crash_count, max_retries, status
):
    await job("processing", crash_count=crash_count, max_retries=max_retries, lease_until=-MINUTE)
    after = await conn.fetchrow("select * from jobs_recover()")
    assert (after["status"], after["crash_count"]) == (status, crash_count + 1)
    assert after["retry_count"] == 0
    if status == "failed":
        assert after["error"] == f"its worker was lost {crash_count + 1} times, the last was me"
        assert after["finished_at"] is not None


async def test_a_cancel_that_met_a_lost_worker_is_settled(conn, job, row):
    lost = await job("processing", lease_until=-MINUTE)
    await conn.execute("select jobs_cancel($1, 'no need')", lost)
    await conn.execute(ALL)
    assert ((await row(lost))["status"], (await row(lost))["error"]) == ("cancelled", "no need")


async def test_a_worker_whose_session_is_gone_counts_as_an_expired_lease(conn, other, job, ids):
    await other.execute(REGISTER, "them")
    lost = await job("processing", worker="them")
    leaseless = await job("processing", worker="them", lease_until=None)
    assert await ids(ALL) == []
    await other.close()
    assert await ids(ALL) == []  # the first look only notes that it is missed
    await conn.execute(AGE_MISS)
    assert sorted(await ids(ALL)) == [lost, leaseless]
    assert await conn.fetch("select * from jobs_workers") == []


async def test_two_looks_in_less_than_two_seconds_are_not_a_death(conn, other, job, ids):
    await other.execute(REGISTER, "them")
    await job("processing", worker="them")
    await other.close()
    assert await ids(ALL) == []
    assert await ids(ALL) == []
    assert await conn.fetchval("select missed_at is not null from jobs_workers")


async def test_a_worker_that_was_missed_and_came_back_keeps_its_jobs(
    conn, other, connect, job, ids
):
    await other.execute(REGISTER, "them")
    await job("processing", worker="them")
    await other.close()
    assert await ids(ALL) == []
    back = await connect()
    await back.execute(REGISTER, "them")
    await conn.execute(AGE_MISS)
    assert await ids(ALL) == []
    assert await conn.fetchval("select missed_at from jobs_workers") is None


async def test_a_worker_is_never_gone_to_its_own_session(conn, job, ids):
    await conn.execute(REGISTER, "me")
    await job("processing")
    assert await ids(ALL) == []
    assert await conn.fetchval("select missed_at from jobs_workers") is None
    await conn.execute("update jobs_workers set missed_at = '2000-01-01'")
    assert await ids(ALL) == []


async def test_a_workers_row_stays_until_its_last_job_is_taken(conn, other, connect, job, ids):
    await other.execute(REGISTER, "them")
    locked, free = await job("processing", worker="them"), await job("processing", worker="them")
    await other.close()
    assert await ids(ALL) == []
    await conn.execute(AGE_MISS)
    holder = await connect()
    async with holder.transaction():
        await holder.execute("select from jobs where id = $1 for update", locked)
        assert await ids(ALL) == [free]
        assert await conn.fetchval("select count(*) from jobs_workers") == 1
    assert await ids(ALL) == [locked]
    assert await conn.fetchval("select count(*) from jobs_workers") == 0


@pytest.mark.parametrize("holds_a_job", [True, False])
async def test_a_new_worker_of_a_gone_ones_name_is_left_alone_by_a_look_under_way(
    conn, other, connect, job, blocked, holds_a_job
):
    looks, holder = await connect(), await connect()
    await other.execute(REGISTER, "a")
    await holder.execute(REGISTER, "b")
    await other.close()
    await conn.execute("select jobs_recover()")
    await conn.execute(AGE_MISS)
    await holder.fetch("select pg_advisory_unlock_all()")
    waiting = holds_a_job and await job()
    # The look has found that "a" is gone, and waits before it notes that "b" is missed.
    async with holder.transaction():
        await holder.execute("select from jobs_workers where worker = 'b' for update")
        look = asyncio.create_task(looks.fetch(ALL))
        await blocked(looks)
        await conn.execute(REGISTER, "a")
        claimed = await conn.fetch("select id from jobs_claim('a')")
        assert [r["id"] for r in claimed] == ([waiting] if holds_a_job else [])
    assert await look == []
    assert await conn.fetchval("select count(*) from jobs_workers where worker = 'a'") == 1
    held = await conn.fetchval("select count(*) from jobs where status = 'processing'")
    assert held == len(claimed)


async def test_a_completion_that_is_under_way_is_passed_by(conn, other, job, row):
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


async def test_two_recoveries_that_miss_the_same_workers_do_not_deadlock(conn, other, connect, ids):
    for name in "abc":
        session = await connect()
        await session.execute(REGISTER, name)
        await session.close()
        # Stored in another order than that of their names.
        await conn.execute("update jobs_workers set concurrency = 2 where worker = 'a'")
    assert await ids(ALL) == []
    await conn.execute(AGE_MISS)
    async with conn.transaction():
        await conn.execute(ALL)
        assert await other.fetch(ALL) == []
    assert await conn.fetchval("select count(*) from jobs_workers") == 0


async def test_it_wakes_sleepers_once_per_queue(conn, job, ears):
    for queue in "aab":
        await job("processing", queue=queue, lease_until=-MINUTE)
    await job("processing", queue="c", lease_until=-MINUTE, max_retries=0)
    await ears.heard()
    await conn.execute(ALL)
    assert sorted(await ears.heard()) == ["a", "b"]


async def test_the_lost_workers_late_answer_changes_nothing(conn, job, ids, row):
    lost = await job("processing", lease_until=-MINUTE)
    await conn.execute(ALL)
    assert await ids("select id from jobs_claim('me')") == [lost]
    late = "select * from jobs_complete_many('me', array[$1::bigint], '{1}', '{null}')"
    assert await ids(late, lost) == []
    assert (await row(lost))["attempt"] == 2


async def test_a_worker_that_looks_by_itself_spares_its_own_jobs(conn, job, ids):
    await job("processing", lease_until=-MINUTE)
    others = await job("processing", worker="you", lease_until=-MINUTE)
    unnamed = await job("processing", worker=None, lease_until=-MINUTE)
    assert sorted(await ids("select id from jobs_recover(sparing => 'me')")) == [others, unnamed]
