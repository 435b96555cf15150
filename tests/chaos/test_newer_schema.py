"""The schema of a newer release under workers of this release: they go on until replaced.

The newer release is a copy of sql/ with one more migration, more arguments and another version.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from chaos.processes import Processes, eventually

from pgjobs import App, SchemaMismatch, migrate

LEFT = "select count(*) from jobs where status in ('pending', 'processing')"
# Older clients send no value for the new column.
MIGRATION = """
    alter table jobs add column if not exists tenant text not null default 'nobody';
    create index if not exists ix_jobs_tenant on jobs (tenant) where tenant <> 'nobody';
"""
LAST, KEEP = "free int default null", "keep boolean default true"
BOUND = "> (v_after_run_at, v_after_id)\n"
WHOSE = "(jobs_claim.whose is null or j.tenant = jobs_claim.whose)"
# File, a text in it, and the text that follows it in the newer release.
SIGNATURES = "install/signatures.sql"
COMPLETE = """('_jobs_complete_uncounted', $$SETOF bigint$$, $$
            worker text, job_ids bigint[], attempts integer[], results jsonb[],
            keep boolean DEFAULT true"""
ADDED = [
    ("functions/claim/jobs_claim.sql", LAST, ",\n    whose text default null"),
    ("functions/claim/jobs_claim.sql", BOUND, f"and {WHOSE}\n"),
    ("functions/finish/_jobs_complete_uncounted.sql", KEEP, ",\n    note text default null"),
    ("functions/workers/_jobs_worker_tick.sql", "deletes boolean", ", newest text"),
    (SIGNATURES, "free integer DEFAULT NULL::integer", ", whose text DEFAULT NULL::text"),
    (SIGNATURES, COMPLETE, ", note text DEFAULT NULL::text"),
    (SIGNATURES, "deletes boolean", ", newest text"),
]


@pytest.fixture
def newer(copied_sql: Path) -> Path:
    """From now on pgjobs.migrate installs the newer release."""
    (copied_sql / "migrations" / "9999_tenant.sql").write_text(MIGRATION)
    for name, old, more in ADDED:
        text = (copied_sql / name).read_text()
        assert text.count(old) == 1, (name, old)
        (copied_sql / name).write_text(text.replace(old, old + more))
    version = copied_sql / "functions" / "manage" / "jobs_version.sql"
    version.write_text(version.read_text().replace("'0.1.0'", "'9.0.0'"))
    return copied_sql


def rename_an_argument(newer: Path, turn: int) -> None:
    for name in ("functions/claim/jobs_claim.sql", SIGNATURES):
        text = (newer / name).read_text()
        (newer / name).write_text(re.sub(r"\bwhose\w*", f"whose_{turn}", text))


@asynccontextmanager
async def enqueueing(app: App) -> AsyncIterator[list[int]]:
    """A producer with the older code beside the block; yields the ids of its jobs."""
    ids: list[int] = []
    enough = asyncio.Event()

    async def produce() -> None:
        while not enough.is_set():
            ids.extend(await app.enqueue_many("work", [{"seconds": 0.01}] * 5))
            ids.append((await app.enqueue("write", {"seconds": 0.02})).id)
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(produce())
        try:
            yield ids
        finally:
            enough.set()


async def none_left(conn: asyncpg.Connection) -> bool:
    return await conn.fetchval(LEFT) == 0


async def each_ran_once(conn: asyncpg.Connection, ids: list[int]) -> None:
    """A run whose transaction failed while functions were replaced does not count."""
    await eventually(lambda: none_left(conn), "all have ended")
    assert await conn.fetchval("select count(*) from jobs where status = 'completed'") == len(ids)
    runs = """select job_id from ledger join jobs on id = job_id where job_type = 'work'
        union all select job_id from writes order by 1"""
    assert [row["job_id"] for row in await conn.fetch(runs)] == sorted(ids)


async def test_older_workers_and_producers_go_on_during_and_after_a_migration(
    ledger: asyncpg.Connection, pgjobs_dsn: str, newer: Path, workers: Processes
) -> None:
    older = [workers.start(concurrency=10), workers.start(concurrency=10)]
    async with App(pgjobs_dsn) as app:
        async with enqueueing(app) as ids:
            await eventually(lambda: ledger.fetchval("select count(*) > 50 from ledger"), "busy")
            assert await asyncio.to_thread(migrate, pgjobs_dsn) == ["9999_tenant"]
            # Each turn drops functions and creates them with other arguments.
            for turn in range(5):
                rename_an_argument(newer, turn)
                assert await asyncio.to_thread(migrate, pgjobs_dsn) == []
            so_far = len(ids)
            await eventually(
                lambda: ledger.fetchval("select count(*) > $1 from ledger", so_far), "still busy"
            )
        await each_ran_once(ledger, ids)
        assert await ledger.fetchval("select jobs_version()") == "9.0.0"
        assert [worker.poll() for worker in older] == [None, None]
        # A worker with the older code that starts only now works too.
        for worker in older:
            worker.terminate()
            assert worker.wait(timeout=30) == 0
        workers.start()
        ids += await app.enqueue_many("work", [{"seconds": 0.0}] * 20)
        await each_ran_once(ledger, ids)


async def test_a_migration_that_waits_for_a_long_transaction_holds_up_no_producer(
    conn: asyncpg.Connection, pgjobs_dsn: str, newer: Path
) -> None:
    slowest = 0.0
    async with App(pgjobs_dsn) as app, asyncio.TaskGroup() as tasks:
        async with conn.transaction():
            await conn.execute("select from jobs_enqueue('long')")
            migrating = tasks.create_task(asyncio.to_thread(migrate, pgjobs_dsn))
            for _ in range(30):
                began = time.monotonic()
                await app.enqueue("work")
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.05)
            assert not migrating.done()
        assert await migrating == ["9999_tenant"]
    assert slowest < 2
    assert await conn.fetchval("select count(*) from jobs where tenant = 'nobody'") == 31


@pytest.mark.parametrize("code", ["XX000", "42804", "42883", "42P13"])
async def test_a_call_that_fails_by_an_upgrade_is_repeated_unless_it_is_in_a_transaction(
    conn: asyncpg.Connection, pgjobs_dsn: str, code: str
) -> None:
    await conn.execute(
        f"""create sequence calls;
        create function upgraded() returns trigger language plpgsql as $$ begin
            if nextval('calls') % 2 = 1 then raise 'just now' using errcode = '{code}'; end if;
            return null;
        end $$;
        create trigger upgraded before insert on jobs execute function upgraded()"""
    )
    async with App(pgjobs_dsn) as app:
        await app.enqueue("t")
        await app.enqueue_many("t", [1, 2])
        with pytest.raises((asyncpg.PostgresError, SchemaMismatch), match="just now"):
            async with conn.transaction():
                await app.enqueue("t", conn=conn)
    assert await conn.fetchval("select count(*) from jobs") == 3


@pytest.mark.parametrize(
    "older",
    [
        pytest.param(
            """drop function jobs_claim;
            create function jobs_claim(worker text, queues text[], max_jobs int, lease interval)
                returns setof jobs language sql as 'select * from jobs where false'""",
            id="an argument",
        ),
        pytest.param("drop function jobs_worker_start", id="a function"),
        pytest.param(
            """drop function jobs_claim;
            create function jobs_claim(worker text, queues text[], max_jobs int, lease interval,
                job_types text[], floors jsonb)
                returns table (id bigint) language sql as 'select 1::bigint'""",
            id="a column",
        ),
    ],
)
async def test_newer_code_says_that_an_older_schema_lacks_something(
    conn: asyncpg.Connection, pgjobs_dsn: str, older: str
) -> None:
    await conn.execute(older)
    async with App(pgjobs_dsn) as app:
        app.job("t")(lambda job: None)
        await app.enqueue("t")
        with pytest.raises(SchemaMismatch, match="pgjobs migrate --schema public"):
            async with asyncio.timeout(20):
                await app.worker().run()
