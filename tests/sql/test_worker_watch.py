"""While producers may be silent, each worker looks for jobs that nobody claims.

Nothing sleeps here: `aged` moves the times in what the last call returned, as if that call had been
earlier.
"""

import asyncio
import json
from datetime import datetime, timedelta

import pytest

WATCH = """select may_be_silent, others_poll, due, seen_now::text as seen
    from _jobs_worker_watch('me', $1::text::jsonb, $2::text::jsonb)"""
CHANGE = "select _jobs_worker_mode($1, $2)"
ENQUEUE = "select id from jobs_enqueue('t')"
FRESH = "what two calls have seen"
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# As if the job had been added a minute earlier. An update sends no signal.
AGE = "update jobs set run_at = run_at - interval '1 minute' where id = $1"


def aged(seen, by=MINUTE):
    """What a call has seen, as if all times in it were earlier."""

    def earlier(moment):
        return moment if "infinity" in moment else (
            datetime.fromisoformat(moment) - by).isoformat()

    content = json.loads(seen)
    times = {xid: earlier(moment) for xid, moment in content["open"].items()}
    return json.dumps(
        {"at": earlier(content["at"]), "before": earlier(content["before"]), "open": times}
    )


@pytest.fixture
async def me(start_worker, conn):
    """The session of a listening worker called me, beside a polling worker called w."""
    await start_worker("w", "polling")
    return await start_worker("me")


@pytest.fixture
def watch(me, conn):
    """Watches with a floor in the only level that holds jobs: now, or a moment before now."""

    async def look(seen=None, floor=timedelta(0)):
        if seen is FRESH:
            # The third call is the first one with a bound.
            seen = (await look((await look())["seen"]))["seen"]
        at = await conn.fetchval("select clock_timestamp()") - floor
        floors = json.dumps({"default": {"0": at.isoformat()}})
        return await me.fetchrow(WATCH, floors, seen)

    return look


async def test_a_silent_job_whose_transaction_was_open_for_several_calls_is_found(
    conn, watch, ears, row
):
    await ears.heard()
    first = await watch(FRESH)
    transaction = conn.transaction()
    await transaction.start()
    silent = await conn.fetchval(ENQUEUE)
    second = await watch(first["seen"])
    assert second["due"] is None
    # A minute passes, with two more calls.
    await conn.execute(AGE, silent)
    third = await watch(aged(second["seen"]))
    fourth = await watch(third["seen"])
    assert (third["due"], fourth["due"]) == (None, None)
    await transaction.commit()
    assert await ears.heard() == []
    fifth = await watch(fourth["seen"])
    assert fifth["due"] == (await row(silent))["run_at"]
    # The worker has been told.
    assert (await watch((await watch(fifth["seen"]))["seen"]))["due"] is None


async def test_a_silent_job_is_found_also_if_its_transaction_is_the_youngest_and_ends_soon(
    conn, watch, row
):
    first = await watch(FRESH)
    async with conn.transaction():
        silent = await conn.fetchval(ENQUEUE)
        # A minute passes. No transaction that is younger has ended, so no snapshot shows this one.
        await conn.execute(AGE, silent)
        second = await watch(aged(first["seen"]))
    third = await watch(second["seen"])
    assert third["due"] == (await row(silent))["run_at"]


async def test_of_two_open_transactions_each_is_found_when_it_ends(
    conn, other, watch, row
):
    first = await watch(FRESH)
    early = conn.transaction()
    await early.start()
    early_job = await conn.fetchval(ENQUEUE)
    second = await watch(first["seen"])
    late = other.transaction()
    await late.start()
    late_job = await other.fetchval(ENQUEUE)
    seen = aged((await watch(aged(second["seen"])))["seen"])
    for session, job_id, times in ((conn, early_job, 2), (other, late_job, 1)):
        for _ in range(times):
            await session.execute(AGE, job_id)
    seen = (await watch(seen))["seen"]
    await late.commit()
    found = await watch(seen)
    assert found["due"] == (await row(late_job))["run_at"]
    await early.commit()
    found = await watch(found["seen"])
    assert found["due"] == (await row(early_job))["run_at"]


async def test_the_first_two_calls_look_without_a_bound(watch, job, row):
    old = await job(run_at=-HOUR)
    first = await watch()
    assert first["due"] == (await row(old))["run_at"]
    assert (await watch(first["seen"]))["due"] == (await row(old))["run_at"]


async def test_a_call_looks_no_further_back_than_the_call_before_the_last(watch, conn, job):
    seen = (await watch(FRESH))["seen"]
    await job(run_at=-HOUR)
    assert (await watch(seen))["due"] is None
    # Nor does the end of a transaction that was not yet open make it look further back than that.
    async with conn.transaction():
        await conn.execute(ENQUEUE)
        seen = (await watch(seen))["seen"]
    found = await watch(seen)
    assert found["due"] is not None
    assert found["due"] > await conn.fetchval("select clock_timestamp() - interval '1 minute'")


async def test_the_end_of_a_transaction_does_not_make_a_call_look_back_for_another_one(
    conn, other, watch
):
    seen = (await watch(FRESH))["seen"]
    async with conn.transaction():
        await conn.execute("select pg_current_xact_id()")
        for _ in range(2):
            seen = (await watch(seen))["seen"]
        seen = aged(seen, HOUR)
        for _ in range(2):
            seen = (await watch(seen))["seen"]
        async with other.transaction():
            await other.execute("select pg_current_xact_id()")
            for _ in range(2):
                seen = (await watch(seen))["seen"]
        # Only the younger transaction has ended. A job that has been due since the first call:
        await other.execute("select jobs_enqueue('t', run_at => now() - interval '1 hour')")
        seen = (await watch(seen))["seen"]
        assert (await watch(seen))["due"] is None
    # The older transaction has ended.
    assert (await watch(seen))["due"] is not None


async def test_a_floor_below_the_last_call_is_kept(watch, job, row):
    seen = (await watch(FRESH))["seen"]
    below = await job(run_at=-MINUTE / 2)
    assert (await watch(seen, floor=MINUTE))["due"] == (await row(below))["run_at"]


async def test_a_job_that_is_due_later_is_not_reported(watch, job):
    await job(run_at=MINUTE)
    assert (await watch())["due"] is None


async def test_producers_may_be_silent_while_another_worker_polls_or_one_holds_the_gate(
    conn, connect, me, watch
):
    now = await watch()
    assert (now["may_be_silent"], now["others_poll"]) == (True, True)
    await conn.execute("begin")
    await conn.execute(ENQUEUE)
    await conn.execute("select pg_terminate_backend(l.pid) from pg_locks l, jobs_workers w"
                       " where w.worker = 'w' and l.locktype = 'advisory'"
                       " and (l.classid::bigint << 32 | l.objid::bigint) = w.name_key")
    observer = await connect()
    polls = "select others_poll from _jobs_may_be_silent('nobody', '{default}')"
    async with asyncio.timeout(10):
        while await observer.fetchval(polls):
            await asyncio.sleep(0.002)
    # Nobody polls any more, but the silent producer has not ended.
    now = await watch(now["seen"])
    assert (now["may_be_silent"], now["others_poll"], now["due"]) == (True, False, None)
    await conn.execute("commit")
    now = await watch(now["seen"])
    assert (now["may_be_silent"], now["others_poll"]) == (False, False)
    assert now["due"] is not None


async def test_other_queues_make_no_producer_of_this_queue_silent(start_worker, conn):
    await start_worker("w", "polling", ["q"])
    me = await start_worker("me", "listening", ["default"])
    async with conn.transaction():
        await conn.execute("select jobs_enqueue('t', queue => 'q')")
        assert (await me.fetchrow(WATCH, "{}", None))["may_be_silent"] is False


async def test_a_worker_that_polls_is_not_silent_because_of_itself(start_worker):
    me = await start_worker("me", "polling")
    assert (await me.fetchrow(WATCH, "{}", None))["may_be_silent"] is False


async def test_a_producer_that_ends_after_the_question_whether_it_is_silent_is_found(
    conn, other, me, watch, blocked
):
    """First the silence, then the jobs: here the producer ends before the first is read."""
    body = await conn.fetchval(
        """select 'language plpgsql set search_path = public as $body$'
            || replace(prosrc, '_jobs_may_be_silent.', '_original.') || '$body$'
        from pg_proc where proname = '_jobs_may_be_silent'"""
    )
    await conn.execute(
        """drop function _jobs_may_be_silent;
        create function _jobs_may_be_silent(worker text, queues text[])
        returns table (may_be_silent boolean, others_poll boolean) language plpgsql as $$
        begin
            perform pg_advisory_lock_shared(4711);
            perform pg_advisory_unlock_shared(4711);
            return query select * from _original(worker, queues);
        end $$"""
    )
    await conn.execute(
        "create or replace function _original(worker text, queues text[])"
        f" returns table (may_be_silent boolean, others_poll boolean) {body}"
    )
    seen = (await watch(FRESH))["seen"]
    await conn.execute("begin")
    silent = await conn.fetchval(ENQUEUE)
    await other.execute("select pg_advisory_lock(4711)")
    watching = asyncio.create_task(watch(seen))
    await blocked(me)
    await conn.execute("commit")
    await other.execute("select pg_advisory_unlock(4711)")
    assert (await watching)["due"] == await conn.fetchval(
        "select run_at from jobs where id = $1", silent
    )


async def test_a_producer_that_ends_while_jobs_are_looked_for_is_found_by_the_next_call(
    conn, other, me, watch, blocked, row
):
    """First the transactions, then the jobs: here the producer ends after both are read."""
    await conn.execute(
        """alter function _jobs_next_due rename to _original;
        create function _jobs_next_due(queues text[], job_types text[], floors jsonb,
            since timestamptz, before timestamptz) returns timestamptz language plpgsql as $$
        declare v_due timestamptz := _original(queues, job_types, floors, since, before);
        begin
            perform pg_advisory_lock_shared(4711);
            perform pg_advisory_unlock_shared(4711);
            return v_due;
        end $$"""
    )
    seen = (await watch(FRESH))["seen"]
    await conn.execute("begin")
    silent = await conn.fetchval(ENQUEUE)
    await other.execute("select pg_advisory_lock(4711)")
    watching = asyncio.create_task(watch(seen))
    await blocked(me)
    await conn.execute(AGE, silent)
    await conn.execute("commit")
    await other.execute("select pg_advisory_unlock(4711)")
    missed = await watching
    assert missed["due"] is None
    # That call is a minute ago by now.
    assert (await watch(aged(missed["seen"])))["due"] == (await row(silent))["run_at"]


async def test_an_unregistered_worker_gets_no_row(conn):
    assert await conn.fetch(WATCH, "{}", None) == []
