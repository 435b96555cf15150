"""Checks every PL/pgSQL function by the extension plpgsql_check, if the server has it."""

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
# The findings that we accept, and why.
CASTS = "target type is different type than source type"
LOCKS = "routine is marked as VOLATILE, should be STABLE"
ACCEPTED = {
    CASTS: "a declared '{}' or similar, cast once per call; a smallint counted in an integer",
    LOCKS: "the function locks rows, and only a volatile function may",
    "text type variable is not sanitized":
        "jobs_grant: names from the catalogue, quoted there; _jobs_search and _jobs_lock_matching:"
        " constant parts only, and a condition of constants and quoted literals",
}
ACCEPTED_IN = {
    LOCKS: {
        "_jobs_flow_waiting", "_jobs_lock_suspect", "_jobs_lock_fenced_many", "_jobs_lock_matching",
    },
    "text type variable is not sanitized": {
        "jobs_grant", "_jobs_search", "_jobs_lock_matching",
    },
}


async def test_plpgsql_check_has_only_accepted_findings(conn: asyncpg.Connection) -> None:
    if not await conn.fetchval(AVAILABLE):
        pytest.skip("this server lacks the extension plpgsql_check, so it checked nothing")
    await conn.execute("create extension plpgsql_check")
    found = [dict(row) for row in await conn.fetch(CHECK)]
    accepted = [
        f for f in found
        if f["message"] in ACCEPTED
        and f["function"] in ACCEPTED_IN.get(f["message"], {f["function"]})
    ]
    left = [f for f in found if f not in accepted]
    assert [(f["function"], f["message"]) for f in left] == []
    # If this fails, remove from ACCEPTED the message that is not found any more.
    assert {f["message"] for f in accepted} == ACCEPTED.keys()


async def test_plpgsql_check_finds_a_wrong_function(conn: asyncpg.Connection) -> None:
    if not await conn.fetchval(AVAILABLE):
        pytest.skip("this server lacks the extension plpgsql_check, so it checked nothing")
    await conn.execute("create extension plpgsql_check")
    await conn.execute(
        """create function jobs_wrong() returns void language plpgsql
        as $$ begin perform j.nothing from jobs j; end $$"""
    )
    found = [row["message"] for row in await conn.fetch(CHECK) if row["function"] == "jobs_wrong"]
    assert any("nothing" in message for message in found)
