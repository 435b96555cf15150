"""Each reason is made by real calls, and is gone when its advice was followed."""

import re
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument, JobNotFound

HOUR = timedelta(hours=1)
ENQUEUE = "select id from jobs_enqueue('t')"


@pytest.fixture
def why(conn):
    """The reasons of a job in their order: name to (detail, advice)."""

    async def ask(job_id):
        rows = await conn.fetch("select * from jobs_why($1)", job_id)
        return {row["reason"]: (row["detail"], row["advice"]) for row in rows}

    return ask


async def test_a_job_that_nothing_holds_back_is_due(conn, start_worker, why):
    await start_worker()
    assert list(await why(await conn.fetchval(ENQUEUE))) == ["due"]


async def test_an_expired_job_runs_after_it_was_cancelled_and_retried(conn, start_worker, why):
    await start_worker()
    job_id = await conn.fetchval(
        "select id from jobs_enqueue('t', expires_at => clock_timestamp() - interval '5 s')"
    )
    (reason, (detail, advice)), *_ = (await why(job_id)).items()
    assert reason == "expired"
    assert "its latest start was 00:00:05 ago" in detail
    assert advice.endswith(f"pgjobs cancel {job_id}, then pgjobs retry {job_id}")
    await conn.execute("select from jobs_cancel($1)", job_id)
    await conn.execute("select from jobs_retry($1)", job_id)
    assert list(await why(job_id)) == ["due"]


async def test_a_paused_queue_comes_first_until_it_is_resumed(conn, start_worker, why):
    await start_worker()
    job_id = await conn.fetchval(ENQUEUE)
    await conn.execute("select jobs_pause('default', clock_timestamp() + interval '1 h', 'moves')")
    (reason, (detail, advice)), *_ = (await why(job_id)).items()
    assert reason == "paused"
    assert re.search("queue default has been paused for .*, until .*, moves", detail)
    assert advice == "pgjobs resume 'default'"
    await conn.execute("select jobs_resume('default')")
    assert list(await why(job_id)) == ["due"]


async def test_without_a_worker_the_advice_is_to_start_one(conn, start_worker, why):
    job_id = await conn.fetchval(ENQUEUE)
    assert (await why(job_id))["no worker"] == (
        "no worker is connected", "start one that serves both: pgjobs worker MODULE:APP",
    )
    session = await start_worker()
    assert "no worker" not in await why(job_id)
    await session.close()
    assert "no worker" in await why(job_id)


async def test_a_worker_of_another_queue_or_type_is_no_worker_of_the_job(conn, start_worker, why):
    await start_worker("u", job_types=["u"])
    job_id = await conn.fetchval(ENQUEUE)
    assert (await why(job_id))["no worker"][0] == (
        "no connected worker of queue default has a handler for type t"
    )
    await start_worker("elsewhere", queues=["q"], job_types=["t"])
    detail, advice = (await why(job_id))["no worker"]
    assert detail.endswith("; one has a handler for type t in queue q")
    assert advice.startswith(f"pgjobs edit {job_id} --queue 'q', or ")
    await conn.execute("select jobs_edit($1, queue => 'q')", job_id)
    assert list(await why(job_id)) == ["due"]
    await conn.execute("select jobs_edit($1, queue => 'r')", job_id)
    assert (await why(job_id))["no worker"][0].startswith("no connected worker serves queue r")


async def test_a_pending_job_whose_only_worker_hangs_waits_for_its_restart(
    conn, start_worker, why
):
    session = await start_worker("w")
    job_id = await conn.fetchval(ENQUEUE)
    age = "update jobs_worker_ticks set seen_at = clock_timestamp() - interval '31 s'"
    await conn.execute(age)
    (reason, (detail, advice)), *_ = (await why(job_id)).items()
    assert reason == "worker hangs"
    assert detail.endswith("hang: w, seen last 00:00:31 ago")
    assert "restart it" in advice
    await session.close()
    await start_worker("w2")
    assert list(await why(job_id)) == ["due"]


async def test_a_full_queue_names_who_runs_and_a_higher_limit_lets_the_job_start(
    conn, start_worker, why
):
    await start_worker()
    await conn.execute("select jobs_limit('default', max_running => 1)")
    running = await conn.fetchval(ENQUEUE)
    await conn.execute("select jobs_claim('w')")
    job_id = await conn.fetchval(ENQUEUE)
    detail, advice = (await why(job_id))["limit"]
    told = f"queue default: 1 of 1 run: ids {running}, the oldest for .* worker w"
    assert re.search(told, detail)
    assert advice.endswith("pgjobs limit 'default' --max-running N")
    await conn.execute("select jobs_limit('default', max_running => 2)")
    assert list(await why(job_id)) == ["due"]
    await conn.execute("select jobs_limit('default', max_running => 0)")
    assert "max_running is 0" in (await why(job_id))["limit"][0]


async def test_a_rate_that_is_used_up_is_a_reason_until_it_is_raised(conn, start_worker, why):
    await start_worker()
    limit = "select jobs_limit('default', rate_count => $1, rate_period => '1 h')"
    await conn.execute(limit, 1)
    await conn.execute(ENQUEUE)
    await conn.execute("select jobs_claim('w')")
    job_id = await conn.fetchval(ENQUEUE)
    reasons = await why(job_id)
    assert list(reasons) == ["rate"]
    assert "rate 1 per 01:00:00 used up" in reasons["rate"][0]
    await conn.execute(limit, 2)
    assert list(await why(job_id)) == ["due"]


async def test_a_full_group_names_the_job_that_runs_and_is_free_when_that_ends(
    conn, start_worker, why
):
    await start_worker()
    await conn.execute("select jobs_limit('default', max_running_per_group => 1)")
    enqueue = "select id from jobs_enqueue('t', group_key => 'g')"
    running = await conn.fetchval(enqueue)
    await conn.execute("select jobs_claim('w')")
    job_id = await conn.fetchval(enqueue)
    reasons = await why(job_id)
    assert list(reasons) == ["group"]
    assert re.search(f"group g: 1 of 1 run: ids {running}, .* by worker w", reasons["group"][0])
    await conn.execute("select jobs_complete($1)", running)
    assert list(await why(job_id)) == ["due"]


async def test_in_order_a_group_waits_for_a_retry_until_that_job_is_given_up(
    conn, start_worker, why
):
    await start_worker()
    await conn.execute("select jobs_limit('default', in_order => true)")
    enqueue = "select id from jobs_enqueue('t', group_key => 'g')"
    first = await conn.fetchval(enqueue)
    await conn.execute("select jobs_claim('w')")
    job_id = await conn.fetchval(enqueue)
    await conn.execute("select jobs_fail($1, 'e', retry_in => '1 h')", first)
    detail, advice = (await why(job_id))["group"]
    assert detail == f"group g: waits for the retry of job {first}"
    assert advice.endswith(f"pgjobs cancel {first}")
    await conn.execute("select jobs_cancel($1)", first)
    assert list(await why(job_id)) == ["due"]


async def test_a_group_rate_that_is_used_up_has_its_own_advice(conn, start_worker, why):
    await start_worker()
    limit = "select jobs_limit('default', group_rate_count => $1, group_rate_period => '1 h')"
    await conn.execute(limit, 1)
    enqueue = "select id from jobs_enqueue('t', group_key => 'g')"
    await conn.execute(enqueue)
    await conn.execute("select jobs_claim('w')")
    job_id = await conn.fetchval(enqueue)
    assert "pgjobs limit 'default' --group-rate N/TIME" in (await why(job_id))["group"][1]
    await conn.execute(limit, 2)
    assert "group" not in await why(job_id)


async def test_a_suspect_is_told_until_it_was_cancelled_and_retried(conn, start_worker, why, ids):
    await start_worker("other")
    job_id = await conn.fetchval(ENQUEUE)
    for _ in range(2):
        await conn.execute("update jobs set run_at = clock_timestamp() where status = 'pending'")
        assert await ids("select id from jobs_claim('lost')") == [job_id]
        await conn.execute("select jobs_recover('lost')")
    reasons = await why(job_id)
    assert list(reasons) == ["suspect", "retrying"]
    assert "lost with its worker 2 times" in reasons["suspect"][0]
    await conn.execute("select jobs_cancel($1)", job_id)
    await conn.execute("select jobs_retry($1)", job_id)
    assert list(await why(job_id)) == ["due"]


async def test_a_retry_and_a_later_start_are_due_after_an_edit(conn, start_worker, why):
    await start_worker()
    failed = await conn.fetchval(ENQUEUE)
    await conn.execute("select jobs_claim('w')")
    await conn.execute("select jobs_fail($1, 'e', retry_in => '1 h')", failed)
    later = await conn.fetchval(
        "select id from jobs_enqueue('t', run_at => clock_timestamp() + interval '1 h')"
    )
    for job_id, reason, told in [
        (failed, "retrying", "was claimed once, has spent 1 of 3 retries, and may start again"),
        (later, "not due", "may start in 01:00:00"),
    ]:
        reasons = await why(job_id)
        assert list(reasons) == [reason]
        assert told in reasons[reason][0]
        assert reasons[reason][1].endswith(f"pgjobs edit {job_id} --delay 0s")
        await conn.execute("select jobs_edit($1, run_at => clock_timestamp())", job_id)
        assert reason not in await why(job_id)


async def test_without_a_free_slot_another_worker_is_the_advice(conn, start_worker, why):
    await start_worker("busy", "full")
    job_id = await conn.fetchval(ENQUEUE)
    reasons = await why(job_id)
    assert list(reasons) == ["no slot"]
    assert reasons["no slot"][0].endswith("are full: busy")
    await start_worker("free")
    assert list(await why(job_id)) == ["due"]


async def test_due_jobs_that_come_first_are_counted_and_a_higher_priority_passes_them(
    conn, job, start_worker, why
):
    await start_worker()
    for priority, run_at in [(3, -HOUR), (3, HOUR), (0, -HOUR), (-1, -HOUR), (0, HOUR)]:
        await job(priority=priority, run_at=run_at)
    await job(priority=2, job_type="u")
    job_id = await conn.fetchval(ENQUEUE)
    detail, advice = (await why(job_id))["others first"]
    assert detail == "3 due jobs come before it, 2 of them by a higher priority"
    assert advice.startswith(f"to let it go first: pgjobs edit {job_id} --priority 4; ")
    await conn.execute("select jobs_edit($1, priority => 4)", job_id)
    assert list(await why(job_id)) == ["due"]


async def test_where_jobs_of_the_highest_priority_come_first_no_higher_one_is_advised(
    conn, job, start_worker, why
):
    await start_worker()
    await job(priority=9, run_at=-HOUR)
    _, advice = (await why(await conn.fetchval(ENQUEUE)))["others first"]
    assert advice == "to run all sooner, start more workers, or give them more slots"


async def test_in_a_group_the_jobs_before_it_in_its_group_are_counted(
    conn, job, start_worker, why
):
    await start_worker()
    await conn.execute("select jobs_limit('default', max_running_per_group => 1)")
    await job(group_key="g", run_at=-HOUR)
    await job(group_key="g", run_at=-HOUR, job_type="u")
    await job(group_key="h", run_at=-HOUR)
    job_id = await job(group_key="g")
    assert (await why(job_id))["others first"][0].startswith("1 due job comes before it")
    await conn.execute("select jobs_limit('default', in_order => true)")
    detail, advice = (await why(job_id))["others first"]
    assert detail.startswith("2 due jobs come before it")
    assert advice.startswith(f"to let it go first: pgjobs edit {job_id} --priority 1; ")
    await conn.execute("select jobs_edit($1, priority => 1)", job_id)
    assert list(await why(job_id)) == ["due"]


async def test_a_running_job_says_who_runs_it(conn, start_worker, why):
    await start_worker("w")
    job_id = await conn.fetchval(ENQUEUE)
    await conn.execute("select jobs_claim('w')")
    reasons = await why(job_id)
    assert list(reasons) == ["running"]
    assert re.fullmatch("worker w has held it for .*, as attempt 1", reasons["running"][0])
    await conn.execute("select jobs_cancel($1)", job_id)
    assert list(await why(job_id)) == ["cancelling"]


async def test_a_running_job_whose_worker_hangs_says_so(conn, start_worker, why):
    session = await start_worker("w")
    job_id = await conn.fetchval(ENQUEUE)
    await conn.execute("select jobs_claim('w')")
    await conn.execute(
        "update jobs_worker_ticks set seen_at = clock_timestamp() - interval '31 s'"
    )
    reasons = await why(job_id)
    assert list(reasons) == ["worker hangs"]
    assert reasons["worker hangs"][0].endswith(", and was seen last 00:00:31 ago")
    await session.close()
    await start_worker("w")
    assert "worker hangs" not in await why(job_id)


@pytest.mark.parametrize("reason", ["worker gone", "lease over", "no lease"])
async def test_a_job_whose_worker_is_gone_is_pending_after_a_recovery_by_name(
    conn, start_worker, why, reason
):
    session = await start_worker("it's me") if reason == "worker gone" else None
    job_id = await conn.fetchval(ENQUEUE)
    if reason == "no lease":
        await conn.execute("select jobs_start($1, $2)", job_id, "it's me")
    else:
        await conn.execute("select jobs_claim($1)", "it's me")
    if session:
        await session.close()
    if reason == "lease over":
        await conn.execute("update jobs set lease_until = clock_timestamp() - interval '5 s'")
    reasons = await why(job_id)
    assert list(reasons) == [reason]
    statement = re.search("select count.*", reasons[reason][1])[0]
    assert await conn.fetchval(statement) == 1
    assert await conn.fetchval("select status from jobs") == "pending"


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_an_ended_job_says_how_it_has_ended_and_is_retried(conn, start_worker, why, status):
    await start_worker()
    job_id = await conn.fetchval(ENQUEUE)
    if status == "cancelled":
        await conn.execute("select jobs_cancel($1)", job_id)
    else:
        await conn.execute("select jobs_claim('w')")
        verb = "jobs_complete($1)" if status == "completed" else "jobs_fail($1, 'secret', false)"
        await conn.execute(f"select {verb}", job_id)
    reasons = await why(job_id)
    assert list(reasons) == [status]
    detail, advice = reasons[status]
    assert detail.startswith("it has ended: ")
    assert "secret" not in str(reasons)
    assert f"pgjobs retry {job_id}" in advice
    await conn.execute("select jobs_retry($1)", job_id)
    assert list(await why(job_id)) == ["due"]


@pytest.mark.parametrize("scope", ["live", "pending"])
async def test_an_ended_job_whose_key_is_held_is_retried_after_the_holder_was_cancelled(
    conn, start_worker, why, scope
):
    await start_worker()
    enqueue = "select id from jobs_enqueue('t', unique_key => 'secret', unique_scope => $1)"
    job_id = await conn.fetchval(enqueue, scope)
    await conn.execute("select jobs_cancel($1)", job_id)
    holder = await conn.fetchval(enqueue, scope)
    reasons = await why(job_id)
    assert list(reasons) == ["key held", "cancelled"]
    detail, advice = reasons["key held"]
    assert detail == f"job {holder}, which is pending, holds its unique key"
    assert advice.endswith(f"pgjobs cancel {holder}, then pgjobs retry {job_id}")
    assert "secret" not in str(reasons)
    await conn.execute("select jobs_cancel($1)", holder)
    await conn.execute("select jobs_retry($1)", job_id)
    assert list(await why(job_id)) == ["due"]


async def test_a_key_that_an_ended_job_keeps_is_told_with_a_copy_as_advice(conn, job, why):
    job_id = await job("cancelled", unique_key="k")
    keeper = await job("completed", unique_key="k", unique_scope="kept")
    detail, advice = (await why(job_id))["key held"]
    assert detail == f"job {keeper}, which is completed, holds its unique key"
    copy = await conn.fetchval(re.search("select from jobs_copy.*", advice)[0].replace(
        "select from", "select status from"))
    assert copy == "pending"


async def test_a_job_whose_row_was_made_blocked_by_hand_has_no_parents(conn, job, why):
    job_id = await job("blocked")
    (reason, (_, advice)), *_ = (await why(job_id)).items()
    assert reason == "no parents"
    assert advice == f"pgjobs cancel {job_id}, then pgjobs retry {job_id}"
    await conn.execute("select jobs_cancel($1)", job_id)
    await conn.execute("select jobs_retry($1)", job_id)
    assert "no parents" not in await why(job_id)


async def test_a_blocked_job_waits_for_its_parents(conn, why):
    parents = [await conn.fetchval(ENQUEUE) for _ in range(7)]
    job_id = await conn.fetchval("select id from jobs_enqueue('t', depends_on => $1)", parents)
    (reason, (detail, advice)), *_ = (await why(job_id)).items()
    assert reason == "parents"
    named = ", ".join(f"{parent} (t, pending)" for parent in parents[:5])
    assert detail == f"it waits for 7 of 7 jobs: {named} and others"
    assert advice == f"pgjobs why {parents[0]}"
    await conn.execute("select jobs_cancel_many(job_ids => $1)", parents)
    assert list(await why(job_id)) == ["cancelled"]


async def test_a_job_that_waits_for_all_names_the_parent_that_failed(conn, why):
    parent = await conn.fetchval(ENQUEUE)
    job_id = await conn.fetchval(
        "select id from jobs_enqueue('t', depends_on => $1, on_parent_failed => 'wait')", [parent])
    await conn.execute("select jobs_cancel($1)", parent)
    (reason, (detail, advice)), *_ = (await why(job_id)).items()
    assert reason == "parent failed"
    assert detail.endswith(f"{parent} (t, cancelled)")
    assert advice == f"pgjobs retry {parent}, or give this one up: pgjobs cancel {job_id}"
    await conn.execute("select jobs_retry($1)", parent)
    assert list(await why(job_id)) == ["parents"]
    await conn.execute("delete from jobs where id = $1", parent)
    assert next(iter(await why(job_id))) == "parent gone"


async def test_the_callback_of_an_open_batch_waits_for_the_close(conn, why):
    job_id = await conn.fetchval("select id from jobs_batch('t')")
    (reason, (detail, advice)), *_ = (await why(job_id)).items()
    assert reason == "open batch"
    assert detail == "its batch takes members still; 0 of 0 have ended"
    assert f"select jobs_batch_close({job_id})" in advice
    await conn.execute("select jobs_batch_close($1)", job_id)
    assert "open batch" not in await why(job_id)


async def test_a_job_whose_parents_have_ended_waits_for_a_worker_that_counts(
    conn, start_worker, why
):
    await start_worker()
    parent = await conn.fetchval(ENQUEUE)
    job_id = await conn.fetchval("select id from jobs_enqueue('t', depends_on => $1)", [parent])
    await conn.execute("select jobs_claim('me')")
    await conn.execute("select jobs_complete($1)", parent)
    assert list(await why(job_id)) == ["counting"]
    await conn.execute("select jobs_recover()")
    assert list(await why(job_id)) == ["due"]


async def test_several_reasons_come_worst_first(conn, why):
    await conn.execute("select jobs_pause('default')")
    job_id = await conn.fetchval(
        "select id from jobs_enqueue('t', run_at => clock_timestamp() + interval '1 h')"
    )
    assert list(await why(job_id)) == ["paused", "no worker", "not due"]


async def test_an_observer_may_ask_and_learns_no_secret(conn, job, make_role, acting_as):
    secret = {"payload": '"s3cret"', "unique_key": "s3cret", "error": "s3cret"}
    ids = [
        await job(status, **secret | {"unique_key": f"s3cret {status}"})
        for status in ("pending", "processing", "failed", "cancelled")
    ]
    async with acting_as(await make_role("observer")):
        for job_id in ids:
            rows = await conn.fetch("select * from jobs_why($1)", job_id)
            assert rows
            assert "s3cret" not in str(rows)


async def test_an_unknown_id_and_a_null_id_raise(conn):
    with pytest.raises(JobNotFound, match="there is no job 99"):
        await conn.execute("select jobs_why(99)")
    with pytest.raises(InvalidArgument, match="job_id is missing"):
        await conn.execute("select jobs_why(null)")
