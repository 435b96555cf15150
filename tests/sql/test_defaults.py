"""Odd defaults of a role or a database: they change neither the schema nor pgjobs' sessions."""

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import contents
import psycopg
import pytest

from pgjobs import App
from pgjobs.schema.migrate import migrate

Psql = Callable[..., subprocess.CompletedProcess[str]]
Query = Callable[..., list[tuple[Any, ...]]]
INSTALL = str(contents.SQL / "install.sql")
ODD = {
    "default_transaction_isolation": "serializable",
    "timezone": "Asia/Kathmandu",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "quote_all_identifiers": "on",
    "client_encoding": "LATIN1",
    "search_path": "evil, pg_catalog",
}
# Names of PostgreSQL's that would come first in that path.
EVIL = """
    create schema evil;
    create function evil.hashtextextended(text, int) returns bigint
        language plpgsql as $$begin raise 'evil'; end$$;
    create function evil.pg_try_advisory_lock(bigint) returns boolean
        language plpgsql as $$begin raise 'evil'; end$$;
    create function evil.pg_backend_pid() returns int
        language plpgsql as $$begin raise 'evil'; end$$;
    create view evil.pg_namespace as select 1 / 0 as nspname
"""


@pytest.fixture(params=["database", "role"])
def odd(request: pytest.FixtureRequest, query: Query) -> Iterator[Callable[[], None]]:
    """Gives the database of ``empty_dsn`` odd defaults; calling it takes them back."""
    (database,) = query("select quote_ident(current_database()), quote_ident(current_user)")
    of = f"database {database[0]}"
    if request.param == "role":
        of = f"role {database[1]} in {of}"
    query(EVIL)
    for name, value in ODD.items():
        query(f"alter {of} set {name} = {value if name == 'search_path' else repr(value)}")

    def reset() -> None:
        query(f"set search_path = pg_catalog; alter {of} reset all")

    yield reset
    reset()


@pytest.mark.parametrize("schema", ["public", 'My "jobs"'])
@pytest.mark.parametrize("by", ["migrate", "psql"])
def test_defaults_of_role_and_database_do_not_change_what_is_installed(
    empty_dsn: str, query: Query, odd: Callable[[], None], psql: Psql, dump: Callable[..., str],
    by: str, schema: str,
) -> None:
    def install() -> None:
        if by == "psql":
            done = psql(empty_dsn, "-v", f"schema={schema}", "-f", INSTALL)
            assert (done.stdout, done.stderr) == ("", "")
        else:
            migrate(empty_dsn, schema)

    oids = "select oid, proname from pg_proc where proname ~ '^_?jobs_' order by 1"
    install()
    functions = query(f"set search_path = pg_catalog; {oids}")
    install()  # compares the signatures, and drops those that differ
    assert query(f"set search_path = pg_catalog; {oids}") == functions
    odd()
    under_odd_defaults = dump(empty_dsn)
    quoted = '"' + schema.replace('"', '""') + '"'
    query(f"drop schema {quoted} cascade; create schema {quoted}")
    if schema == "public":
        query("grant usage on schema public to public; alter schema public owner to"
              " pg_database_owner; comment on schema public is 'standard public schema'")
    install()
    assert dump(empty_dsn) == under_odd_defaults


async def test_a_worker_and_a_producer_have_their_own_settings(pgjobs_dsn: str, conn: Any) -> None:
    database = await conn.fetchval("select quote_ident(current_database())")
    for name, value in ODD.items():
        if name != "search_path":
            await conn.execute(f"alter database {database} set {name} = '{value}'")
    names = [name for name in ODD if name != "search_path"]
    shown = f"select {', '.join(f'current_setting($${name}$$) as {name}' for name in names)}"
    async with App(pgjobs_dsn) as app:
        worker = app.worker()
        links = worker._links
        pool = await app.pool()
        producer = app._connections().producer._link
        for executor in (pool, producer, links.claim, links.settle, links.listen):
            for _ in range(2):  # the pool has reset its session in between
                (found,) = await executor.fetch(shown)
                assert dict(found) == {
                    "default_transaction_isolation": "read committed", "timezone": "UTC",
                    "datestyle": "ISO, MDY", "intervalstyle": "postgres",
                    "quote_all_identifiers": "off", "client_encoding": "UTF8",
                }
        for link in (links.claim, links.settle, links.listen):
            await link.close()


async def test_a_read_only_default_is_not_overridden(pgjobs_dsn: str, conn: Any) -> None:
    database = await conn.fetchval("select quote_ident(current_database())")
    await conn.execute(f"alter database {database} set default_transaction_read_only = on")
    async with App(pgjobs_dsn) as app:
        assert await (await app.pool()).fetchval("show transaction_read_only") == "on"
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        migrate(pgjobs_dsn, "other")


def test_a_database_without_an_encoding_is_migrated_twice_and_down(
    ascii_dsn: str, psql: Psql
) -> None:
    assert migrate(ascii_dsn) == ["0001_jobs"]
    assert migrate(ascii_dsn) == []
    psql(ascii_dsn, "-f", INSTALL)
    assert migrate(ascii_dsn, down=1) == ["0001_jobs"]
    assert migrate(ascii_dsn, "été") == ["0001_jobs"]
    assert migrate(ascii_dsn, "été") == []

