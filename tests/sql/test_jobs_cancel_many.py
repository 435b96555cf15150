"""Cancelling many; the filters and the locking are the same for all four jobs_..._many."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from pgjobs.errors import InvalidArgument

HOUR = timedelta(hours=1)
CANCELLED = "select id from jobs where status = 'cancelled' order by id"


async def test_waiting_jobs_end_and_running_ones_are_asked_to_stop_each_counted_once(
    conn, job, row
):
    waiting = [await job(), await job("blocked")]
    running = await job("processing")
    for status in ("completed", "failed", "cancelled"):
        await job(status)
    cancel = "select jobs_cancel_many(job_types => '{t}', reason => 'off')"
    assert await conn.fetchval(cancel) == 3
    for job_id in waiting:
        cancelled = await row(job_id)
        assert (cancelled["status"], cancelled["error"]) == ("cancelled", "off")
        assert cancelled["finished_at"] is not None
    asked = await row(running)
    assert (asked["status"], asked["error"]) == ("processing", "off")
    assert asked["cancel_requested_at"] is not None
    assert await conn.fetchval(cancel) == 0
    assert await row(running) == asked


FILTERS = {
    "job_ids => array[{id}, 999]": {},
    "job_types => '{{x,y}}'": {"job_type": "x"},
    "queues => '{{x,y}}'": {"queue": "x"},
    "group_keys => '{{g,h}}'": {"group_key": "g"},
    "reference_type => 'file'": {"reference_type": "file"},
    "reference_id => 7": {"reference_id": 7},
    "reference_type => 'file', reference_id => 7": {"reference_type": "file", "reference_id": 7},
    "reference_key => 'k'": {"reference_type": "file", "reference_key": "k"},
    "reference_type => 'file', reference_key => 'k'":
        {"reference_type": "file", "reference_key": "k"},
    "batch_id => 5": {"batch_id": 5},
    "created_before => clock_timestamp() - interval '1 h'": {"created_at": -2 * HOUR},
    "job_types => '{{x}}', queues => '{{q}}', group_keys => '{{g}}'":
        {"job_type": "x", "queue": "q", "group_key": "g"},
}


@pytest.mark.parametrize("status", ["pending", "blocked", "processing"])
@pytest.mark.parametrize("filters", FILTERS)
async def test_each_filter_selects_its_jobs_alone(conn, job, filters, status):
    columns = FILTERS[filters]
    wanted = await job(status, **columns)
    await job(status)
    for name in columns:  # passes all filters but one
        if len(columns) > 1 and name != "reference_key":
            other = {**columns, name: {"reference_type": "z", "reference_id": 8}.get(name, "z")}
            if "reference_key" not in columns or "reference_type =>" in filters:
                await job(status, **other)
    count = await conn.fetchval(f"select jobs_cancel_many({filters.format(id=wanted)})")
    assert count == 1
    changed = "select id from jobs where status = 'cancelled' or cancel_requested_at is not null"
    assert await conn.fetchval(changed) == wanted


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("filters", FILTERS)
async def test_each_filter_selects_its_ended_jobs_alone(conn, job, ids, filters, status):
    wanted = await job(status, **FILTERS[filters])
    other = await job(status)
    count = await conn.fetchval(f"select jobs_delete_many({filters.format(id=wanted)})")
    assert count == 1
    assert await ids("select id from jobs") == [other]


@pytest.mark.parametrize("verb", ["cancel", "delete", "edit"])
async def test_without_a_filter_nothing_is_changed(conn, job, row, verb):
    before = [await row(await job()), await row(await job("completed"))]
    arguments = "set_priority => 1" if verb == "edit" else "max_jobs => 5"
    with pytest.raises(InvalidArgument, match="no filter is given, and nothing was changed"):
        await conn.execute(f"select jobs_{verb}_many({arguments})")
    assert [await row(b["id"]) for b in before] == before


async def test_an_empty_list_selects_nothing(conn, job):
    await job(group_key="g")
    for name in ("job_ids", "job_types", "queues", "group_keys"):
        assert await conn.fetchval(f"select jobs_cancel_many({name} => '{{}}')") == 0


async def test_calls_until_0_cancel_all_and_no_more_than_max_jobs_each(conn, job, ids):
    all_ids = [await job() for _ in range(3)] + [await job(group_key="g") for _ in range(2)]
    cancel = "select jobs_cancel_many(queues => '{default}', max_jobs => 2)"
    assert [await conn.fetchval(cancel) for _ in range(4)] == [2, 2, 1, 0]
    assert await ids(CANCELLED) == all_ids
    with pytest.raises(InvalidArgument, match="max_jobs must be 0 or more"):
        await conn.execute("select jobs_cancel_many(queues => '{q}', max_jobs => -1)")


async def test_running_jobs_are_told_by_one_notification(conn, job, cancel_ears):
    running = [await job("processing") for _ in range(3)]
    await job()
    await conn.execute("select jobs_cancel_many(job_types => '{t}')")
    assert await cancel_ears.heard() == [",".join(map(str, running))]


async def test_so_many_running_jobs_that_their_ids_fill_a_notification_are_told_by_several(
    conn, cancel_ears
):
    await conn.execute(
        """insert into jobs (job_type, status, worker, attempt)
        select 't', 'processing', 'w', 1 from generate_series(1, 1000)"""
    )
    await conn.execute("select jobs_cancel_many(job_types => '{t}')")
    heard = await cancel_ears.heard()
    assert len(heard) == 3
    assert sorted(int(n) for payload in heard for n in payload.split(",")) == [*range(1, 1001)]


async def test_in_order_the_others_of_a_group_start_when_its_retry_was_cancelled(conn, job, ids):
    await conn.execute("select jobs_limit('default', in_order => true)")
    first = await job(group_key="g")
    second = await job(group_key="g", job_type="u")
    await conn.execute("select jobs_claim('me')")
    await conn.execute("select jobs_fail($1, 'e', retry_in => '1 hour')", first)
    assert await ids("select id from jobs_claim('me')") == []
    assert await conn.fetchval("select jobs_cancel_many(job_types => '{t}')") == 1
    assert await ids("select id from jobs_claim('me')") == [second]


async def test_locked_rows_are_skipped_and_do_not_use_up_max_jobs(conn, other, job):
    locked, free = await job(), await job()
    async with conn.transaction():
        await conn.execute("select jobs_edit($1, priority => 1)", locked)
        cancel = "select jobs_cancel_many(job_types => '{t}', max_jobs => 1)"
        assert await other.fetchval(cancel) == 1
        assert await other.fetchval(cancel) == 0
    assert await conn.fetchval("select status from jobs where id = $1", free) == "cancelled"
    assert await other.fetchval(cancel) == 1


async def test_beside_claims_and_completions_each_job_ends_once_and_nothing_deadlocks(
    conn, connect
):
    """Who wins a job is told once: by a completion, or by a count of the cancels."""
    sessions = [await connect() for _ in range(6)]
    for session in sessions:
        await session.execute("set deadlock_timeout = '5ms'")
    await conn.execute("select jobs_limit('default', max_running_per_group => 3)")
    await conn.execute(
        """insert into jobs (job_type, group_key)
        select 't', case when n % 3 = 0 then 'g' || n % 5 end from generate_series(1, 1500) n"""
    )
    counts = {"cancelled": 0, "completed": 0}

    async def work(session, name):
        claim = "select id, attempt from jobs_claim($1, max_jobs => 7)"
        while claimed := await session.fetch(claim, name):
            ids, attempts = [c["id"] for c in claimed], [c["attempt"] for c in claimed]
            done = await session.fetch(
                "select jobs_complete_many($1, $2, $3, $4) as id", name, ids, attempts,
                [None] * len(ids),
            )
            counts["completed"] += len(done)

    async def cancel(session):
        while count := await session.fetchval(
            "select jobs_cancel_many(queues => '{default}', max_jobs => 9)"
        ):
            counts["cancelled"] += count
            await asyncio.sleep(0)

    await asyncio.gather(
        *(work(session, f"w{n}") for n, session in enumerate(sessions[:4])),
        *(cancel(session) for session in sessions[4:]),
    )
    # A running job that was asked to stop may complete first: then both have counted it.
    ends = dict(await conn.fetch("select status, count(*) from jobs group by 1"))
    both = await conn.fetchval(
        "select count(*) from jobs where status = 'completed' and cancel_requested_at is not null"
    )
    assert sum(ends.values()) == 1500
    assert set(ends) <= {"completed", "cancelled"}
    assert counts["completed"] == ends["completed"]
    assert counts["cancelled"] == ends.get("cancelled", 0) + both
    assert counts["cancelled"] > 0


async def test_statuses_leave_the_others(conn, job, ids):
    for status in ("processing", "blocked"):
        await job(status)
    wanted = await job()
    assert await conn.fetchval("select jobs_cancel_many(statuses => '{pending}')") == 1
    assert await ids("select id from jobs where status = 'cancelled'") == [wanted]


@pytest.mark.parametrize("call", [
    "jobs_cancel_many(statuses => '{completed}')", "jobs_cancel_many(statuses => '{pending,null}')",
    "jobs_delete_many(statuses => '{pending}')", "jobs_delete_many(statuses => '{{failed}}')",
    "jobs_edit_many(1, statuses => '{processing}')",
])
async def test_statuses_that_a_call_does_not_take_are_refused(conn, job, call):
    for status in ("pending", "processing", "completed", "failed"):
        await job(status)
    before = await conn.fetch("select * from jobs order by id")
    with pytest.raises(asyncpg.PostgresError, match="statuses must be among") as error:
        await conn.execute(f"select {call}")
    assert error.value.sqlstate == "JQ003"
    assert await conn.fetch("select * from jobs order by id") == before
