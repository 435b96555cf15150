"""Databases that were made from a part of a dump are migrated."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pgjobs.schema.migrate import migrate

Query = Callable[..., list[tuple[Any, ...]]]
Psql = Callable[..., subprocess.CompletedProcess[str]]
LEDGER = ["pgjobs_migrations", "pgjobs_migrations_log", "pgjobs_migrations_version"]


@pytest.mark.parametrize("emptied", [*LEDGER, ", ".join(LEDGER)])
def test_a_restore_without_the_rows_of_the_ledger_is_migrated(
    empty_dsn: str, query: Query, emptied: str
) -> None:
    migrate(empty_dsn)
    query("select from jobs_enqueue('kept')")
    query(f"truncate {emptied}")
    expected = ["0001_jobs"] if "pgjobs_migrations" in emptied.split(", ") else []
    assert migrate(empty_dsn) == expected
    assert migrate(empty_dsn) == []
    assert query("select job_type from jobs") == [("kept",)]
    assert migrate(empty_dsn, down=1) == ["0001_jobs"]


@pytest.mark.parametrize("dropped", [*LEDGER, "pgjobs_migrations_lock", ", ".join(LEDGER)])
def test_a_restore_without_tables_of_the_ledger_is_migrated(
    empty_dsn: str, query: Query, dropped: str
) -> None:
    migrate(empty_dsn)
    query(f"drop table {dropped}")
    migrate(empty_dsn)
    assert migrate(empty_dsn) == []
    assert migrate(empty_dsn, down=1) == ["0001_jobs"]


def test_a_restore_of_the_schema_alone_is_migrated(
    empty_dsn: str, query: Query, psql: Psql, pg_program: Callable[[str], str], tmp_path: Any
) -> None:
    migrate(empty_dsn, "jobs")
    query("select from jobs.jobs_enqueue('not in the dump')")
    dumped = subprocess.run(
        [pg_program("pg_dump"), "--schema-only", "-d", empty_dsn, "-f", str(tmp_path / "dump")],
        check=False, capture_output=True, text=True,
    )
    if "server version mismatch" in dumped.stderr:
        pytest.skip("this machine's pg_dump is older than the server")
    query("drop schema jobs cascade")
    psql(empty_dsn, "-v", "ON_ERROR_STOP=1", "-f", str(tmp_path / "dump"))
    assert migrate(empty_dsn, "jobs") == ["0001_jobs"]
    assert migrate(empty_dsn, "jobs") == []
    assert query("select id from jobs.jobs_enqueue('t')") == [(1,)]


def test_a_ledger_that_was_restored_twice_is_read_as_one(empty_dsn: str, query: Query) -> None:
    migrate(empty_dsn)
    for table in LEDGER:
        query(f"alter table {table} drop constraint {table}_pkey")
        query(f"insert into {table} select * from {table}")
    assert migrate(empty_dsn) == []
    assert migrate(empty_dsn, down=1) == ["0001_jobs"]
    assert migrate(empty_dsn) == ["0001_jobs"]


def test_a_ledger_whose_tables_are_gone_is_begun_again(empty_dsn: str, query: Query) -> None:
    migrate(empty_dsn)
    query("drop table jobs, jobs_queues, jobs_schedules, jobs_retention cascade")
    query("drop table jobs_workers, jobs_worker_ticks, jobs_turns, jobs_turns_from cascade")
    query("drop table jobs_starts, jobs_watched, jobs_attempts, jobs_audit, jobs_flows cascade")
    query("drop table jobs_ends, jobs_history, jobs_totals, jobs_durations cascade")
    for (domain,) in query(
        "select typname from pg_type where typtype = 'd' and typname ~ '^jobs_'"
    ):
        query(f"drop domain {domain} cascade")
    query("drop type jobs_parent cascade")
    assert migrate(empty_dsn) == ["0001_jobs"]
    assert query("select id from jobs_enqueue('t')") == [(1,)]


@pytest.mark.parametrize(
    "left_out",
    [
        "jobs_queues", "jobs_schedules", "jobs_retention", "jobs_workers", "jobs_worker_ticks",
        "jobs_turns", "jobs_turns_from", "jobs_starts", "jobs_watched",
        "jobs_attempts",
        "jobs_audit",
        "jobs_flow_changes",
        "jobs_flow_edges",
        "jobs_flows",
        "jobs_ends",
        "jobs_history",
        "jobs_totals",
        "jobs_durations",
    ]
)
def test_a_restore_that_left_a_table_out_is_migrated(
    empty_dsn: str, query: Query, left_out: str
) -> None:
    migrate(empty_dsn)
    query("select from jobs_enqueue('kept')")
    query(f"drop table {left_out} cascade")
    assert migrate(empty_dsn) == ["0001_jobs"]
    assert migrate(empty_dsn) == []
    assert query("select job_type from jobs") == [("kept",)]


def test_a_ledger_of_a_later_yoyo_is_read(empty_dsn: str, query: Query) -> None:
    migrate(empty_dsn)
    query("insert into pgjobs_migrations_version values (99, now())")
    assert migrate(empty_dsn) == []
