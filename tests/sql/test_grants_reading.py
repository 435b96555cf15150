"""A role cannot get data that it may not read, not even in an indirect way."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest

Connection = asyncpg.Connection
MakeRole = Callable[..., Awaitable[str]]
ActingAs = Callable[[str], AbstractAsyncContextManager[None]]

SECRET, KEY = "s3cret", "k3y"
REFUSED = [
    "table jobs",
    "select count(*) from jobs",
    "select id from jobs",
    "copy jobs to stdout",
    "explain (analyze) select * from jobs where payload is not null",
    "create temp table copied (like jobs)",
    "create temp view v as select * from jobs; table v",
    "do $$ begin lock table jobs in access share mode; end $$",
    "select currval('jobs_id_seq')",
    "select last_value from jobs_id_seq",
    "select setval('jobs_id_seq', 1)",
    "select nextval('jobs_id_seq')",
    "update jobs set payload = payload",
    "delete from jobs",
    "truncate jobs",
    "select _jobs_lock(1)",
    "select _jobs_lock_fenced(1, 'w', 1)",
    "select _jobs_end_attempt(1, 'e', false, null)",
    "select * from jobs_start(1, 'w')",
    "select * from jobs_cancel(1)",
    "select * from jobs_retry(1)",
    "select * from jobs_edit(1)",
    "select * from jobs_copy(1)",
    "select jobs_cancel_many('{1}')",
    "select jobs_edit_many(1, job_ids => '{1}')",
    "select jobs_delete_many('{1}')",
    "select * from jobs_complete(1)",
    "select * from jobs_recover()",
    "create trigger t after insert on jobs execute function suppress_redundant_updates_trigger()",
    "create rule r as on insert to jobs do also select 1",
    "create policy p on jobs",
    "create index on jobs (id)",
    "comment on table jobs is 'mine'",
    "alter function jobs_enqueue owner to current_user",
]
# Functions that print their arguments. The planner takes them for the cheapest functions, and so
# would call them before the conditions of a view.
LEAK = """
    create function pg_temp.leak(value anyelement) returns boolean language plpgsql
        cost 0.0000001 as $$ begin raise notice 'seen: %', value; return true; end $$;
    create function pg_temp.leaky_equal(a text, b text) returns boolean language plpgsql
        cost 0.0000001 as $$ begin raise notice 'seen: % and %', a, b; return a = b; end $$;
    create operator pg_temp.=== (function = pg_temp.leaky_equal, leftarg = text, rightarg = text,
        restrict = eqsel, hashes, merges);
"""


@pytest.fixture
async def secrets(conn: Connection) -> Connection:
    """Jobs with secrets in all columns that not everybody may read, and statistics of them."""
    await conn.execute(
        f"""select from generate_series(1, 300) n, jobs_enqueue('mail',
            jsonb_build_object('to', '{SECRET}'), unique_key => '{KEY}' || n);
        update jobs set result = '"{SECRET}"', error = '{SECRET}';
        analyze jobs"""
    )
    return conn


async def heard(conn: Connection, call: Callable[[], Awaitable[object]]) -> str:
    """All output of a statement: rows, notices, and the error with all its fields."""
    said: list[str] = []

    def listener(_: object, message: Any) -> None:
        said.append(str(message.as_dict()))

    conn.add_log_listener(listener)
    try:
        said.append(str(await call()))
    except asyncpg.PostgresError as error:
        said.append(str(error.as_dict()))
    finally:
        conn.remove_log_listener(listener)
    return "\n".join(said)


@pytest.mark.parametrize("as_what", ["producer", "observer"])
async def test_every_statement_without_a_grant_is_refused(
    secrets: Connection, make_role: MakeRole, acting_as: ActingAs, as_what: str
) -> None:
    async with acting_as(await make_role(as_what)):
        for statement in REFUSED:
            said = await heard(secrets, lambda s=statement: secrets.execute(s))
            assert "'sqlstate': '42501'" in said, (statement, said)


@pytest.mark.parametrize("as_what", ["producer", "worker", "observer"])
async def test_statistics_show_nothing_of_the_rows(
    secrets: Connection, make_role: MakeRole, acting_as: ActingAs, as_what: str
) -> None:
    async with acting_as(await make_role(as_what)):
        for statement in (
            "select * from pg_stats",
            "select * from pg_stats_ext",
            "select * from pg_stat_activity",
            "select * from pg_sequences where schemaname = 'public' and last_value is not null",
            "select * from information_schema.columns where table_name = 'jobs'",
            "select * from pg_prepared_statements",
        ):
            said = str(await secrets.fetch(f"select s::text from ({statement}) s"))
            assert SECRET not in said, statement
            assert KEY not in said, statement
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await secrets.fetch("select staattnum from pg_statistic")


async def test_errors_plans_and_debugging_show_a_producer_nothing(
    secrets: Connection, pgjobs_dsn: str, make_role: MakeRole
) -> None:
    producer = await asyncpg.connect(pgjobs_dsn, user=await make_role("producer"))
    await producer.execute(
        """set client_min_messages = debug5; set debug_print_parse = on;
        set debug_print_plan = on; set debug_print_rewritten = on;
        set log_parameter_max_length_on_error = -1"""
    )
    try:
        for statement in (
            "select * from jobs_enqueue('mail', unique_key => 'k3y1')",
            """select * from jobs_enqueue_many('[{"job_type": "mail", "unique_key": 1}]')""",
            "select * from jobs_enqueue('mail', priority => 10)",
            "select * from jobs_enqueue('mail', max_retries => -1)",
            "select * from jobs_enqueue('mail', unique_key => repeat('x', 600))",
            "select * from jobs_enqueue('mail', run_at => 'infinity')",
            """select * from _jobs_enqueue_together('[{"job_type": "mail", "priority": 99}]')""",
            """select * from _jobs_enqueue_together('[{"job_type": null}]')""",
            "select * from _jobs_enqueue_together('{}')",
            "explain (analyze, verbose) select * from jobs_enqueue('mail')",
            "explain (analyze, verbose) select * from jobs_enqueue('mail', unique_key => 'k3y1')",
        ):
            said = await heard(producer, lambda s=statement: producer.fetch(s))
            assert SECRET not in said, statement
    finally:
        await producer.close()


async def test_nobody_can_pretend_to_be_a_role_that_may_read(
    secrets: Connection, pgjobs_dsn: str, make_role: MakeRole
) -> None:
    admin, role = await make_role("admin"), await make_role("producer")
    producer = await asyncpg.connect(pgjobs_dsn, user=role)
    try:
        for statement in (
            f'set role "{admin}"',
            f"select set_config('role', '{admin}', false)",
            f'set session authorization "{admin}"',
            f"""create function pg_temp.f() returns setof public.jobs
                language sql set role = '{admin}'
                as $$ select * from jobs_enqueue('mail', unique_key => 'k3y1') $$;
                select * from pg_temp.f()""",
            "select set_config('session_authorization', 'postgres', false)",
        ):
            with pytest.raises(asyncpg.PostgresError):
                await producer.execute(statement)
        job = await producer.fetchrow("select * from jobs_enqueue('mail', unique_key => 'k3y1')")
        assert job is not None
        assert (job["payload"], job["result"], job["error"]) == (None, None, None)
    finally:
        await producer.close()


@pytest.mark.parametrize(
    "statement",
    [
        "select id from jobs_list where pg_temp.leak(jobs_list)",
        "select id from jobs_list where pg_temp.leak(error)",
        "select id from jobs_list where pg_temp.leak(job_type) and error like '%'",
        "select id from jobs_list where error operator(pg_temp.===) 'x'",
        "select id from jobs_list where job_type operator(pg_temp.===) 'x'",
        "select a.id from jobs_list a join jobs_list b on a.error operator(pg_temp.===) b.error",
        "select * from jobs_stats where pg_temp.leak(jobs_stats)",
        "select queue from jobs_stats where pg_temp.leak(job_type) and pg_temp.leak(count)",
        "select id from jobs_list order by pg_temp.leak(error), pg_temp.leak(jobs_list) limit 3",
        "select pg_temp.leak(to_jsonb(l)) from jobs_list l",
        "explain (analyze, verbose) select * from jobs_list where error like 's%'",
        "explain (verbose) select * from jobs_stats where job_type > 'a'",
        "select pg_temp.leak(w) from jobs_workers w",
        "select pg_temp.leak(d) from jobs_doctor() d",
    ],
)
async def test_no_leaky_function_shows_an_observer_the_data_that_a_view_hides(
    secrets: Connection, make_role: MakeRole, acting_as: ActingAs, statement: str
) -> None:
    async with acting_as(await make_role("observer")):
        await secrets.execute(LEAK)
        said = await heard(secrets, lambda: secrets.fetch(statement))
        assert SECRET not in said
        assert KEY not in said


async def test_a_leaky_function_prints_secrets_to_the_owner(secrets: Connection) -> None:
    await secrets.execute(LEAK)
    statement = "select id from jobs_list where pg_temp.leak(error)"
    assert SECRET in await heard(secrets, lambda: secrets.fetch(statement))
