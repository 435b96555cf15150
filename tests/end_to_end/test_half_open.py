"""Connections that have died without a word: nothing comes back, and nobody has hung up."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from end_to_end.processes import Start, eventually
from end_to_end.proxy import Proxy

ADD = """select jobs_enqueue_many((select jsonb_agg(jsonb_build_object(
    'job_type', 'work', 'payload', jsonb_build_object('seconds', $1::float)))
    from generate_series(1, $2::int)))"""
LEFT = "select count(*) = 0 from jobs where status in ('pending', 'processing')"
NOTICED = 15  # seconds


@pytest.fixture
async def proxy(pgjobs_dsn: str, start: Start, ledger: asyncpg.Connection) -> AsyncIterator[Proxy]:
    """Before the test's database, with a worker behind it that is at work already."""
    async with Proxy(pgjobs_dsn) as made:
        start(concurrency=10, dsn=made.dsn)
        await ledger.execute(ADD, 0.0, 5)
        await eventually(lambda: ledger.fetchval("select count(*) = 5 from ledger"), "it works")
        await eventually(lambda: ledger.fetchval(LEFT), "the first jobs have ended")
        yield made


async def test_a_deaf_listener_is_noticed_and_replaced(
    ledger: asyncpg.Connection, proxy: Proxy
) -> None:
    assert proxy.swallow("listen") == 1
    await ledger.execute(ADD, 0.0, 1)
    await eventually(lambda: ledger.fetchval(LEFT), "it is found", seconds=NOTICED)
    # The server still holds the old session, and with it the worker's name: jobs go on meanwhile.
    for _ in range(3):
        await ledger.execute(ADD, 0.0, 1)
        await eventually(lambda: ledger.fetchval(LEFT), "it is found at once", seconds=1)
    assert await ledger.fetchval("select max(crash_count + retry_count) from jobs") == 0


@pytest.mark.parametrize("which", ["claim", "settle"])
async def test_a_connection_that_answers_no_more_is_replaced_and_no_job_is_lost(
    ledger: asyncpg.Connection, proxy: Proxy, which: str
) -> None:
    await ledger.execute(ADD, 0.01, 600)
    await eventually(lambda: ledger.fetchval("select count(*) > 100 from ledger"), "100 have begun")
    assert proxy.swallow(which) == 1
    await eventually(lambda: ledger.fetchval(LEFT), "all have ended", seconds=NOTICED + 5)
    row = await ledger.fetchrow(
        "select count(*) filter (where status = 'completed') as completed,"
        " max(crash_count + retry_count) as spent from jobs"
    )
    assert tuple(row) == (605, 0)
    assert await ledger.fetchval("select count(distinct job_id) from ledger") == 605
