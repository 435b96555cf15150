"""The pytest plugin."""

import asyncpg
import psycopg

from pgjobs.testing import Server, expire_lease, make_due

Connection = asyncpg.Connection
_left_open: list[psycopg.Connection] = []


async def test_each_test_has_a_migrated_database_of_its_own(conn: Connection) -> None:
    assert await conn.fetchval("select count(*) from jobs") == 0
    await conn.execute("insert into jobs (job_type) values ('a')")


async def test_what_another_test_wrote_is_not_there(conn: Connection) -> None:
    assert await conn.fetchval("select count(*) from jobs") == 0


def test_the_dsn_suits_both_drivers(pgjobs_dsn: str) -> None:
    with psycopg.connect(pgjobs_dsn) as connection:
        assert connection.execute("select count(*) from jobs").fetchone() == (0,)


def test_a_database_is_dropped_though_connections_are_open(pgjobs_dsn: str) -> None:
    # Closed by nobody until the whole session ends; the next test looks what became of it.
    _left_open.append(psycopg.connect(pgjobs_dsn))


def test_no_database_of_a_test_is_left(pgjobs_server: Server) -> None:
    with psycopg.connect(pgjobs_server.dsn("postgres")) as connection:
        left = connection.execute(
            "select count(*) from pg_database where datname like 'pgjobs_tests_%'"
            " and not datistemplate"
        ).fetchone()
    assert left == (0,)
    for connection in _left_open:
        connection.close()


async def test_make_due_and_expire_lease_move_the_clock_of_a_job(conn: Connection) -> None:
    job_id = await conn.fetchval(
        "insert into jobs (job_type, run_at) values ('a', now() + interval '1 day') returning id"
    )
    await make_due(conn, job_id)
    assert await conn.fetchval("select run_at <= clock_timestamp() from jobs")
    claimed = await conn.fetchrow("select * from jobs_claim('me')")
    assert claimed is not None
    assert claimed["id"] == job_id
    await expire_lease(conn)
    assert await conn.fetchval("select lease_until < clock_timestamp() from jobs")
