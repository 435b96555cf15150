"""jobs_audit has who changed what by a managing function, for 400 days, and no payload."""

import json
from typing import Any

import asyncpg
import pytest

from pgjobs.database import Database

SECRET = "hunter2"
JOB = "select from jobs_enqueue('t', queue => 'q', reference_type => 'order', reference_id => 7)"
FAILED = f"""{JOB}; select from jobs_claim('w', '{{q}}');
    select from jobs_fail(1, '{SECRET}', retry => false)"""
SCHEDULE = "select from jobs_schedule('nightly', 't', '0 3 * * *')"
ALL = ("action", "job_id", "jobs", "filters", "reason")

# By call: what stands before it, and the row: action, job, how many, filters, reason.
CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "jobs_cancel(1, 'wrong order')": (JOB, ("cancel", 1, 1, None, "wrong order")),
    "jobs_cancel_many(queues => '{q}', reason => 'sold out')": (
        f"{JOB}; {JOB}", ("cancel", None, 2, {"queues": ["q"]}, "sold out"),
    ),
    "jobs_recover('w')": (
        f"{JOB}; select jobs_claim('w', '{{q}}')", ("recover", None, 1, {"worker": "w"}, None),
    ),
    "jobs_retry(1)": (FAILED, ("retry", 1, 1, None, None)),
    "jobs_retry_many()": (FAILED, ("retry", None, 1, None, None)),
    "jobs_retry_many(job_types => '{t,u}', failed_before => '2100-01-01')": (
        FAILED, ("retry", None, 1, {
            "job_types": ["t", "u"], "failed_before": "2100-01-01T00:00:00+00:00"}, None),
    ),
    f"jobs_edit(1, '\"{SECRET}\"', priority => 3)": (
        JOB, ("edit", 1, 1, {"fields": ["payload", "priority"]}, None),
    ),
    "jobs_edit_many(set_queue => 'r', reference_type => 'order', reference_id => 7)": (
        JOB, ("edit", None, 1, {
            "reference_type": "order", "reference_id": 7, "fields": ["queue"]}, None),
    ),
    "jobs_copy(1)": (JOB, ("copy", 1, 1, {"copy": 2}, None)),
    f"jobs_copy(1, '\"{SECRET}\"')": (
        JOB, ("copy", 1, 1, {"copy": 2, "fields": ["payload"]}, None),
    ),
    "jobs_delete_many(job_ids => '{1,2}')": (
        FAILED, ("delete", None, 1, {"job_ids": [1, 2]}, None),
    ),
    "jobs_pause('q', '2100-01-01', 'the mail server moves')": (
        "", ("pause", None, None, {"queue": "q", "until": "2100-01-01T00:00:00+00:00"},
             "the mail server moves"),
    ),
    "jobs_resume('q')": ("", ("resume", None, None, {"queue": "q"}, None)),
    "jobs_limit('q', max_running => 5, in_order => true)": (
        "", ("limit", None, None, {
            "queue": "q", "max_running": 5, "max_running_per_group": 1, "in_order": True}, None),
    ),
    "jobs_retain('failed', '7 days', 't')": (
        "", ("retain", None, None, {
            "status": "failed", "job_type": "t", "keep_for": "7 days"}, None),
    ),
    "jobs_retain('failed', null)": ("", ("retain", None, None, {"status": "failed"}, None)),
    f"jobs_schedule('nightly', 't', '0 3 * * *', payload => '\"{SECRET}\"')": (
        "", ("schedule", None, None, {
            "name": "nightly", "job_type": "t", "cron": "0 3 * * *", "timezone": "UTC",
            "queue": "default"}, None),
    ),
    "jobs_unschedule('nightly')": (
        SCHEDULE, ("unschedule", None, None, {"name": "nightly"}, None),
    ),
    "jobs_schedule_pause('nightly')": (
        SCHEDULE, ("schedule_pause", None, None, {"name": "nightly"}, None),
    ),
    "jobs_schedule_resume('nightly')": (
        SCHEDULE, ("schedule_resume", None, None, {"name": "nightly"}, None),
    ),
    "jobs_schedule_run('nightly')": (
        SCHEDULE, ("schedule_run", 1, 1, {"name": "nightly"}, None),
    ),
}


async def audit(conn: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await conn.fetch("select * from jobs_audit order by id")
    return [
        tuple(
            json.loads(row[name]) if name == "filters" and row[name] else row[name]
            for name in ALL
        )
        for row in rows
    ]


@pytest.mark.parametrize("call", CALLS)
async def test_each_managing_function_leaves_its_row(conn, call):
    made, expected = CALLS[call]
    await conn.execute("set timezone = 'UTC'")
    await conn.execute(f"{made}; truncate jobs_audit")
    await conn.execute(f"select from {call}")
    assert await audit(conn) == [expected]
    assert await conn.fetchval("select now() - at < '1 minute' from jobs_audit")
    row = await conn.fetchrow("select db_role, set_role, actor, session_user from jobs_audit")
    assert row[0] == row[3]
    assert row[1:3] == (None, None)
    assert SECRET not in str(await conn.fetch("select a::text from jobs_audit a"))


async def test_a_cleanup_leaves_its_row_if_it_deletes_something(conn, job):
    await job("failed")
    await conn.execute("select jobs_cleanup('0')")
    assert await audit(conn) == []
    await conn.execute("select jobs_cleanup('0', '{failed,cancelled}')")
    [(action, _, jobs, filters, _)] = await audit(conn)
    assert (action, jobs, filters["statuses"]) == ("cleanup", 1, ["failed", "cancelled"])
    assert filters["finished_before"]


async def test_a_grant_leaves_its_row(conn, make_role):
    role = await make_role("observer")
    assert await audit(conn) == [
        ("grant", None, None, {"role_name": role, "as_what": "observer"}, None)
    ]


async def test_each_function_that_notes_its_call_is_tried_here(conn):
    writers = await conn.fetch(
        """select p.proname from pg_proc p where p.prosrc like '%_jobs_audit_note(%'
        and p.pronamespace = 'public'::regnamespace"""
    )
    tried = {call.partition("(")[0] for call in CALLS} | {"jobs_cleanup", "jobs_grant"}
    assert {row[0] for row in writers} == tried


async def test_calls_that_change_no_job_leave_no_row(conn, job):
    await job("cancelled")
    for call in ("jobs_cancel(1)", "jobs_cancel_many(queues => '{none}')", "jobs_retry_many()",
                 "jobs_edit_many(1, queues => '{none}')", "jobs_delete_many(queues => '{none}')",
                 "jobs_cleanup()"):
        await conn.execute(f"select from {call}")
    with pytest.raises(asyncpg.PostgresError, match="no filter"):
        await conn.execute("select jobs_cancel_many()")
    with pytest.raises(asyncpg.PostgresError, match="no job 9"):
        await conn.execute("select from jobs_retry(9)")
    assert await audit(conn) == []


async def test_a_batch_after_the_other_leaves_a_row_each(conn, job):
    for _ in range(3):
        await job()
    for _ in range(3):
        await conn.execute("select jobs_cancel_many(job_types => '{t}', max_jobs => 2)")
    assert [row[2] for row in await audit(conn)] == [2, 1]


async def test_a_cancel_downstream_counts_all_that_it_cancels(conn):
    await conn.execute("select from jobs_enqueue('t')")
    await conn.execute("select from jobs_enqueue('t', depends_on => '{1}')")
    await conn.execute("select from jobs_enqueue('t', depends_on => '{2}')")
    await conn.execute("select from jobs_cancel(1, downstream => true)")
    assert await audit(conn) == [("cancel", 1, 3, {"downstream": True}, None)]


async def test_a_cancel_request_to_a_running_job_leaves_its_row(conn, job):
    job_id = await job("processing")
    await conn.execute("select from jobs_cancel($1, 'too slow')", job_id)
    assert await audit(conn) == [("cancel", job_id, 1, None, "too slow")]


async def test_a_call_that_is_rolled_back_leaves_no_row(conn, job):
    job_id = await job()
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("select from jobs_cancel($1)", job_id)
    assert len(await audit(conn)) == 1
    await transaction.rollback()
    assert await audit(conn) == []


async def test_two_sessions_that_manage_at_once_wait_for_each_other_for_no_row(conn, other, job):
    first, second = await job(), await job()
    async with conn.transaction():
        await conn.execute("select from jobs_cancel($1)", first)
        await other.execute("select from jobs_cancel($1)", second)  # has a lock_timeout
        assert [row[1] for row in await audit(other)] == [second]
    assert {row[1] for row in await audit(conn)} == {first, second}


async def test_the_role_that_logged_in_is_noted_and_not_the_owner(
    conn, pgjobs_dsn, make_role, job
):
    admin = await make_role("admin")
    await job()
    await conn.execute("truncate jobs_audit")
    session = await asyncpg.connect(pgjobs_dsn, user=admin)
    try:
        await session.execute("select from jobs_cancel(1)")
    finally:
        await session.close()
    row = await conn.fetchrow("select db_role, set_role, actor from jobs_audit")
    assert tuple(row) == (admin, None, None)


async def test_a_role_that_set_role_chose_is_noted_beside_the_one_that_logged_in(
    conn, make_role, acting_as, job
):
    admin, me = await make_role("admin"), await conn.fetchval("select session_user")
    await job()
    await conn.execute("truncate jobs_audit")
    async with acting_as(admin):
        await conn.execute("select from jobs_cancel(1)")
    row = await conn.fetchrow("select db_role, set_role from jobs_audit")
    assert tuple(row) == (me, admin)


async def test_an_actor_that_is_told_for_a_transaction_is_noted_for_that_transaction(conn):
    async with conn.transaction():
        await conn.execute("set local pgjobs.actor = 'anna@example.org'")
        await conn.execute("select from jobs_pause('q')")
    await conn.execute("select from jobs_resume('q')")
    actors = await conn.fetch("select actor from jobs_audit order by id")
    assert [row[0] for row in actors] == ["anna@example.org", None]


@pytest.mark.parametrize(
    ("told", "noted"),
    [
        ("", None),
        ("'; drop table jobs_audit; --", "'; drop table jobs_audit; --"),
        ("anna\nbert\x1b[31m\x7f\t", "anna bert [31m  "),
        ("Ägid 😀", "Ägid 😀"),
        ("a" * 100_000, "a" * 200),
        ("😀" * 1000, "😀" * 200),
    ],
)
async def test_a_hostile_actor_is_noted_harmlessly(conn, told, noted):
    await conn.execute("select set_config('pgjobs.actor', $1, false)", told)
    await conn.execute("select from jobs_pause('q')")
    assert await conn.fetchval("select actor from jobs_audit") == noted


async def test_of_long_filters_the_first_elements_are_kept_and_how_many_there_were(conn, job):
    await job()
    await conn.execute(
        """select jobs_cancel_many(
            job_ids => array(select generate_series(1, 5000)),
            job_types => array['t', repeat('x', 100000)],
            queues => array['default', null],
            reason => repeat('y', 100000))"""
    )
    [(_, _, jobs, filters, reason)] = await audit(conn)
    assert jobs == 1
    assert filters == {
        "job_ids": list(range(1, 21)), "job_ids_in_all": 5000,
        "job_types": ["t", "x" * 512], "queues": ["default", None],
    }
    assert reason == "y" * 1000


async def test_a_payload_a_result_an_error_and_headers_are_nowhere_in_it(conn):
    secret = json.dumps({SECRET: [SECRET]})
    await conn.execute(
        f"""select from jobs_enqueue('t', '{secret}', headers => '{secret}',
            unique_key => '{SECRET}');
        select from jobs_claim('w'); select from jobs_fail(1, '{SECRET}', retry_in => '1 h');
        select from jobs_edit(1, '{secret}'); select from jobs_copy(1, '{secret}');
        select from jobs_schedule('s', 't', '@daily', payload => '{secret}');
        select from jobs_cancel(1); select from jobs_retry(1);
        select from jobs_cancel_many(job_types => '{{t}}');
        select from jobs_delete_many(job_types => '{{t}}')"""
    )
    rows = await conn.fetch("select a::text from jobs_audit a")
    assert len(rows) == 7
    assert SECRET not in str(rows)


async def test_what_workers_do_by_themselves_leaves_no_row(conn, job, start_worker):
    worker = await start_worker()
    await conn.execute(f"{SCHEDULE}; select jobs_retain('completed', '0'); truncate jobs_audit")
    await conn.execute("update jobs_schedules set next_at = now() - interval '1 s'")
    await job("completed", finished_at=-(await conn.fetchval("select interval '1 hour'")))
    cancelled = await job("processing", worker="w")
    await job("processing", lease_until=-(await conn.fetchval("select interval '1 hour'")))
    await job(expires_at=-(await conn.fetchval("select interval '1 hour'")))
    await worker.execute("select from jobs_cancel($1, 'no', 'w', 1)", cancelled)
    await worker.execute("select from _jobs_worker_tick('w')")
    await worker.execute("select from _jobs_worker_fire()")
    await worker.execute("select from _jobs_retention_enforce()")
    await worker.execute("select from jobs_recover()")
    await conn.execute(
        """select from jobs_enqueue('k', unique_key => 'a', unique_scope => 'pending');
        select from jobs_enqueue('k', unique_key => 'a', unique_scope => 'pending',
                                 on_conflict => 'replace')"""
    )
    jobs = await conn.fetch("select job_type, status, error from jobs order by id")
    assert [tuple(row) for row in jobs] == [
        ("t", "cancelled", "no"),
        ("t", "pending", None),
        ("t", "cancelled", "expired"),
        ("t", "pending", None),
        ("k", "pending", None),
    ]
    assert await audit(conn) == []


async def test_a_full_tick_deletes_what_is_older_than_400_days(conn, start_worker):
    worker = await start_worker()
    for queue in "abc":
        await conn.execute("select from jobs_pause($1)", queue)
    await conn.execute("update jobs_audit set at = now() - interval '399 days 23 hours'")
    await worker.execute("select from _jobs_worker_tick('w')")
    assert len(await audit(conn)) == 3
    await conn.execute("update jobs_audit set at = now() - interval '401 days' where id < 3")
    await worker.execute("select from _jobs_worker_tick('w', false)")
    assert len(await audit(conn)) == 3
    await worker.execute("select from _jobs_worker_tick('w')")
    assert [row[3] for row in await audit(conn)] == [{"queue": "c"}]


async def test_old_rows_go_in_parts_and_a_locked_one_is_skipped(conn, other):
    for queue in "abc":
        await conn.execute("select from jobs_pause($1)", queue)
    await conn.execute("update jobs_audit set at = now() - interval '401 days'")
    async with other.transaction():
        await other.execute("select from jobs_audit where id = 1 for update")
        assert await conn.fetchval("select _jobs_audit_expire(1)") == 1
        assert [row[3]["queue"] for row in await audit(conn)] == ["a", "c"]
    assert await conn.fetchval("select _jobs_audit_expire(9)") == 2
    assert await conn.fetchval("select _jobs_audit_expire(9)") == 0


READS = """select seq_tup_read, idx_tup_fetch from pg_stat_xact_user_tables
    where relname = 'jobs_audit'"""


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_look_for_old_rows_and_a_page_of_new_ones_read_few_of_many(conn, analyzed):
    await conn.execute(
        """insert into jobs_audit (db_role, action)
        select 'postgres', 'pause' from generate_series(1, 50000)"""
    )
    if analyzed:
        await conn.execute("analyze jobs_audit")
    database = Database(conn)
    transaction = conn.transaction()
    await transaction.start()
    assert await conn.fetchval("select _jobs_audit_expire(1000)") == 0
    assert tuple(await conn.fetchrow(READS)) == (0, 20)
    rows, gave_up_at = await database.audit_search(max_rows=20)
    assert [row["id"] for row in rows] == list(range(50_000, 49_980, -1))
    assert gave_up_at is None
    rows, _ = await database.audit_search(["pause"], max_rows=20, before=100)
    assert rows[0]["id"] == 99
    seq_tup_read, idx_tup_fetch = await conn.fetchrow(READS)
    assert seq_tup_read == 0
    assert idx_tup_fetch <= 64
    await transaction.rollback()


async def test_an_observer_reads_it_and_writes_nothing(conn, make_role, acting_as):
    await conn.execute("select from jobs_pause('q')")
    async with acting_as(await make_role("observer")):
        assert await conn.fetchval("select count(*) from jobs_audit where action = 'pause'") == 1
        for statement in (
            "insert into jobs_audit (db_role, action) values ('me', 'x')",
            "update jobs_audit set actor = 'bert'", "delete from jobs_audit",
            "truncate jobs_audit", "select _jobs_audit_note('x')", "select _jobs_audit_expire(1)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)


@pytest.mark.parametrize("grant", ["producer", "worker", "reader"])
async def test_producers_workers_and_readers_do_not_read_it(conn, make_role, acting_as, grant):
    async with acting_as(await make_role(grant)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("select from jobs_audit")


async def test_an_admin_that_may_not_write_it_leaves_rows_by_what_it_calls(
    conn, make_role, acting_as
):
    async with acting_as(await make_role("admin")):
        await conn.execute("select from jobs_pause('q')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("delete from jobs_audit")
        assert await conn.fetchval("select count(*) from jobs_audit where action = 'pause'") == 1
