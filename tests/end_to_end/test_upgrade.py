"""A database made by 0.1.0, with jobs in every state, is upgraded and goes on.

tests/data holds files made with that release: the output of `pgjobs sql`, the ledger that
`pgjobs migrate` kept, and the jobs. They are never edited; a release that changes the schema adds
files of its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from pgjobs.errors import DuplicateJob, JobNotHeld
from pgjobs.schema.migrate import migrate, sql_folder

DATA = Path(__file__).parents[1] / "data"
MIGRATIONS = sorted(
    path.stem
    for path in (sql_folder() / "migrations").glob("*.sql")
    if ".rollback" not in path.name
)
JOBS = "select to_jsonb(j) as row from {}jobs j order by id"
Psql = Callable[..., Any]
Rows = list[dict[str, Any]]


def rows(dsn: str, statement: str) -> Rows:
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        return connection.execute(statement.encode()).fetchall()


@pytest.fixture(params=["with its ledger", "installed by psql"])
def old(request: pytest.FixtureRequest, empty_dsn: str, psql: Psql) -> tuple[str, bool]:
    """The DSN of a database as 0.1.0 left it, and whether yoyo's ledger is there."""
    has_ledger = request.param == "with its ledger"
    files = ["schema_0_1_0.sql", *(["ledger_0_1_0.sql"] if has_ledger else []), "jobs_0_1_0.sql"]
    for name in files:
        psql(empty_dsn, "-v", "ON_ERROR_STOP=1", "-f", str(DATA / name))
    return empty_dsn, has_ledger


def upgrade(dsn: str, psql: Psql, by: str) -> list[str]:
    if by == "migrate":
        return migrate(dsn)
    psql(dsn, "-f", str(sql_folder() / "install.sql"))
    return []


@pytest.mark.parametrize("by", ["migrate", "psql"])
def test_an_upgrade_loses_and_alters_no_job(old: tuple[str, bool], psql: Psql, by: str) -> None:
    dsn, has_ledger = old
    before = [row["row"] for row in rows(dsn, JOBS.format(""))]
    queues = rows(dsn, "select * from jobs_queues order by queue")
    assert {row["status"] for row in before} == {
        "pending", "processing", "completed", "failed", "cancelled",
    }
    applied = upgrade(dsn, psql, by)
    if by == "migrate":
        assert applied == [m for m in MIGRATIONS if not (has_ledger and m == "0001_jobs")]
        assert migrate(dsn) == []
    after = [row["row"] for row in rows(dsn, JOBS.format(""))]
    # A release may add columns; the earlier ones keep their values.
    kept = [{key: new[key] for key in row} for row, new in zip(before, after, strict=True)]
    assert kept == before
    assert rows(dsn, "select * from jobs_queues order by queue") == queues


@pytest.mark.parametrize("by", ["migrate", "psql"])
def test_an_upgraded_database_equals_a_new_installation(
    old: tuple[str, bool], psql: Psql, dump: Callable[..., str], pgjobs_dsn: str, by: str
) -> None:
    dsn, _ = old
    upgrade(dsn, psql, by)
    assert dump(dsn) == dump(pgjobs_dsn)


async def test_claims_workers_and_operators_go_on_after_an_upgrade(
    old: tuple[str, bool], psql: Psql
) -> None:
    dsn, _ = old
    migrate(dsn)
    conn = await asyncpg.connect(dsn)
    try:
        await claims_go_on(conn)
        await workers_that_hold_jobs_go_on(conn)
        await operators_go_on(conn)
    finally:
        await conn.close()


async def ids(conn: asyncpg.Connection, query: str) -> list[int]:
    return [row["id"] for row in await conn.fetch(query)]


async def row(conn: asyncpg.Connection, job_id: int) -> asyncpg.Record:
    found = await conn.fetchrow("select * from jobs where id = $1", job_id)
    assert found is not None
    return found


async def claims_go_on(conn: asyncpg.Connection) -> None:
    claimed = await conn.fetch("select * from jobs_claim('new', '{default,closed}', 100)")
    assert [job["id"] for job in claimed] == [5, 2, 1, 4, 6]
    assert claimed[2]["payload"] == '{"ä": ["€", 1.50, null]}'
    assert [job["attempt"] for job in claimed] == [3, 1, 1, 3, 1]
    await conn.execute("select from jobs_complete(2, '{}', 'new', 1)")
    done = "select id from jobs_complete_many('new', '{1,5}', '{1,3}', '{null,null}') id"
    assert await ids(conn, done) == [1, 5]
    # The job's own list of delays is still in its row.
    late = "select run_at - updated_at from jobs_fail(4, 'again', worker => 'new', attempt => 3)"
    assert (await conn.fetchval(late)).total_seconds() == 3600
    assert await ids(conn, "select id from jobs_enqueue('unique', unique_key => 'live')") == [6]
    assert await ids(conn, "select id from jobs_enqueue('unique', unique_key => 'kept')") == [7]
    await conn.execute("select from jobs_resume('closed')")
    assert await ids(conn, "select id from jobs_claim('new', '{closed}')") == [8]


async def workers_that_hold_jobs_go_on(conn: asyncpg.Connection) -> None:
    with pytest.raises(JobNotHeld):
        await conn.execute("select from jobs_complete(10, null, 'psql', 2)")
    held = "select state from jobs_heartbeat('psql', '{9,10}', '{1,3}', '1 hour')"
    assert [r["state"] for r in await conn.fetch(held)] == ["held", "held"]
    await conn.execute("update jobs set lease_until = now() - interval '1 s' where id = 10")
    assert sorted(await ids(conn, "select id from jobs_recover()")) == [10, 12, 16]
    assert [(await row(conn, i))["status"] for i in (10, 12, 16)] == [
        "pending", "cancelled", "pending",
    ]
    assert (await row(conn, 16))["crash_count"] == 1
    assert await conn.fetchval("select count(*) from jobs_workers") == 0
    assert await conn.fetchval("select status from jobs_complete(9, '1', 'psql', 1)") == "completed"
    assert await ids(conn, "select id from jobs_recover('by hand')") == [11]


async def operators_go_on(conn: asyncpg.Connection) -> None:
    assert await conn.fetchval("select jobs_retry_many()") == 1
    assert (await row(conn, 14))["status"] == "pending"
    assert await conn.fetchval("select jobs_cleanup('7 days', '{completed,cancelled}')") == 2
    assert await ids(conn, "select id from jobs where id in (13, 15)") == []
    await conn.execute("select from jobs_enqueue('unique', unique_key => 'again')")
    await conn.execute(
        """select from jobs_cancel(6, worker => 'new', attempt => 1);
        select from jobs_enqueue('unique', unique_key => 'live')"""
    )
    with pytest.raises(DuplicateJob):
        await conn.execute("select from jobs_retry(6)")
    assert await conn.fetchval("select sum(count) from jobs_stats") == 16
    verdicts = await conn.fetch("select check_name, verdict from jobs_doctor()")
    assert {r["verdict"] for r in verdicts if r["check_name"] in ("indexes", "persistence",
            "notifying trigger", "privileges", "version")} == {"ok"}


@pytest.mark.parametrize("by", ["migrate", "psql"])
def test_an_upgrade_that_changes_nothing_waits_for_no_transaction(
    empty_dsn: str, psql: Psql, by: str
) -> None:
    migrate(empty_dsn)
    with psycopg.connect(empty_dsn) as producer:
        # The producer has not committed: creating an index or a trigger would wait for it.
        producer.execute("select from jobs_enqueue('a')")
        upgrade(empty_dsn, psql, by)
        producer.execute("select from jobs_enqueue('b')")
    left = rows(empty_dsn, "select job_type from jobs order by id")
    assert [row["job_type"] for row in left] == ["a", "b"]
