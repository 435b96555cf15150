"""Text that looks like SQL stays text in every argument of every function."""

import json
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from pgjobs.schema.migrate import migrate

Connection = asyncpg.Connection
MakeRole = Callable[..., Awaitable[str]]

NASTY = [
    "'; create table pwned(); --",
    '"; create table pwned(); --',
    "$$; create table pwned(); $$",
    "$signatures$; create table pwned(); --",
    "\\'; create table pwned(); --",
    "'||(select pg_terminate_backend(pg_backend_pid()))||'",
    "x') returning pg_sleep(99); --",
    "%1$I %L %s %% %n",
    ":'schema' :\"schema\" \\! touch pwned",
    "\n\\gexec\n;create table pwned();",
    '{a,"b\\"}',
    "'; drop table jobs; -- ＇；",
    "é\u202e\x07\x1b[31m",
    "public.jobs",
]
TAME = {
    "double precision": "1",
    "bigint": "1", "integer": "1", "interval": "1 minute", "timestamp with time zone": "2030-01-01",
    "boolean": "true", "bigint[]": "{1}", "integer[]": "{1}", "boolean[]": "{true}",
    "interval[]": "{1 minute}", "timestamp with time zone[]": "{2030-01-01}",
    "timestamp without time zone": "2030-01-01", "jobs_schedules": None, "jobs_queues": None,
    "jobs_retention": None, "jobs": None,
    "oid": "10", "text": "t", "text[]": "{t}", "jsonb": '[{"job_type": "t"}]', "jsonb[]": "{{}}",
}
FUNCTIONS = """
    select p.proname as function, a.name, a.place::int, format_type(a.type, null) as type,
        array(select format_type(t, null) from unnest(p.proargtypes) t) as types
    from pg_proc p,
        unnest(p.proargnames, p.proargtypes::oid[]) with ordinality a(name, type, place)
    where p.pronamespace = 'public'::regnamespace and a.type is not null
        and format_type(a.type, null) in ('text', 'text[]', 'jsonb', 'jsonb[]')
        -- Its condition is SQL, which its callers put together; nobody else may call it.
        and p.proname <> '_jobs_lock_matching'
    order by 1, 3
"""
# All that the text could change if it were executed: relations, functions, roles, settings.
WORLD = """
    select (select count(*) from pg_class), (select count(*) from pg_proc),
        (select count(*) from pg_roles), (select count(*) from pg_namespace), current_user,
        current_setting('search_path'), pg_backend_pid()
"""


def values_of(type_name: str, text: str) -> list[str]:
    """The text as arguments of the type: as the whole value, in a list, as a key and a value."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if type_name == "text":
        return [text]
    if type_name == "text[]":
        return [f"{{{quoted}}}"]
    objects = [
        json.dumps({text: text}), json.dumps(text),
        json.dumps([{"job_type": text, "queue": text, "unique_key": text, "payload": {text: text},
                     "reference_type": text}]),
        json.dumps([{"job_type": "t", text: 1}]), json.dumps([{"job_type": "t", "run_at": text}]),
        json.dumps({text: {text: text}}),
    ]
    if type_name == "jsonb":
        return objects
    return ["{" + ",".join('"' + o.replace("\\", "\\\\").replace('"', '\\"') + '"'
                           for o in objects[:1]) + "}"]


async def test_no_argument_of_any_function_is_executed(conn: Connection) -> None:
    arguments = await conn.fetch(FUNCTIONS)
    assert len(arguments) > 60
    before = await conn.fetchrow(WORLD)
    calls = 0
    for argument in arguments:
        types = argument["types"]
        places = ", ".join(f"${n}::text::{t}" for n, t in enumerate(types, 1))
        for text in NASTY:
            for value in values_of(argument["type"], text):
                given = [TAME[t] for t in types]
                given[argument["place"] - 1] = value
                transaction = conn.transaction()
                await transaction.start()
                try:
                    await conn.fetch(f"select * from {argument['function']}({places})", *given)
                except asyncpg.PostgresError as error:
                    assert not isinstance(error, asyncpg.SyntaxOrAccessError), (argument, text)
                finally:
                    await transaction.rollback()
                calls += 1
        assert await conn.fetchrow(WORLD) == before, argument
    assert calls > 1_000


@pytest.mark.parametrize("text", NASTY)
async def test_text_that_looks_like_sql_is_stored_unchanged(conn: Connection, text: str) -> None:
    payload = {text: [text]}
    enqueued = await conn.fetchrow(
        """select * from jobs_enqueue($1, $2, $1, reference_type => $1, unique_key => $1)""",
        text, json.dumps(payload),
    )
    assert enqueued is not None
    await conn.fetch("select jobs_enqueue_many($1)", json.dumps([
        {"job_type": text, "queue": text, "reference_type": text, "payload": payload},
        {"job_type": text, "queue": text, "unique_key": text + "2", "payload": payload},
    ]))
    claimed = await conn.fetch("select * from jobs_claim($1, array[$1], 9, job_types => array[$1])",
                               text)
    assert len(claimed) == 3
    for job in claimed:
        assert (job["job_type"], job["queue"], job["worker"]) == (text, text, text)
        assert json.loads(job["payload"]) == payload
    assert {job["reference_type"] for job in claimed} == {text, None}
    await conn.execute("select from jobs_complete($1, $2, $3)", claimed[0]["id"],
                       json.dumps(payload), text)
    await conn.execute("select from jobs_fail($1, $2, false, null, $2)", claimed[1]["id"], text)
    await conn.execute("select from jobs_cancel($1, $2)", claimed[2]["id"], text)
    rows = await conn.fetch("select * from jobs order by id")
    assert json.loads(rows[0]["result"]) == payload
    assert [row["error"] for row in rows] == [None, text, text]
    paused = await conn.fetchval("select queue from jobs_pause($1)", text)
    worker = await conn.fetchrow(
        "select * from jobs_worker_start($1, array[$1], array[$1], 1, $1)", text
    )
    assert worker is not None
    assert (paused, worker["worker"], worker["queues"], worker["version"]) == (
        text, text, [text], text,
    )
    listed = await conn.fetch("select job_type from jobs_list where queue = $1", text)
    assert {row["job_type"] for row in listed} == {text}
    await conn.fetch("select * from jobs_doctor()")


@pytest.mark.parametrize("text", NASTY)
async def test_a_role_whose_name_looks_like_sql_is_granted_by_that_name(
    conn: Connection, text: str
) -> None:
    name = text[:40]
    quoted = await conn.fetchval("select quote_ident($1)", name)
    await conn.execute(f"create role {quoted}")
    try:
        before = await conn.fetchrow(WORLD)
        await conn.execute("select jobs_grant($1, 'admin')", name)
        assert await conn.fetchrow(WORLD) == before
        may = "select has_table_privilege($1::name, 'jobs', 'select')"
        assert await conn.fetchval(may, name)
        others = """select distinct a.grantee::regrole::text
            from pg_proc p, aclexplode(p.proacl) a
            where p.proname = 'jobs_cancel' and a.grantee <> p.proowner"""
        assert [row[0] for row in await conn.fetch(others)] == [quoted]
    finally:
        await conn.execute(f"drop owned by {quoted}; drop role {quoted}")


@pytest.mark.parametrize("by", ["migrate", "psql"])
@pytest.mark.parametrize("text", NASTY)
def test_a_schema_whose_name_looks_like_sql_is_installed_by_that_name(
    empty_dsn: str,
    query: Callable[..., list[tuple[Any, ...]]],
    psql: Callable[..., subprocess.CompletedProcess[str]],
    text: str,
    by: str,
) -> None:
    if by == "psql":
        psql(empty_dsn, "-v", f"schema={text}", "-f", "sql/install.sql")
    # migrate() drops and makes again each object that differs, by SQL that contains its name.
    migrate(empty_dsn, text)
    quoted = query("select quote_ident(%s)", text)[0][0]
    query(f"drop function {quoted}.jobs_pause; create view {quoted}.v as select 1 as one")
    query(f"create function {quoted}.jobs_pause() returns int return 1")
    migrate(empty_dsn, text)
    in_it = quoted.replace("%", "%%")
    assert query(f"select queue from {in_it}.jobs_pause(%s)", text) == [(text,)]
    assert query(f"select id from {in_it}.jobs_enqueue(%s)", text) == [(1,)]
    schemas = query("select nspname from pg_namespace where nspname !~ '^pg_'")
    assert {name for (name,) in schemas} == {"public", "information_schema", text}
    assert query("select count(*) from pg_class where relname = 'pwned'") == [(0,)]
    assert migrate(empty_dsn, text, down=1) == ["0001_jobs"]
