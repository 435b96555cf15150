"""What a new row's id or key meets: taken ids, indexes and triggers of others, a lost index."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from pgjobs import App
from pgjobs.errors import SchemaMismatch

MEND = "select setval('public.jobs_id_seq', (select max(id) from public.jobs))"
WAYS = {
    "enqueue": "select id from jobs_enqueue('t')",
    "enqueue with a key": "select id from jobs_enqueue('t', unique_key => 'k')",
    "enqueue_many of one": """select jobs_enqueue_many('[{"job_type": "t"}]')""",
    "enqueue_many": """select jobs_enqueue_many('[{"job_type": "t"}, {"job_type": "t"}]')""",
    "enqueue_many with a key": """select jobs_enqueue_many(
        '[{"job_type": "t"}, {"job_type": "t", "unique_key": "k"}]')""",
}
DOCTOR = "select verdict, detail, advice from jobs_doctor() where check_name = 'ids'"


@pytest.fixture
async def behind(conn: asyncpg.Connection) -> None:
    """Jobs 1 to 9 are there, and the sequence has given no id."""
    await conn.execute(
        "insert into jobs (id, job_type) overriding system value"
        " select id, 'x' from generate_series(1, 9) id"
    )


@pytest.mark.parametrize("way", WAYS)
async def test_enqueueing_names_the_statement_that_mends_a_sequence_that_is_behind(
    conn: asyncpg.Connection, behind: None, way: str
) -> None:
    with pytest.raises(asyncpg.PostgresError, match=r"sequence of jobs\.id is behind") as caught:
        await conn.fetch(WAYS[way])
    assert caught.value.sqlstate == "JQ005"
    assert str(caught.value).splitlines()[0].endswith(MEND)
    assert await conn.fetchval("select count(*) from jobs") == 9
    await conn.execute(MEND)
    assert min(row[0] for row in await conn.fetch(WAYS[way])) == 10


@pytest.mark.parametrize("with_conn", [False, True])
async def test_each_call_in_python_raises_the_same_error(
    conn: asyncpg.Connection, pgjobs_dsn: str, behind: None, with_conn: bool
) -> None:
    on = {"conn": conn} if with_conn else {}
    async with App(pgjobs_dsn) as app:
        for call in (
            lambda: app.enqueue("t", **on),
            lambda: app.enqueue("t", unique_key="k", **on),
            lambda: app.enqueue_many("t", [1], **on),
            lambda: app.enqueue_many("t", [1, 2], **on),
        ):
            with pytest.raises(SchemaMismatch, match="select setval"):
                await call()


async def test_the_doctor_says_whether_the_next_ids_are_free(
    conn: asyncpg.Connection,
    make_role: Callable[..., Awaitable[str]],
    acting_as: Callable[[str], AbstractAsyncContextManager[None]],
    behind: None,
) -> None:
    async with acting_as(await make_role("observer")):
        verdict, detail, advice = await conn.fetchrow(DOCTOR)
        assert (verdict, advice) == ("bad", MEND)
        assert "behind" in detail
    await conn.execute("select setval('jobs_id_seq', 8)")
    assert (await conn.fetchrow(DOCTOR))["verdict"] == "bad"
    await conn.execute("alter table jobs alter id restart with 10")  # no id was given since
    assert (await conn.fetchrow(DOCTOR))["verdict"] == "ok"
    await conn.execute("select setval('jobs_id_seq', 9)")
    assert (await conn.fetchrow(DOCTOR))["verdict"] == "ok"


@pytest.mark.parametrize("way", WAYS)
async def test_an_id_that_is_taken_where_the_next_is_free_stops_nobody(
    conn: asyncpg.Connection, behind: None, way: str
) -> None:
    await conn.execute("select setval('jobs_id_seq', 8)")
    assert min(row[0] for row in await conn.fetch(WAYS[way])) == 10


@pytest.mark.parametrize("key", ["null", "'k'"])
@pytest.mark.parametrize("way", ["index", "trigger"])
async def test_an_index_or_trigger_of_somebody_else_is_named_as_such(
    conn: asyncpg.Connection, key: str, way: str
) -> None:
    await conn.execute("select jobs_enqueue('t')")
    if way == "index":
        await conn.execute("create unique index one_per_type on jobs (job_type)")
    else:
        await conn.execute(
            "create function refuse() returns trigger language plpgsql as 'begin return null; end';"
            " create trigger refuse before insert on jobs for each row execute function refuse()"
        )
    with pytest.raises(asyncpg.PostgresError, match=r"index or a trigger .* pgjobs did not make"):
        await conn.execute(f"select jobs_enqueue('t', unique_key => {key})")


async def test_a_key_is_refused_while_no_index_could_keep_it_unique(
    conn: asyncpg.Connection,
) -> None:
    await conn.execute("drop index ix_jobs_unique_key")
    await conn.execute("select jobs_enqueue('t')")
    for way in ("enqueue with a key", "enqueue_many with a key"):
        with pytest.raises(asyncpg.PostgresError, match="ix_jobs_unique_key is missing") as caught:
            await conn.execute(WAYS[way])
        assert caught.value.sqlstate == "JQ005"
    assert await conn.fetchval("select count(*) from jobs") == 1
