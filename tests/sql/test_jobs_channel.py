"""The names of the channels, and two schemas in one database."""

import asyncpg
import pytest

from pgjobs.schema.migrate import migrate


async def test_the_channels_are_named_after_the_schema(conn):
    names = await conn.fetchrow("select jobs_channel('jobs'), jobs_channel('jobs_cancel')")
    assert tuple(names) == ("public.jobs", "public.jobs_cancel")


async def test_two_schemas_see_neither_each_others_jobs_nor_notifications(conn, pgjobs_dsn, ears):
    migrate(pgjobs_dsn, schema="Second one")
    job_id = await conn.fetchval("""select id from "Second one".jobs_enqueue('t')""")
    assert await ears.heard() == []
    assert await conn.fetch("select * from jobs_claim('me')") == []
    assert await conn.fetch("select * from jobs_stats") == []
    await conn.execute("select jobs_enqueue('t')")
    claimed = await conn.fetch("""select id from "Second one".jobs_claim('me', max_jobs => 9)""")
    assert [r[0] for r in claimed] == [job_id]
    assert await conn.fetchval("""select count(*) from "Second one".jobs_recover('me')""") == 1
    assert await conn.fetchval("select count(*) from jobs_recover('me')") == 0


async def test_two_schemas_may_have_a_worker_of_the_same_name(conn, other, pgjobs_dsn):
    migrate(pgjobs_dsn, schema="second")
    await conn.execute("select jobs_worker_start('w', '{default}', null, 1)")
    await other.execute("select second.jobs_worker_start('w', '{default}', null, 1)")


@pytest.mark.parametrize("length", [51, 52, 58])
async def test_the_longest_schema_name_has_both_channels(conn, pgjobs_dsn, connect, length):
    schema = "s" * length
    migrate(pgjobs_dsn, schema=schema)
    listener = await connect()
    heard: list[str] = []

    def hear(_connection: asyncpg.Connection, _pid: int, channel: str, payload: object) -> None:
        heard.append(f"{channel} {payload}")

    channels = [
        await conn.fetchval(f"select {schema}.jobs_channel($1)", topic)
        for topic in ("jobs", "jobs_cancel")
    ]
    for channel in channels:
        assert len(channel) <= 63
        await listener.add_listener(channel, hear)
    await conn.execute(f"select {schema}.jobs_enqueue('t')")
    await conn.execute(f"select {schema}.jobs_claim('me'), {schema}.jobs_cancel(1)")
    await listener.execute("select 1")
    assert heard == [f"{channels[0]} default", f"{channels[1]} 1"]


async def test_names_that_join_to_the_same_text_share_neither_a_lock_nor_a_channel(
    conn, other, pgjobs_dsn
):
    for schema in ("a", "a.b", "a.jobs"):
        migrate(pgjobs_dsn, schema=schema)
    await conn.execute("select a.jobs_worker_start('b.c', '{default}', null, 1)")
    await other.execute("""select "a.b".jobs_worker_start('c', '{default}', null, 1)""")
    names = ["", "b", "1 b", "b.c", "1", "name b"]
    kinds = ["name", "gate", "polling 1", "polling 2"]
    keys = [
        await conn.fetchval(f'select "{schema}"._jobs_advisory_key($1, $2)', kind, name)
        for schema in ("a", "a.b", "a.jobs") for kind in kinds for name in names
    ]
    assert len(set(keys)) == len(keys)
    channels = [
        await conn.fetchval(f'select "{schema}".jobs_channel($1)', topic)
        for schema in ("a", "a.b", "a.jobs") for topic in ("jobs", "jobs_cancel", "jobs_signal")
    ]
    assert len(set(channels)) == len(channels)


async def test_a_schema_that_is_named_like_the_digest_of_another_shares_no_channel(
    conn, pgjobs_dsn
):
    long = "s" * 58
    digest = await conn.fetchval("select md5($1)", long)
    migrate(pgjobs_dsn, schema=long)
    migrate(pgjobs_dsn, schema=digest)
    names = await conn.fetchrow(
        f"""select {long}.jobs_channel('jobs_cancel'), "{digest}".jobs_channel('jobs_cancel')"""
    )
    assert names[0] != names[1]
