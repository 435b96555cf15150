"""sql/install.sql, run by psql alone."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import contents
import psycopg
import pytest

from pgjobs.schema.migrate import migrate, script

Psql = Callable[..., subprocess.CompletedProcess[str]]
INSTALL = str(contents.SQL / "install.sql")
OIDS = "select oid, proname from pg_proc where proname ~ '^jobs' order by 1"
ODD_SCHEMAS = ["Jobs", 'a "b"', "with space", "select", "été", "100%s", "it's", "s" * 58]


def query(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


def test_every_file_is_named_in_the_table_of_contents() -> None:
    assert contents.listed("install.sql") == contents.includes(), "run: make contents"
    text = (contents.SQL / "install.sql").read_text()
    for path in (contents.SQL / "migrations").glob("*.sql"):
        assert (f"\\ir migrations/{path.name}" in text) == (".rollback" not in path.name)


def test_every_signature_is_in_the_list(pgjobs_dsn: str) -> None:
    with psycopg.connect(pgjobs_dsn) as connection:
        found = contents.signatures(connection)
    assert contents.listed("install/signatures.sql") == found, "run: make contents"


def test_check_sql_names_every_relation(pgjobs_dsn: str) -> None:
    text = (contents.SQL / "install" / "check.sql").read_text()
    rows = query(
        pgjobs_dsn,
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and (relkind in ('r', 'v') or relname ~ '^ix_jobs') and relname !~ '^pgjobs_migrations'",
    )
    assert len(rows) >= 13
    assert [name for (name,) in rows if f"'{name}'" not in text] == []


def test_each_function_stands_in_the_file_of_its_name(pgjobs_dsn: str) -> None:
    rows = query(
        pgjobs_dsn,
        "select proname from pg_proc where pronamespace = 'public'::regnamespace order by 1",
    )
    files = sorted(path.stem for path in (contents.SQL / "functions").glob("*/*.sql"))
    assert [name for (name,) in rows] == files


def test_no_function_name_is_overloaded(pgjobs_dsn: str) -> None:
    rows = query(
        pgjobs_dsn,
        "select proname from pg_proc where pronamespace = 'public'::regnamespace"
        " group by 1 having count(*) > 1",
    )
    assert rows == []


def test_install_sql_prints_nothing_and_installs_into_public(empty_dsn: str, psql: Psql) -> None:
    done = psql(empty_dsn, "-f", INSTALL)
    assert (done.stdout, done.stderr) == ("", "")
    assert query(empty_dsn, "select to_regclass('public.jobs')::text") == [("jobs",)]


def test_installing_again_changes_nothing(
    empty_dsn: str, psql: Psql, dump: Callable[..., str]
) -> None:
    psql(empty_dsn, "-f", INSTALL)
    first = dump(empty_dsn)
    functions = query(empty_dsn, OIDS)
    done = psql(empty_dsn, "-f", INSTALL)
    assert (done.stdout, done.stderr) == ("", "")
    assert dump(empty_dsn) == first
    # The functions were replaced, not dropped: their grants and their dependent objects stay.
    assert functions == query(empty_dsn, OIDS)


@pytest.mark.parametrize("schema", ["public", 'a "b"'])
def test_psql_and_pgjobs_migrate_give_the_same_schema(
    empty_dsn: str, psql: Psql, dump: Callable[..., str], schema: str
) -> None:
    assert migrate(empty_dsn, schema) == ["0001_jobs"]
    by_migrate = dump(empty_dsn)
    assert "jobs_claim" in by_migrate
    psql(empty_dsn, "-v", f"schema={schema}", "-f", INSTALL)
    assert dump(empty_dsn) == by_migrate
    assert migrate(empty_dsn, schema, down=1) == ["0001_jobs"]
    psql(empty_dsn, "-v", f"schema={schema}", "-f", INSTALL)
    assert dump(empty_dsn) == by_migrate
    assert migrate(empty_dsn, schema) == ["0001_jobs"]
    assert dump(empty_dsn) == by_migrate


@pytest.mark.parametrize("schema", ODD_SCHEMAS)
def test_a_schema_with_an_odd_name_is_installed(empty_dsn: str, psql: Psql, schema: str) -> None:
    psql(empty_dsn, "-v", f"schema={schema}", "-f", INSTALL)
    with psycopg.connect(empty_dsn) as connection:
        row = connection.execute(
            "select count(*) from pg_class where relnamespace = %s::regnamespace"
            " and relname in ('jobs', 'jobs_queues', 'jobs_workers', 'jobs_stats')",
            ['"' + schema.replace('"', '""') + '"'],
        ).fetchone()
    assert row == (4,)


def test_a_schema_name_of_more_than_58_bytes_is_refused(empty_dsn: str, psql: Psql) -> None:
    done = psql(empty_dsn, "-v", f"schema={'s' * 59}", "-f", INSTALL, check=False)
    assert done.returncode != 0
    assert "58 bytes" in done.stderr
    assert "--schema" in done.stderr
    assert query(empty_dsn, "select 1 from pg_namespace where nspname ~ '^sss'") == []


def test_installations_at_the_same_moment_all_succeed(empty_dsn: str, psql: Psql) -> None:
    results: list[subprocess.CompletedProcess[str]] = []

    def install() -> None:
        results.append(psql(empty_dsn, "-v", "schema=jobs", "-f", INSTALL, check=False))

    threads = [threading.Thread(target=install) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(done.returncode, done.stderr) for done in results] == [(0, "")] * 3


def test_the_single_script_installs_without_other_files(
    empty_dsn: str, psql: Psql, dump: Callable[..., str], tmp_path: Path
) -> None:
    single = tmp_path / "pgjobs.sql"
    single.write_text(script())
    assert "\\ir" not in single.read_text()
    done = psql(empty_dsn, "-v", "schema=elsewhere", "-f", str(single))
    assert (done.stdout, done.stderr) == ("", "")
    by_script = dump(empty_dsn)
    migrate(empty_dsn, "elsewhere")
    assert dump(empty_dsn) == by_script


def test_psql_15_can_run_install_sql(empty_dsn: str) -> None:
    client = Path("/usr/lib/postgresql/15/bin/psql")
    if not client.exists():
        pytest.skip("no PostgreSQL 15 on this machine")
    done = subprocess.run(
        [str(client), "-X", "-d", empty_dsn, "-f", INSTALL],
        check=False, capture_output=True, text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("foreign", "named"),
    [
        ("create table jobs (id serial primary key, status text)", "table public.jobs"),
        ("create view jobs as select 1 as id", "view public.jobs"),
        ("create table jobs_queues (id int)", "table public.jobs_queues"),
        ("create table jobs_workers (id int)", "table public.jobs_workers"),
        ("create table jobs_stats (id int)", "table public.jobs_stats"),
        ("create table jobs_schedules (id int)", "table public.jobs_schedules"),
        ("create table jobs_retention (id int)", "table public.jobs_retention"),
        (
            "create table mine (at int); create index ix_jobs_schedules_due on mine (at)",
            "index public.ix_jobs_schedules_due",
        ),
        (
            "create table mine (status text); create index ix_jobs_status on mine (status)",
            "index public.ix_jobs_status",
        ),
    ],
)
def test_objects_that_pgjobs_did_not_make_are_left_alone(
    empty_dsn: str, psql: Psql, dump: Callable[..., str], foreign: str, named: str
) -> None:
    psql(empty_dsn, "-c", foreign)
    before = dump(empty_dsn)
    done = psql(empty_dsn, "-f", INSTALL, check=False)
    assert done.returncode != 0
    assert named in done.stderr
    assert "--schema" in done.stderr
    assert dump(empty_dsn) == before
    psql(empty_dsn, "-v", "schema=pgjobs", "-f", INSTALL)


def test_the_owner_of_a_schema_needs_no_right_on_the_database(
    empty_dsn: str, psql: Psql
) -> None:
    psql(empty_dsn, "-c", "create role pgjobs_installer", "-c",
         "create schema theirs authorization pgjobs_installer")
    try:
        psql(empty_dsn, "-c", "set role pgjobs_installer", "-v", "schema=theirs", "-f", INSTALL)
        owners = query(
            empty_dsn, "select distinct tableowner from pg_tables where schemaname = 'theirs'"
        )
        assert owners == [("pgjobs_installer",)]
    finally:
        psql(empty_dsn, "-c", "drop owned by pgjobs_installer cascade", "-c",
             "drop role pgjobs_installer")


