"""By default only the owner has rights, and jobs_grant gives the rights below and no more."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest

from pgjobs.schema.migrate import migrate

Connection = asyncpg.Connection
MakeRole = Callable[..., Awaitable[str]]
ActingAs = Callable[[str], AbstractAsyncContextManager[None]]

READER = {"jobs_outcomes", "jobs_parents", "jobs_watch"}
PRODUCER = {
    "_jobs_enqueue_together", "_jobs_is_new", "jobs_enqueue", "jobs_enqueue_many", "jobs_watch",
    "jobs_batch", "jobs_batch_close",
}
WORKER = READER | {
    "jobs_progress", "_jobs_flow_attach", "_jobs_flow_pending", "_jobs_flow_resolve",
    "jobs_cancel", "jobs_claim", "jobs_complete", "jobs_complete_many", "jobs_fail",
    "jobs_fail_many", "jobs_heartbeat", "jobs_next_due", "jobs_recover", "jobs_release_many",
    "jobs_start", "jobs_worker_start", "jobs_worker_stop", "_jobs_next_due", "_jobs_reconcile",
    "_jobs_recover_own", "_jobs_worker_beat", "_jobs_worker_help", "_jobs_worker_mode",
    "_jobs_worker_tick", "_jobs_worker_watch", "_jobs_end_attempts", "_jobs_claimed",
    "jobs_schedules_fire", "_jobs_schedules_diff", "_jobs_worker_fire", "_jobs_retention_diff",
    "_jobs_retention_enforce", "_jobs_limits_diff", "_jobs_complete_uncounted", "_jobs_note_ends",
}
OBSERVER = {
    "_jobs_audit_search", "jobs_counts", "_jobs_counts", "_jobs_rates", "_jobs_search",
    "_jobs_totals", "jobs_quantile", "_jobs_recent_ends", "_jobs_waiting_groups",
    "jobs_cron_next", "jobs_doctor", "_jobs_doctor_flows", "_jobs_doctor_held",
    "_jobs_doctor_history",
    "_jobs_doctor_leases", "_jobs_doctor_notify",
    "_jobs_doctor_retention", "_jobs_doctor_schedules", "_jobs_doctor_schema",
    "_jobs_doctor_vacuum", "_jobs_doctor_workers", "_jobs_doctor_limits", "_jobs_held_back",
    "_jobs_ids_behind", "_jobs_objects_of_strangers", "_jobs_worker_modes",
    "jobs_schedule_preview", "jobs_why",
}
ADMIN = OBSERVER | READER | {
    "jobs_batch_close", "jobs_cancel", "jobs_cleanup", "jobs_copy", "jobs_edit",
    "jobs_heal_groups", "jobs_limit",
    "jobs_cancel_many", "jobs_edit_many", "jobs_delete_many",
    "jobs_pause", "jobs_recover",
    "jobs_resume",
    "jobs_retry",
    "jobs_retry_many", "jobs_schedule", "jobs_schedule_pause", "jobs_schedule_resume",
    "jobs_schedule_run", "jobs_schedules_fire", "jobs_unschedule", "_jobs_schedules_declare",
    "_jobs_schedules_diff", "jobs_retain", "_jobs_retention_declare", "_jobs_retention_diff",
    "_jobs_limits_declare", "_jobs_limits_diff", "_jobs_limits_undeclare",
    "_jobs_error_line", "_jobs_failures",
}
EVERYBODY = {"_jobs_after", "jobs_channel", "jobs_version"}
FUNCTIONS = {
    "producer": PRODUCER, "worker": WORKER, "observer": OBSERVER, "admin": ADMIN, "reader": READER,
}
VIEWS = {
    "jobs_audit", "jobs_batches", "jobs_durations", "jobs_history",
    "jobs_list", "jobs_queues", "jobs_retention", "jobs_schedule_list", "jobs_stats",
    "jobs_worker_ticks", "jobs_workers",
}
RELATIONS = {
    "producer": set(), "worker": {"jobs_attempts", "jobs_batches"},
    "reader": {"jobs_attempts", "jobs_batches"}, "observer": VIEWS,
    "admin": VIEWS | {
        "jobs", "jobs_schedules", "jobs_attempts", "jobs_flow_edges", "jobs_flows",
    },
}
# The functions that act as the owner: they read or change the tables for other roles.
DEFINERS = PRODUCER | WORKER | (ADMIN - OBSERVER - {"_jobs_error_line", "_jobs_failures"}) | {
    "_jobs_notify", "_jobs_ids_behind", "jobs_counts", "_jobs_counts", "_jobs_rates",
    "_jobs_search", "_jobs_totals", "jobs_cron_next", "jobs_schedule_preview",
    "_jobs_doctor_schedules", "_jobs_doctor_limits", "_jobs_doctor_flows", "_jobs_doctor_held",
    "_jobs_held_back", "_jobs_waiting_groups", "jobs_why",
}


# PostgreSQL cannot inline a function that has settings. It bound the names in these bodies when the
# functions were made, so no search_path can change them.
INLINED = {
    "_jobs_after", "_jobs_bucket", "_jobs_error_line", "_jobs_is_batch", "_jobs_is_locked",
    "_jobs_is_suspect", "_jobs_rank", "_jobs_seconds", "_jobs_told_ends", "_jobs_utc_offset",
}
# Looks at a schema that may hold traps.
ONLY_POSTGRESQL = "_jobs_objects_of_strangers"


async def names(conn: Connection, query: str, *args: Any) -> set[str]:
    return {row[0] for row in await conn.fetch(query, *args)}


async def test_every_function_pins_its_search_path_and_nobody_may_call_it(
    conn: Connection, make_role: MakeRole
) -> None:
    rows = await conn.fetch(
        """select proname, proconfig, prosecdef, has_function_privilege($1, oid, 'execute') as open
        from pg_proc where pronamespace = 'public'::regnamespace""",
        await make_role(),
    )
    assert {row["proname"] for row in rows if row["open"]} == set()
    assert {row["proname"] for row in rows if row["prosecdef"]} == DEFINERS
    bound = await names(
        conn, "select proname from pg_proc where prosqlbody is not null and not prosecdef"
    )
    assert bound >= INLINED
    for row in rows:
        pinned = [s for s in row["proconfig"] or [] if s.startswith("search_path=")]
        first = "pg_catalog" if row["proname"] == ONLY_POSTGRESQL else "public"
        assert pinned == [f"search_path={first}, pg_temp"] or row["proname"] in INLINED


async def test_functions_in_another_schema_pin_their_search_path_and_are_closed_too(
    conn: Connection, pgjobs_dsn: str, make_role: MakeRole, acting_as: ActingAs
) -> None:
    migrate(pgjobs_dsn, schema="Other Jobs")
    rows = await conn.fetch(
        """select proname, proconfig, has_function_privilege($1, oid, 'execute') as open
        from pg_proc where pronamespace = '"Other Jobs"'::regnamespace""",
        await make_role(),
    )
    assert rows
    for row in rows:
        pinned = 'search_path="Other Jobs", pg_temp' in (row["proconfig"] or [])
        assert pinned or row["proname"] in INLINED | {ONLY_POSTGRESQL}
        assert not row["open"], row["proname"]
    role = await make_role()
    await conn.execute("select \"Other Jobs\".jobs_grant($1, 'producer')", role)
    async with acting_as(role):
        assert await conn.fetchval("select id from \"Other Jobs\".jobs_enqueue('a')") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("select from public.jobs_enqueue('a')")


@pytest.mark.parametrize("as_what", FUNCTIONS)
async def test_a_role_gets_the_planned_rights_and_no_more(
    conn: Connection, make_role: MakeRole, as_what: str
) -> None:
    role = await make_role(as_what)
    callable_ = await names(
        conn,
        """select proname from pg_proc where pronamespace = 'public'::regnamespace
        and has_function_privilege($1, oid, 'execute')""",
        role,
    )
    assert callable_ == FUNCTIONS[as_what] | EVERYBODY
    relations = """select relname from pg_class where relnamespace = 'public'::regnamespace
        and relkind in ('r', 'v', 'S') and has_table_privilege($1, oid, $2)"""
    assert await names(conn, relations, role, "select") == RELATIONS[as_what]
    for privilege in ("insert", "update", "delete", "truncate", "references", "trigger"):
        assert await names(conn, relations, role, privilege) == set(), privilege


async def test_migrating_again_keeps_the_grants(
    conn: Connection, pgjobs_dsn: str, make_role: MakeRole
) -> None:
    role = await make_role("producer")
    await conn.execute("grant execute on function jobs_retry to public")
    migrate(pgjobs_dsn)
    query = """select proname from pg_proc where pronamespace = 'public'::regnamespace
        and has_function_privilege($1, oid, 'execute')"""
    assert await names(conn, query, role) == PRODUCER | EVERYBODY


async def test_a_producer_that_logs_in_enqueues_and_wakes_listeners(
    conn: Connection, pgjobs_dsn: str, make_role: MakeRole
) -> None:
    role = await make_role("producer")
    heard: list[str] = []
    await conn.add_listener("public.jobs", lambda *args: heard.append(args[3]))
    producer = await asyncpg.connect(pgjobs_dsn, user=role)
    try:
        job = await producer.fetchrow("""select * from jobs_enqueue('a', '{"secret": 1}')""")
        ids = await producer.fetch("""select * from jobs_enqueue_many('[{"job_type": "b"}]')""")
        assert job is not None
        assert job["payload"] == '{"secret": 1}'
        assert len(ids) == 1
        for statement in (
            "select from jobs",
            "select from jobs_list",
            "insert into jobs (job_type) values ('a')",
            "select from jobs_claim('me')",
            "select _jobs_signal('default', now())",
            "select _jobs_signal_jobs('{1}')",
            "select from _jobs_worker_modes()",
            "select from _jobs_lock(1)",
            "select jobs_grant('postgres', 'admin')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await producer.execute(statement)
    finally:
        await producer.close()
    await conn.execute("select 1")
    assert heard == ["default", "default"]


async def test_a_worker_does_all_of_its_work_without_reading_the_table(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    await conn.execute("select jobs_enqueue_many($1)", '[{"job_type": "a"}, {"job_type": "b"}]')
    async with acting_as(await make_role("worker")):
        await conn.execute("select from jobs_worker_start('w', '{default}', null, 1)")
        jobs = await conn.fetch("select id, payload, attempt from jobs_claim('w', max_jobs => 2)")
        assert [job["payload"] for job in jobs] == ["{}", "{}"]
        ids, attempts = [j["id"] for j in jobs], [j["attempt"] for j in jobs]
        beat = await conn.fetch(
            "select state from jobs_heartbeat('w', $1, $2, '1 minute')", ids, attempts
        )
        assert [row["state"] for row in beat] == ["held", "held"]
        await conn.execute("select from jobs_fail($1, 'no')", ids[1])
        done = await conn.fetch(
            "select jobs_complete_many('w', $1, $2, $3)", ids[:1], attempts[:1], [None]
        )
        assert len(done) == 1
        for mode in ("listening", "polling", "full"):
            assert await conn.fetchval("select _jobs_worker_mode('w', $1)", mode)
        for statement in (
            "_jobs_worker_tick('w')",
            "_jobs_worker_tick('w', false)",
            "_jobs_worker_watch('w', '{}')",
        ):
            assert len(await conn.fetch(f"select * from {statement}")) == 1
        await conn.execute(
            """select jobs_channel('jobs_signal'), _jobs_next_due('{default}', '{a}', '{}'),
                _jobs_recover_own('w', now() - interval '1 hour', 1);
            select from _jobs_reconcile('w', '{}', '{}', 1);
            select from _jobs_end_attempts('w', '{}', '{}', '{}', '{}', '{}', true);
            select from _jobs_claimed('w', 1, 1);
            select from _jobs_worker_beat('w', '{}', '{}', '1 minute', '1 s')"""
        )
        await conn.execute("select from jobs_worker_stop('w')")
        await conn.execute("""select from jobs_schedules_fire(); select from _jobs_worker_fire();
            select from _jobs_schedules_diff('app', '[]');
            select from _jobs_retention_enforce(); select from _jobs_retention_diff('app', '[]');
            select from _jobs_limits_diff('app', '[]')""")
        for statement in ("select from jobs", "select from jobs_enqueue('a')",
                          "select from jobs_schedules",
                          "select from jobs_schedule('a', 't', '@daily')",
                          "select from _jobs_schedules_declare('app', '[]')",
                          "select from jobs_retention", "select jobs_retain('failed', '1 day')",
                          "select from _jobs_retention_declare('app', '[]')",
                          "select from _jobs_limits_declare('app', '[]')",
                          "select _jobs_limits_undeclare('q')",
                          "select from jobs_retry(1)", "select jobs_cleanup()",
                          "select _jobs_signal('default', now())",
                          "select _jobs_recover('{}')", "select from jobs_workers"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)


async def test_what_a_worker_gives_back_or_takes_back_is_signalled_to_listening_workers(
    conn: Connection,
    pgjobs_dsn: str,
    make_role: MakeRole,
) -> None:
    """The worker's role may not signal by itself; the functions signal as their owner."""
    role = await make_role("worker")
    sessions = [await asyncpg.connect(pgjobs_dsn, user=role) for _ in range(2)]
    listening, working = sessions
    heard: list[str] = []
    try:
        await listening.add_listener("public.jobs_signal", lambda *args: heard.append(args[3]))
        key = await listening.fetchval(
            "select listening_key from jobs_worker_start('listening', '{default}', null, 1)"
        )
        assert await listening.fetchval("select _jobs_worker_mode('listening', 'listening')")
        heard.clear()
        await conn.execute("select jobs_enqueue('a') from generate_series(1, 4)")
        await working.execute("select from jobs_claim('w', max_jobs => 4)")
        signals = [
            "select from jobs_release_many('w', '{1}', '{1}')",
            "select from jobs_fail(2, 'e')",
            "select from _jobs_worker_beat('w', '{}', '{}', '1 min', '-1 s')",
        ]
        for statement in signals:
            await listening.execute("select 1")
            heard.clear()
            await working.execute(statement)
            await listening.execute("select 1")
            assert [payload.split()[0] for payload in heard] == [str(key)], statement
    finally:
        for session in sessions:
            await session.close()


async def test_an_observer_sees_jobs_but_not_their_payloads_and_errors(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    await conn.execute(
        """select from jobs_enqueue('a', '{"secret": 1}', unique_key => 'secret', max_retries => 0);
        select from jobs_claim('w'); select from jobs_fail(1, 'the secret is 1')"""
    )
    assert await conn.fetchval("select error from jobs_list") == "the secret is 1"
    async with acting_as(await make_role("observer")):
        rows = await conn.fetch("select * from jobs_list")
        assert [row["status"] for row in rows] == ["failed"]
        assert "secret" not in str(rows)
        assert await conn.fetchval("select count from jobs_stats") == 1
        assert await conn.fetch("select * from jobs_doctor()")
        await conn.fetch("select * from _jobs_worker_modes()")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute("select payload from jobs")
        # A condition that would print its arguments gets no more than the observer may see.
        await conn.execute("set client_min_messages = error")
        assert not await conn.fetch("select id from jobs_list where error is not null")


async def test_an_observer_sees_schedules_but_not_their_payloads_and_errors(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    await conn.execute(
        """select from jobs_schedule('nightly', 't', '0 3 * * *', payload => '{"secret": 1}');
        update jobs_schedules set error = 'the secret is 1'"""
    )
    assert await conn.fetchval("select error from jobs_schedule_list") == "the secret is 1"
    errors = "select detail from jobs_doctor() where check_name = 'schedules with an error'"
    assert "the secret is 1" in await conn.fetchval(errors)
    async with acting_as(await make_role("observer")):
        rows = await conn.fetch("select * from jobs_schedule_list")
        assert [row["name"] for row in rows] == ["nightly"]
        assert "secret" not in str(rows)
        assert await conn.fetchval(errors) == "nightly"
        assert await conn.fetch("select * from jobs_schedule_preview('nightly')")
        assert await conn.fetchval("select jobs_cron_next('0 3 29 2 *')")
        for statement in ("select name from jobs_schedules",
                          "select from jobs_schedule('a', 't', '@daily')",
                          "select from jobs_schedule_run('nightly')",
                          "select from jobs_schedule_pause('nightly')",
                          "select from jobs_schedules_fire()",
                          "select from jobs_unschedule('nightly')"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)


async def test_an_observer_sees_how_long_jobs_stay_and_changes_nothing(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    await conn.execute(
        """create function refuse() returns trigger language plpgsql as $$
        begin raise 'the secret is %', old.payload; end $$;
        create trigger refuse before delete on jobs for each row execute function refuse();
        insert into jobs (job_type, status, finished_at) values ('t', 'failed', '2020-01-01');
        select jobs_retain('failed', '1 day'); select from _jobs_retention_enforce()"""
    )
    async with acting_as(await make_role("observer")):
        (rule,) = await conn.fetch("select * from jobs_retention")
        assert rule["error"] == "job 1: SQLSTATE P0001"
        assert "secret" not in str(await conn.fetch("select * from jobs_doctor()"))
        for statement in ("select jobs_retain('failed', null)", "delete from jobs_retention",
                          "select from _jobs_retention_enforce()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)


async def test_an_admin_manages_but_does_not_write_by_hand(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    await conn.execute("select from jobs_enqueue('a')")
    async with acting_as(await make_role("admin")):
        await conn.execute(
            """select from jobs_pause('default'); select from jobs_resume('default');
            select from jobs_cancel(1); select from jobs_retry(1); select jobs_retry_many();
            select from jobs_edit(1, priority => 1); select from jobs_copy(1);
            select jobs_edit_many(2, job_types => '{a}'); select jobs_cancel_many('{1}');
            select jobs_delete_many('{77}');
            select jobs_cleanup(); select from jobs_recover(); select payload from jobs;
            select from jobs_schedule('a', 't', '@daily'); select from jobs_schedule_run('a');
            select from jobs_schedule_pause('a'); select from jobs_schedule_resume('a');
            select from jobs_schedules_fire(); select payload from jobs_schedules;
            select from _jobs_schedules_diff('app', '[]');
            select from _jobs_schedules_declare('app', '[{"name": "b", "job_type": "t",
                "every": "1 h"}]');
            select from jobs_unschedule('a'); select jobs_retain('failed', '1 day');
            select from _jobs_retention_diff('app', '[]');
            select from _jobs_retention_declare('app', '[{"name": "completed",
                "status": "completed", "keep_for": "7 d"}]');
            select from _jobs_limits_diff('app', '[]'); select _jobs_limits_undeclare('q');
            select from _jobs_limits_declare('app', '[{"name": "q", "max_running": 5}]')"""
        )
        for statement in ("delete from jobs", "select from jobs_claim('w')",
                          "delete from jobs_schedules", "delete from jobs_retention",
                          "select from _jobs_retention_enforce()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await conn.execute(statement)


async def test_a_role_with_insert_alone_may_copy_into_the_table(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    role = await make_role()
    await conn.execute(f'grant insert (job_type) on jobs to "{role}"')
    async with acting_as(role):
        await conn.execute("insert into jobs (job_type) values ('a')")
        await conn.copy_records_to_table("jobs", records=[("b",)], columns=["job_type"])
    assert await conn.fetchval("select count(*) from jobs") == 2


async def test_jobs_grant_says_why_it_refuses(
    conn: Connection, pgjobs_dsn: str, make_role: MakeRole, acting_as: ActingAs
) -> None:
    with pytest.raises(asyncpg.PostgresError, match="there is no role nobody_of_that_name"):
        await conn.execute("select jobs_grant('nobody_of_that_name', 'producer')")
    with pytest.raises(asyncpg.PostgresError, match="producer, worker, observer, admin or reader"):
        await conn.execute("select jobs_grant('postgres', null)")
    other, role = await make_role(), await make_role()
    await conn.execute(f'grant execute on function jobs_grant to "{other}"')
    async with acting_as(other):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="owner of jobs, may grant"):
            await conn.execute("select jobs_grant($1, 'producer')", role)
    await conn.execute("grant create on schema public to public")
    with pytest.raises(asyncpg.PostgresError, match="may create objects in schema public"):
        await conn.execute("select jobs_grant($1, 'producer')", role)


async def test_a_role_that_can_become_a_role_that_may_create_objects_is_refused_too(
    conn: Connection, make_role: MakeRole
) -> None:
    builder, role = await make_role(), await make_role()
    await conn.execute(
        f"""grant create on schema public to "{builder}"; alter role "{role}" noinherit;
        grant "{builder}" to "{role}" """
    )
    assert not await conn.fetchval("select has_schema_privilege($1, 'public', 'create')", role)
    with pytest.raises(asyncpg.PostgresError, match="may create objects in schema public"):
        await conn.execute("select jobs_grant($1, 'producer')", role)
    await conn.execute(f'revoke create on schema public from "{builder}"')
    await conn.execute("select jobs_grant($1, 'producer')", role)


@pytest.mark.parametrize("as_what", FUNCTIONS)
async def test_granting_twice_equals_granting_once_and_a_revoke_takes_all_rights_back(
    conn: Connection, make_role: MakeRole, as_what: str
) -> None:
    acls = """select p.proname, p.proacl::text from pg_proc p
        where p.pronamespace = 'public'::regnamespace union all
        select c.relname, c.relacl::text from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relname ~ '^jobs' order by 1"""
    role = await make_role(as_what)
    once = await conn.fetch(acls)
    await conn.execute("select jobs_grant($1, $2)", role, as_what)
    assert await conn.fetch(acls) == once
    # As docs/cli.md says. For a downgrade: revoke all rights, then grant the smaller set.
    await conn.execute(
        f"""revoke all on all functions in schema public from "{role}";
        revoke all on all tables in schema public from "{role}" """
    )
    assert role not in str(await conn.fetch(acls))
    await conn.execute("select jobs_grant($1, 'producer')", role)
    left = """select proname from pg_proc where pronamespace = 'public'::regnamespace
        and has_function_privilege($1, oid, 'execute')"""
    assert await names(conn, left, role) == PRODUCER | EVERYBODY


async def test_an_owner_without_login_installs_and_serves_producers_and_workers(
    conn: Connection, pgjobs_dsn: str, make_role: MakeRole, acting_as: ActingAs
) -> None:
    owner, producer = await make_role(), await make_role()
    await conn.execute(f'alter role "{owner}" nologin')
    database = await conn.fetchval("select quote_ident(current_database())")
    await conn.execute(f'grant create on database {database} to "{owner}"')
    escaped = owner.replace(" ", "%5C%20")
    migrate(f"{pgjobs_dsn}&options=-c%20role%3D{escaped}", schema="owned")
    owners = await names(
        conn,
        """select distinct proowner::regrole::text from pg_proc
        where pronamespace = 'owned'::regnamespace""",
    )
    assert owners == {f'"{owner}"'}
    async with acting_as(owner):
        await conn.execute("select owned.jobs_grant($1, 'producer')", producer)
    async with acting_as(producer):
        assert await conn.fetchval("select id from owned.jobs_enqueue('a')") == 1
    async with acting_as(owner):
        assert await conn.fetchval("select id from owned.jobs_claim('w')") == 1
