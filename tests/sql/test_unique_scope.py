"""How long a job holds its unique_key: the scopes pending and period."""

import asyncio
import re
from datetime import timedelta

import pytest

from pgjobs.errors import DuplicateJob

HOUR = timedelta(hours=1)
PENDING = """select * from jobs_enqueue('t', $1::text::jsonb, unique_key => 'k',
    unique_scope => 'pending')"""
PERIOD = """select * from jobs_enqueue('t', $1::text::jsonb, unique_key => 'k',
    unique_scope => 'period', unique_for => '1 hour')"""
WAYS_BACK = [
    "select status from jobs_fail({0}, 'boom')",
    "select * from jobs_fail_many('me', '{{{0}}}', '{{1}}', '{{boom}}', '{{true}}', '{{null}}')",
    "select * from jobs_release_many('me', '{{{0}}}', '{{1}}')",
    "select * from jobs_recover('me')",
    "select * from _jobs_release_unnamed('me', '{{}}', '{{}}', 'infinity')",
]
HELD = {"unique_key": "k", "unique_scope": "pending", "started_at": -HOUR}


# -- pending


async def test_an_event_during_the_run_gives_exactly_one_more_run(conn):
    first = await conn.fetchval(PENDING, "1")
    assert await conn.fetchval(PENDING, "1") == first
    await conn.execute("select from jobs_claim('me')")
    second = await conn.fetchval(PENDING, "2")
    assert second != first
    assert await conn.fetchval(PENDING, "2") == second
    await conn.execute("select from jobs_complete($1)", first)
    assert await conn.fetchval(PENDING, "2") == second
    assert await conn.fetchval("select count(*) from jobs") == 2


@pytest.mark.parametrize("back", WAYS_BACK)
async def test_a_job_that_waits_again_holds_its_key_again(conn, job, row, back):
    first = await job("processing", **HELD)
    await conn.execute(back.format(first))
    returned = await row(first)
    assert (returned["status"], returned["unique_key"]) == ("pending", "k")
    assert await conn.fetchval(PENDING, "2") == first


@pytest.mark.parametrize("status", ["pending", "blocked"])
@pytest.mark.parametrize("back", WAYS_BACK)
async def test_a_job_that_comes_back_ends_where_a_newer_job_waits_with_its_key(
    conn, job, row, back, status
):
    first = await job("processing", **HELD)
    second = await job(status, unique_key="k", unique_scope="pending")
    before = await row(second)
    answer = await conn.fetchval(back.format(first))
    if back.startswith("select status"):
        assert answer == "cancelled"
    returned = await row(first)
    assert (returned["status"], returned["unique_key"], returned["worker"]) == (
        "cancelled", "k", None
    )
    said = returned["error"].splitlines()
    assert said[0] == f"job {second} waits with this key"
    assert said[1:] == (["boom"] if "boom" in back else [])
    assert returned["finished_at"] is not None
    assert await row(second) == before


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "cancelled"])
@pytest.mark.parametrize("back", WAYS_BACK)
async def test_a_job_that_comes_back_ends_where_a_newer_job_has_begun_with_its_key(
    conn, job, row, back, status
):
    first = await job("processing", **HELD)
    second = await job(status, worker="other" if status == "processing" else None,
                       unique_key="k", unique_scope="pending")
    await conn.execute(back.format(first))
    returned = await row(first)
    if status == "cancelled":
        assert (returned["status"], returned["unique_key"]) == ("pending", "k")
    else:
        said = f"job {second} has begun with this key since"
        assert (returned["status"], returned["error"].splitlines()[0]) == ("cancelled", said)


async def test_an_older_job_of_the_key_that_has_ended_ends_nobody(conn, job, row):
    for status in ("completed", "failed"):
        await job(status, unique_key="k", unique_scope="pending")
    newest = await job("processing", **HELD)
    await conn.execute("select from jobs_fail($1, 'boom')", newest)
    assert (await row(newest))["status"] == "pending"


async def test_a_job_that_comes_back_waits_for_a_claim_and_then_sees_what_it_took(
    conn, other, job, row, blocked
):
    first = await job("processing", **HELD)
    second = await job(unique_key="k", unique_scope="pending")
    async with conn.transaction():
        await conn.execute("select from jobs_claim('w')")
        coming = asyncio.create_task(other.execute("select from jobs_fail($1, 'boom')", first))
        await blocked(other)
    await coming
    assert (await row(first))["error"].splitlines() == [
        f"job {second} has begun with this key since", "boom",
    ]


async def test_the_holder_of_a_key_is_found_beside_many_that_have_ended(conn, job):
    await conn.execute(
        """insert into jobs (job_type, status, finished_at, unique_key, unique_scope)
        select 't', 'completed', now(), 'k', 'pending' from generate_series(1, 3000)"""
    )
    holder = await job(unique_key="k", unique_scope="pending")
    await conn.execute("analyze jobs")
    for _ in range(2):
        plan = await conn.fetch(
            "explain (analyze, buffers, costs off, timing off, summary off)"
            " select id from _jobs_key_holder('t', 'k')"
        )
    assert await conn.fetchval(PENDING, "1") == holder
    blocks = [int(n) for line in plan for n in re.findall(r"shared hit=(\d+)", line[0])]
    assert max(blocks) < 60, plan


@pytest.mark.parametrize("first_back", [0, 1])
async def test_of_two_runs_that_come_back_the_newer_job_waits(conn, job, row, first_back):
    held = [await job("processing", **HELD), await job("processing", **HELD)]
    for job_id in (held[first_back], held[not first_back]):
        await conn.execute("select from jobs_fail($1, 'boom')", job_id)
    older, newer = [await row(job_id) for job_id in held]
    assert (older["status"], newer["status"]) == ("cancelled", "pending")
    how = "has begun with this key since" if first_back == 0 else "waits with this key"
    assert older["error"].splitlines()[0] == f"job {newer['id']} {how}"


async def test_an_older_job_that_was_retried_by_hand_gives_way_to_a_newer_one_that_comes_back(
    conn, job, row
):
    older = await job("failed", attempt=1, unique_key="k", unique_scope="pending")
    newer = await job("processing", **HELD)
    await conn.execute("select from jobs_retry($1)", older)
    await conn.execute("select from jobs_fail($1, 'boom')", newer)
    assert ((await row(newer))["status"], (await row(newer))["unique_key"]) == ("pending", "k")
    assert (await row(older))["error"] == "replaced by a newer job with its unique_key"


async def test_a_batch_that_comes_back_ends_only_those_whose_keys_are_taken(conn, job, row, ids):
    held = [
        await job("processing", unique_key=key, unique_scope=scope)
        for key, scope in [("b", "pending"), ("a", "pending"), (None, "pending"), ("c", "live")]
    ]
    await job(unique_key="a", unique_scope="pending")
    attempts = [1] * len(held)
    for fail in (True, False):
        if fail:
            done = await ids(
                "select * from jobs_fail_many('me', $1, $2, $3, $4, $5)", held, attempts,
                ["e"] * 4, [True] * 4, [timedelta(0)] * 4,
            )
        else:
            await conn.execute("select from jobs_claim('me', max_jobs => 9)")
            done = await ids("select * from jobs_release_many('me', $1, $2)", held, [2] * 4)
        rows = [await row(job_id) for job_id in held]
        assert sorted(done) == (held if fail else [held[0], *held[2:]])
        assert [r["status"] for r in rows] == ["pending", "cancelled", "pending", "pending"]
        assert [r["unique_key"] for r in rows] == ["b", "a", None, "c"]


@pytest.mark.parametrize("back", WAYS_BACK)
async def test_a_job_whose_cancellation_was_asked_for_does_not_come_back(conn, job, row, back):
    first = await job("processing", cancel_requested_at=-HOUR, **HELD)
    await job(unique_key="k", unique_scope="pending")
    await conn.execute(back.format(first))
    assert (await row(first))["status"] == "cancelled"
    assert "waits with this key" not in ((await row(first))["error"] or "")


async def test_a_job_that_fails_for_good_keeps_its_error(conn, job, row):
    first = await job("processing", **HELD)
    await job(unique_key="k", unique_scope="pending")
    await conn.execute("select from jobs_fail($1, 'boom', retry => false)", first)
    assert ((await row(first))["status"], (await row(first))["error"]) == ("failed", "boom")


async def test_a_retry_by_hand_raises_where_a_newer_job_waits_with_the_key(conn, job, row):
    first = await job("failed", unique_key="k", unique_scope="pending")
    await job(unique_key="k", unique_scope="pending")
    with pytest.raises(DuplicateJob):
        await conn.execute("select jobs_retry($1)", first)
    assert (await row(first))["status"] == "failed"
    assert await conn.fetchval("select jobs_retry_many()") == 0


@pytest.mark.parametrize("back", WAYS_BACK)
async def test_a_job_that_comes_back_waits_for_a_session_that_adds_a_job_with_its_key(
    conn, other, job, row, blocked, back
):
    first = await job("processing", **HELD)
    async with conn.transaction():
        second = await conn.fetchval(PENDING, "2")
        assert second != first
        coming = asyncio.create_task(other.execute(back.format(first)))
        await blocked(other)
    await coming
    returned = await row(first)
    assert returned["status"] == "cancelled"
    assert returned["error"].startswith(f"job {second} waits with this key")


@pytest.mark.parametrize("back", WAYS_BACK)
async def test_a_job_that_comes_back_has_its_key_if_that_session_rolls_back(
    conn, other, job, row, blocked, back
):
    first = await job("processing", **HELD)
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(PENDING, "2")
    coming = asyncio.create_task(other.execute(back.format(first)))
    await blocked(other)
    await transaction.rollback()
    await coming
    assert ((await row(first))["status"], (await row(first))["unique_key"]) == ("pending", "k")


@pytest.mark.parametrize("back", WAYS_BACK)
async def test_a_session_that_adds_a_job_waits_for_one_that_comes_back(
    conn, other, job, row, blocked, back
):
    first = await job("processing", **HELD)
    async with conn.transaction():
        await conn.execute(back.format(first))
        adding = asyncio.create_task(other.fetchrow(PENDING, "2"))
        await blocked(other)
    assert (await adding)["id"] == first
    assert await conn.fetchval("select count(*) from jobs") == 1


@pytest.mark.parametrize(
    "back",
    [
        "select * from jobs_fail_many('me', '{1,2}', '{1,1}', '{e,e}', '{t,t}', '{null,null}')",
        "select * from jobs_release_many('me', '{1,2}', '{1,1}')",
        "select * from jobs_recover('me')",
    ],
)
async def test_jobs_that_come_back_together_take_their_keys_in_order_and_never_deadlock(
    conn, other, job, row, blocked, back
):
    for key in ("b", "a"):
        await job("processing", unique_key=key, unique_scope="pending")
    add = "select id from jobs_enqueue('t', unique_key => $1, unique_scope => 'pending')"
    async with conn.transaction():
        await conn.execute(add, "a")
        coming = asyncio.create_task(other.execute(back))
        await blocked(other)
        # Those that come back wait for the first key, and hold no later one.
        await conn.execute(add, "b")
    await coming
    assert [(await row(job_id))["status"] for job_id in (1, 2)] == ["cancelled", "cancelled"]


async def test_a_key_whose_period_is_over_is_free_for_a_job_that_comes_back(conn, job, row):
    first = await job("processing", **HELD)
    over = await job("completed", unique_key="k", unique_scope="period")
    await conn.execute("update jobs set unique_until = '2000-01-01' where id = $1", over)
    await conn.execute("select from jobs_fail($1, 'boom')", first)
    assert ((await row(first))["status"], (await row(first))["unique_key"]) == ("pending", "k")
    assert (await row(over))["unique_key"] is None


# -- period


@pytest.mark.parametrize("status", ["pending", "processing", "completed", "failed", "cancelled"])
async def test_within_the_period_the_first_job_is_returned_whatever_became_of_it(
    conn, row, status
):
    first = await conn.fetchrow(PERIOD, "1")
    assert first["unique_until"] - first["created_at"] + timedelta(seconds=1) >= HOUR
    assert first["unique_until"] - first["created_at"] <= HOUR
    finished = "clock_timestamp()" if status in ("completed", "failed", "cancelled") else "null"
    await conn.execute(f"update jobs set status = $1, finished_at = {finished}", status)
    again = await conn.fetchrow(PERIOD, "2")
    assert again == await row(first["id"])
    with pytest.raises(DuplicateJob):
        await conn.execute("select jobs_enqueue('t', unique_key => 'k', on_conflict => 'raise')")


@pytest.mark.parametrize("status", ["pending", "processing", "completed"])
@pytest.mark.parametrize("how", ["return", "raise", "replace"])
async def test_after_the_period_the_key_is_taken_over(conn, row, status, how):
    first = await conn.fetchval(PERIOD, "1")
    finished = "clock_timestamp()" if status == "completed" else "null"
    await conn.execute(
        f"update jobs set status = $1, finished_at = {finished}, unique_until = clock_timestamp()",
        status,
    )
    new = await conn.fetchrow(f"{PERIOD.removesuffix(')')}, on_conflict => '{how}')", "2")
    assert new["id"] != first
    assert (new["unique_key"], new["payload"]) == ("k", "2")
    old = await row(first)
    assert (old["unique_key"], old["status"], old["payload"]) == (None, status, "1")


async def test_the_period_begins_anew_with_each_job_and_follows_no_clock(conn):
    for _ in range(3):
        job = await conn.fetchrow(PERIOD, "1")
        assert job["unique_until"] > await conn.fetchval("select clock_timestamp() + '59 min'")
        await conn.execute("update jobs set unique_until = clock_timestamp()")
    assert await conn.fetchval("select count(*) from jobs") == 3


async def test_within_the_period_a_waiting_job_can_be_replaced_and_its_period_stays(conn):
    first = await conn.fetchrow(PERIOD, "1")
    replaced = await conn.fetchrow(
        f"{PERIOD.removesuffix(')')}, on_conflict => 'replace')", "2"
    )
    assert (replaced["id"], replaced["payload"]) == (first["id"], "2")
    assert replaced["unique_until"] == first["unique_until"]


async def test_of_two_sessions_that_take_a_key_over_one_adds_a_job(conn, other, blocked):
    first = await conn.fetchval(PERIOD, "1")
    await conn.execute("update jobs set unique_until = clock_timestamp()")
    async with conn.transaction():
        new = await conn.fetchval(PERIOD, "2")
        second = asyncio.create_task(other.fetchval(PERIOD, "3"))
        await blocked(other)
    assert await second == new != first
    assert await conn.fetchval("select count(*) from jobs where unique_key = 'k'") == 1


async def test_if_the_session_that_took_a_key_over_rolls_back_the_next_one_does(
    conn, other, blocked
):
    await conn.execute(PERIOD, "1")
    await conn.execute("update jobs set unique_until = clock_timestamp()")
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(PERIOD, "2")
    second = asyncio.create_task(other.fetchval(PERIOD, "3"))
    await blocked(other)
    await transaction.rollback()
    payload = await conn.fetchval("select payload from jobs where id = $1", await second)
    assert payload == "3"
