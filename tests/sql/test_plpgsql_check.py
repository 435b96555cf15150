"""What the extension plpgsql_check, where the server has it, says of every PL/pgSQL function."""

import asyncpg
import pytest

AVAILABLE = "select exists (select from pg_available_extensions where name = 'plpgsql_check')"
CHECK = """
    select p.proname as function, c.lineno as line, c.level, c.message, c.detail, c.query
    from pg_proc p
    join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
    cross join lateral plpgsql_check_function_tb(
        p.oid,
        relid => case when p.prorettype = 'trigger'::regtype then 'jobs'::regclass else 0 end,
        newtable => case when p.prorettype = 'trigger'::regtype then 'added' end,
        fatal_errors => false, extra_warnings => true, performance_warnings => true,
        security_warnings => true) c
    where p.pronamespace = 'public'::regnamespace
    order by 1, 2
"""
# What is meant, and why.
CASTS = "target type is different type than source type"
LOCKS = "routine is marked as VOLATILE, should be STABLE"
MEANT = {
    CASTS: "a declared '{}' and the like, once per call; a smallint that is counted in an integer",
    LOCKS: "it locks rows, which only a volatile function may",
    "text type variable is not sanitized": "jobs_grant: names of the catalogue, quoted as read",
}
WHERE = {
    LOCKS: {"_jobs_lock_suspect", "_jobs_lock_fenced_many"},
    "text type variable is not sanitized": {"jobs_grant"},
}


async def test_plpgsql_check_finds_nothing_that_is_not_meant(conn: asyncpg.Connection) -> None:
    if not await conn.fetchval(AVAILABLE):
        pytest.skip("this server lacks the extension plpgsql_check, so it checked nothing")
    await conn.execute("create extension plpgsql_check")
    found = [dict(row) for row in await conn.fetch(CHECK)]
    meant = [
        f for f in found
        if f["message"] in MEANT and f["function"] in WHERE.get(f["message"], {f["function"]})
    ]
    assert [f for f in found if f not in meant] == []
    # What is not found any more need not be meant.
    assert {f["message"] for f in meant} == MEANT.keys()


async def test_it_would_find_something(conn: asyncpg.Connection) -> None:
    if not await conn.fetchval(AVAILABLE):
        pytest.skip("this server lacks the extension plpgsql_check, so it checked nothing")
    await conn.execute("create extension plpgsql_check")
    await conn.execute(
        """create function jobs_wrong() returns void language plpgsql
        as $$ begin perform j.nothing from jobs j; end $$"""
    )
    found = [row["message"] for row in await conn.fetch(CHECK) if row["function"] == "jobs_wrong"]
    assert any("nothing" in message for message in found)
