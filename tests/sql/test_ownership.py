"""The installation does not build upon objects of other owners that have names of pgjobs."""

import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pgjobs.errors import SchemaMismatch
from pgjobs.schema.migrate import migrate, sql_folder

Query = Callable[..., list[tuple[Any, ...]]]
Psql = Callable[..., subprocess.CompletedProcess[str]]
TRAPS = {
    "function public._jobs_notify()": """create function _jobs_notify() returns trigger
        language plpgsql as 'begin return null; end'""",
    "function public.jobs_pause(text)": """create function jobs_pause(queue text) returns int
        language sql as 'select 1'""",
    "view public.jobs_stats": """create view jobs_stats as
        select ''::text as queue, ''::text as job_type, ''::text as status""",
    "table public.jobs_queues": "create table jobs_queues (queue text, paused_at timestamptz,"
        " max_running int, has_groups boolean)",
    "table public.pgjobs_migrations": "create table pgjobs_migrations (migration_id text)",
}


def make(dsn: str, role: str, statement: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"set role {role}".encode())
        connection.execute(statement.encode())


@pytest.mark.parametrize("by", ["migrate", "psql"])
@pytest.mark.parametrize("named", TRAPS)
def test_the_installation_does_not_build_upon_an_object_of_another_owner(
    empty_dsn: str, query: Query, psql: Psql, stranger: str, named: str, by: str
) -> None:
    make(empty_dsn, stranger, TRAPS[named])
    before = query("select count(*) from pg_class"), query("select count(*) from pg_proc")
    said = f"the {named} belongs to {stranger}"
    if by == "migrate":
        with pytest.raises(SchemaMismatch, match="nothing was changed") as caught:
            migrate(empty_dsn)
        assert said in str(caught.value)
    else:
        done = psql(empty_dsn, "-f", str(sql_folder() / "install.sql"), check=False)
        assert said in done.stderr
    after = query("select count(*) from pg_class"), query("select count(*) from pg_proc")
    assert after == before
    # In another schema the installation succeeds.
    assert migrate(empty_dsn, "jobs") == ["0001_jobs"]


def test_a_type_of_another_owner_with_a_name_of_pgjobs_is_refused(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    make(empty_dsn, stranger, "create domain jobs_priority as smallint")
    with pytest.raises(SchemaMismatch, match=r"type public\.jobs_priority.*--schema"):
        migrate(empty_dsn)
    assert query("select to_regclass('jobs')") == [(None,)]
    assert migrate(empty_dsn, "jobs") == ["0001_jobs"]


def test_a_superuser_may_not_upgrade_the_installation_of_a_role_but_that_role_may(
    empty_dsn: str, query: Query, stranger: str
) -> None:
    as_role = f"{empty_dsn}&options=-c%20role%3D{stranger}"
    migrate(as_role)
    with pytest.raises(SchemaMismatch, match=f"belongs to {stranger}.*install as that role"):
        migrate(empty_dsn)
    assert migrate(as_role) == []
    # The owner may act as the installing role anyway, so its objects are no trap.
    query("do $$ begin execute format('grant %I to pgjobs_stranger', current_user); end $$")
    assert migrate(empty_dsn) == []


def test_a_function_that_a_release_adds_is_closed_to_everybody(
    empty_dsn: str, query: Query, copied_sql: Any
) -> None:
    migrate(empty_dsn)
    (copied_sql / "functions" / "manage" / "jobs_new.sql").write_text(
        "create or replace function jobs_new() returns int language sql"
        " set search_path from current return 1;"
    )
    for name, old, new in (
        ("install.sql", "\\ir views/jobs_list.sql\n", "\\ir functions/manage/jobs_new.sql\n"),
        (
            "install/signatures.sql",
            "        ('_jobs_notify',",
            "        ('jobs_new', 'integer', ''),\n",
        ),
    ):
        text = (copied_sql / name).read_text()
        assert text.count(old) == 1
        (copied_sql / name).write_text(text.replace(old, new + old))
    migrate(empty_dsn)
    granted = "select has_function_privilege('public', 'jobs_new()', 'execute')"
    assert query(granted) == [(False,)]
