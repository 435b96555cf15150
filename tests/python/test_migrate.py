"""The function pgjobs.migrate and its ledger."""

import subprocess
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgjobs.errors import InvalidArgument, PgjobsError, SchemaMismatch
from pgjobs.schema.migrate import migrate, script, sql_folder

Psql = Callable[..., subprocess.CompletedProcess[str]]
ODD_SCHEMAS = ["Jobs", 'a "b"', "with space", "select", "été", "100%s", "it's", "s" * 58]


Query = Callable[..., list[tuple[Any, ...]]]


def test_it_returns_the_migrations_that_it_applied(empty_dsn: str) -> None:
    assert migrate(empty_dsn) == ["0001_jobs"]
    assert migrate(empty_dsn) == []


def test_it_prints_nothing(empty_dsn: str, capfd: pytest.CaptureFixture[str]) -> None:
    migrate(empty_dsn)
    migrate(empty_dsn, down=1)
    assert capfd.readouterr() == ("", "")


def test_the_address_comes_from_the_environment(
    empty_dsn: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGJOBS_DSN", empty_dsn)
    migrate(schema="jobs")
    assert query("select count(*) from jobs.jobs") == [(0,)]


@pytest.mark.parametrize("schema", ODD_SCHEMAS)
def test_odd_schema_names(empty_dsn: str, query: Query, schema: str) -> None:
    assert migrate(empty_dsn, schema) == ["0001_jobs"]
    assert migrate(empty_dsn, schema) == []
    found = query("select count(*) from pg_tables where schemaname = %s", schema)
    assert found == [(23,)]  # nineteen tables of pgjobs, four of the ledger
    assert migrate(empty_dsn, schema, down=1) == ["0001_jobs"]


def test_functions_keep_the_schema_as_their_path(empty_dsn: str, query: Query) -> None:
    migrate(empty_dsn, 'My "jobs"')
    paths = query(
        "select distinct unnest(proconfig) from pg_proc where proname ~ '^_?jobs_'"
        " and pronamespace <> 'pg_catalog'::regnamespace and proconfig::text like '%%search_path%%'"
    )
    assert ('search_path="My ""jobs""", pg_temp',) in paths


@pytest.mark.parametrize("schema", ["", "s" * 59, "é" * 30, "a\0b"])
def test_an_invalid_schema_name_is_refused(schema: str) -> None:
    with pytest.raises(InvalidArgument, match=r"58 bytes.*--schema"):
        migrate("postgresql://nobody.invalid/", schema)


def test_schemas_side_by_side(empty_dsn: str, query: Query) -> None:
    assert migrate(empty_dsn, "a") == ["0001_jobs"]
    assert migrate(empty_dsn, "b") == ["0001_jobs"]
    query("select from a.jobs_enqueue('of a')")
    assert query("select count(*) from b.jobs") == [(0,)]
    assert migrate(empty_dsn, "a", down=1) == ["0001_jobs"]
    query("select from b.jobs_enqueue('of b')")
    assert query("select job_type from b.jobs") == [("of b",)]


def test_down_leaves_only_the_ledger_and_up_again_works(empty_dsn: str, query: Query) -> None:
    migrate(empty_dsn, "jobs")
    query("select from jobs.jobs_enqueue('a')")
    assert migrate(empty_dsn, "jobs", down=1) == ["0001_jobs"]
    left = query(
        "select relname from pg_class where relnamespace = 'jobs'::regnamespace and relkind = 'r'"
        " union all select proname from pg_proc where pronamespace = 'jobs'::regnamespace"
        " union all select typname from pg_type"
        " where typnamespace = 'jobs'::regnamespace and typtype <> 'c' and typelem = 0"
        " order by 1"
    )
    assert [name for (name,) in left] == [
        "pgjobs_migrations",
        "pgjobs_migrations_lock",
        "pgjobs_migrations_log",
        "pgjobs_migrations_version",
    ]
    assert migrate(empty_dsn, "jobs", down=1) == []
    assert migrate(empty_dsn, "jobs") == ["0001_jobs"]
    assert query("select count(*) from jobs.jobs") == [(0,)]


def test_down_of_more_migrations_than_there_are_rolls_all_back(empty_dsn: str) -> None:
    migrate(empty_dsn)
    assert migrate(empty_dsn, down=99) == ["0001_jobs"]


def test_down_after_an_installation_by_psql(empty_dsn: str, psql: Psql, query: Query) -> None:
    psql(empty_dsn, "-f", str(sql_folder() / "install.sql"))
    assert migrate(empty_dsn, down=1) == ["0001_jobs"]
    assert query("select to_regclass('jobs')") == [(None,)]


def test_down_below_zero_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="down"):
        migrate("postgresql://nobody.invalid/", down=-1)


def test_two_installations_at_the_same_time_both_succeed(empty_dsn: str, psql: Psql) -> None:
    results: list[object] = []

    def by_python() -> None:
        results.append(migrate(empty_dsn, "jobs"))

    def by_psql() -> None:
        path = str(sql_folder() / "install.sql")
        results.append(psql(empty_dsn, "-v", "schema=jobs", "-f", path).returncode)

    threads = [threading.Thread(target=by) for by in (by_python, by_psql, by_python)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["0", "['0001_jobs']", "[]"]


def test_waiting_for_another_installation_ends(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("pgjobs.schema.migrate"), "_GIVE_UP_LOCK_AFTER_S", 0.2)
    with psycopg.connect(empty_dsn) as other:
        other.execute(
            "select pg_advisory_lock(hashtextextended('pgjobs.install.' || 'public', 0))"
        )
        with pytest.raises(PgjobsError, match="another installation"):
            migrate(empty_dsn)


def test_the_row_of_a_crashed_yoyo_does_not_block(empty_dsn: str, query: Query) -> None:
    migrate(empty_dsn)
    query("delete from pgjobs_migrations")
    query("insert into pgjobs_migrations_lock (locked, ctime, pid) values (1, now(), 1)")
    assert migrate(empty_dsn) == ["0001_jobs"]
    assert query("select count(*) from pgjobs_migrations_lock") == [(0,)]


def test_an_applications_own_yoyo_is_not_disturbed(empty_dsn: str, query: Query) -> None:
    query("create table _yoyo_migration (migration_hash varchar(64))")
    query("create table yoyo_lock (locked int)")
    query("insert into yoyo_lock values (1)")
    migrate(empty_dsn)
    migrate(empty_dsn, down=1)
    assert query("select count(*) from yoyo_lock") == [(1,)]
    assert query("select count(*) from _yoyo_migration") == [(0,)]


def test_a_table_jobs_of_an_application_is_left_alone(empty_dsn: str, query: Query) -> None:
    query("create table jobs (id int)")
    with pytest.raises(SchemaMismatch, match=r"table public\.jobs.*--schema"):
        migrate(empty_dsn)
    with pytest.raises(SchemaMismatch):
        migrate(empty_dsn, down=1)
    assert query("select tablename from pg_tables where schemaname = 'public'") == [("jobs",)]
    assert migrate(empty_dsn, "pgjobs") == ["0001_jobs"]


def test_a_migration_is_sent_unchanged(
    empty_dsn: str,
    query: Query,
    copied_sql: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (copied_sql / "migrations" / "0002_more.sql").write_text(
        "select '100%', ':name', '%(name)s';\n"
        "do $$ begin create table jobs_more (id int); end $$; select 1 as printed;\n"
    )
    (copied_sql / "migrations" / "0002_more.rollback.sql").write_text("drop table jobs_more")
    assert migrate(empty_dsn) == ["0001_jobs", "0002_more"]
    assert migrate(empty_dsn, down=1) == ["0002_more"]
    assert query("select to_regclass('jobs_more'), to_regclass('jobs')::text") == [(None, "jobs")]
    query("select from jobs_enqueue('still there')")
    assert migrate(empty_dsn) == ["0002_more"]
    assert migrate(empty_dsn, down=2) == ["0002_more", "0001_jobs"]
    assert capfd.readouterr() == ("", "")


def test_a_failed_migration_leaves_nothing_behind_and_no_lock(
    empty_dsn: str, query: Query, copied_sql: Path
) -> None:
    bad = copied_sql / "migrations" / "0002_bad.sql"
    bad.write_text("create table jobs_more (id int); select 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_dsn)
    assert query("select to_regclass('jobs_more'), to_regclass('jobs')::text") == [(None, "jobs")]
    bad.write_text("create table jobs_more (id int)")
    # The ledger contains the first migration already.
    assert migrate(empty_dsn) == ["0002_bad"]


def test_migrate_does_not_wait_for_a_reader(
    empty_dsn: str, query: Query
) -> None:
    migrate(empty_dsn)
    with psycopg.connect(empty_dsn) as reader:
        reader.execute("lock table jobs in access share mode")
        assert migrate(empty_dsn) == []  # an ordinary reader does not block


def test_the_script_holds_every_file() -> None:
    text = script()
    assert "\\ir" not in text
    for path in sql_folder().rglob("*.sql"):
        if path.name not in ("install.sql", "drop.sql") and ".rollback" not in path.name:
            assert path.read_text().strip() in text
