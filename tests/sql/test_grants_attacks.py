"""Attacks by roles with grants: such a role gets no more than its grants allow."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

Connection = asyncpg.Connection
MakeRole = Callable[..., Awaitable[str]]
ActingAs = Callable[[str], AbstractAsyncContextManager[None]]


async def test_a_producer_learns_nothing_of_a_job_whose_key_it_guesses(
    conn: Connection, pgjobs_dsn: str, make_role: MakeRole, acting_as: ActingAs
) -> None:
    await conn.execute(
        """select from jobs_enqueue('mail', '{"to": "me@example.org"}', unique_key => 'k',
        unique_scope => 'kept')"""
    )
    await conn.execute(
        """update jobs set result = '1', error = 'no route to me@example.org',
        headers = '{"to": "me"}', progress = '1'"""
    )
    probe = "select * from jobs_enqueue('mail', unique_key => 'k')"
    role = await make_role("producer")
    async with acting_as(role):
        seen = await conn.fetchrow(probe)
    producer = await asyncpg.connect(pgjobs_dsn, user=role)
    seen_after_login = await producer.fetchrow(probe)
    await producer.close()
    assert seen is not None
    assert seen == seen_after_login
    assert seen["unique_key"] == "k"
    hidden = ("payload", "result", "error", "headers", "progress")
    assert [seen[column] for column in hidden] == [None] * 5
    assert "example.org" not in str(seen)
    # A role that may read the table gets the whole row.
    own = await conn.fetchrow(probe)
    assert own is not None
    assert own["payload"] == '{"to": "me@example.org"}'


async def test_objects_in_pg_temp_are_not_taken_for_objects_of_pgjobs(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    async with acting_as(await make_role("producer")):
        await conn.execute(
            """create temp table jobs (like pg_class);
            create temp table jobs_workers (worker text, queues text[]);
            create function pg_temp._jobs_check_job(text, text, int, timestamptz, text, int, text,
                text, interval[], text, text, jsonb, timestamptz) returns void language plpgsql
                as $$ begin raise 'run as %', current_user; end $$;
            create function pg_temp.octet_length(text) returns int
                language plpgsql as $$ begin raise 'run as %', current_user; end $$;
            set search_path = pg_temp, public"""
        )
        assert await conn.fetchval("select id from public.jobs_enqueue('a')") == 1
    await conn.execute("reset search_path")
    assert await conn.fetchval("select job_type from public.jobs") == "a"


async def test_a_schema_earlier_in_the_search_path_changes_nothing(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    role = await make_role("producer")
    await conn.execute(f'create schema evil authorization "{role}"')
    async with acting_as(role):
        await conn.execute(
            """create table evil.jobs (id bigint);
            create function evil._jobs_may_read() returns boolean return true;
            create function evil._jobs_check_job(text, text, int, timestamptz, text, int, text,
                text, interval[], text, text, jsonb, timestamptz) returns void language plpgsql
                as $$ begin raise 'run as %', current_user; end $$;
            create function evil.octet_length(text) returns int language plpgsql
                as $$ begin raise 'run as %', current_user; end $$;
            create function evil.same(text, text) returns boolean language plpgsql
                as $$ begin raise 'run as %', current_user; end $$;
            create operator evil.= (function = evil.same, leftarg = text, rightarg = text);
            set search_path = evil, pg_catalog, public"""
        )
        enqueue = "select id, payload from public.jobs_enqueue('a', '1', unique_key => 'k')"
        assert await conn.fetchval(enqueue) == 1
        again = await conn.fetchrow(enqueue)
        assert again is not None
        assert again["payload"] is None


async def test_text_is_never_taken_for_sql(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    nasty = "'); drop table jobs; -- \"$$; select pg_sleep(9)"
    async with acting_as(await make_role("producer", "worker")):
        await conn.execute(
            "select from jobs_enqueue($1, queue => $1, reference_type => $1, unique_key => $1)",
            nasty,
        )
        job = await conn.fetchrow("select * from jobs_claim($1, array[$1])", nasty)
        assert job is not None
        assert (job["job_type"], job["worker"]) == (nasty, nasty)
        await conn.execute("select from jobs_fail(1, $1)", nasty)
        await conn.execute("select from jobs_cancel(1, $1)", nasty)
    assert await conn.fetchval("select error from jobs") == nasty
    for arguments in ((nasty, "producer"), ("postgres", nasty)):
        with pytest.raises(asyncpg.PostgresError) as caught:
            await conn.execute("select jobs_grant($1, $2)", *arguments)
        assert caught.value.sqlstate == "JQ003"
