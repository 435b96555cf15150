"""SECURITY.md: each promise has a test, and so do some of the limits."""

import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import pytest

Connection = asyncpg.Connection
MakeRole = Callable[..., Awaitable[str]]
ActingAs = Callable[[str], AbstractAsyncContextManager[None]]
ROOT = Path(__file__).parents[2]


def test_each_test_that_security_md_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    assert len(named) > 20
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert {name for name in named if f"def {name}(" not in written} == set()


async def test_locks_that_a_stranger_takes_delay_jobs_and_lose_no_job(
    conn: Connection,
    pgjobs_dsn: str,
    make_role: MakeRole,
    connect: Callable[[], Awaitable[Connection]],
) -> None:
    dead = await connect()
    await dead.execute("select from jobs_worker_start('w', '{default}', null, 1)")
    await dead.execute("select _jobs_worker_mode('w', 'polling')")
    await conn.execute("select from jobs_enqueue('a'); select from jobs_claim('w')")
    await dead.close()
    stranger = await asyncpg.connect(pgjobs_dsn, user=await make_role())
    try:
        # The key of the lock is a hash that anybody can compute.
        await stranger.execute(
            "select pg_advisory_lock(hashtextextended('name w', 'jobs'::regclass::oid::bigint))"
        )
        await conn.execute("update jobs_worker_ticks set missed_at = now() - interval '1 minute'")
        assert await conn.fetch("select * from jobs_recover()") == []
        with pytest.raises(asyncpg.PostgresError, match="a living worker is named w"):
            await conn.execute("select from jobs_worker_start('w', '{default}', null, 1)")
        # The job comes back at the end of its lease.
        await conn.execute("update jobs set lease_until = now() - interval '1 second'")
        assert len(await conn.fetch("select * from jobs_recover()")) == 1
        assert len(await conn.fetch("select * from jobs_claim('v')")) == 1
    finally:
        await stranger.close()


async def test_a_worker_role_may_end_the_jobs_of_another_worker(
    conn: Connection, make_role: MakeRole, acting_as: ActingAs
) -> None:
    await conn.execute(
        """select jobs_enqueue('a', '{"secret": 1}') from generate_series(1, 5);
        select from jobs_claim('w', max_jobs => 4)"""
    )
    async with acting_as(await make_role("worker")):
        ended = await conn.fetch(
            """select status from jobs_complete(1) union all
            select status from jobs_fail(2, 'no', false) union all
            select status from jobs_cancel(3, worker => 'w', attempt => 1) union all
            select status from jobs_recover('w') union all
            select payload::text from jobs_start(5, 'mine')"""
        )
    assert [row[0] for row in ended] == [
        "completed", "failed", "cancelled", "pending", '{"secret": 1}',
    ]
