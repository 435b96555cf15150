"""Enqueueing goes on while an index is rebuilt."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

Connection = asyncpg.Connection
REBUILDS = 100


async def test_a_key_is_held_while_its_index_is_rebuilt_concurrently(
    conn: Connection, connect: Callable[[], Awaitable[Connection]]
) -> None:
    is_over = asyncio.Event()

    async def produce(session: Connection) -> None:
        while not is_over.is_set():
            for n in range(7):
                await session.execute("select jobs_enqueue('t', unique_key => $1)", f"k{n}")
                await session.execute(
                    """select jobs_enqueue_many(jsonb_build_array(
                    jsonb_build_object('job_type', 't', 'unique_key', $1::text),
                    jsonb_build_object('job_type', 'other')))""", f"k{n}",
                )
            await session.execute("delete from jobs where random() < 0.3")

    producers = [asyncio.create_task(produce(await connect())) for _ in range(4)]
    for _ in range(REBUILDS):
        await conn.execute("reindex index concurrently ix_jobs_unique_key")
    is_over.set()
    await asyncio.gather(*producers)
    assert await conn.fetchval(
        "select max(count) from (select count(*) from jobs where unique_key is not null"
        " group by unique_key) held"
    ) in (None, 1)
