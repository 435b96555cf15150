"""A function with a changed signature replaces the older function; owner and grants stay."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgjobs.schema.migrate import migrate, sql_folder

Psql = Callable[..., subprocess.CompletedProcess[str]]
Query = Callable[..., list[tuple[Any, ...]]]
FUNCTIONS = "select count(*), min(pronargs) from pg_proc where proname = %s"
GRANTED = "select proacl::text from pg_proc where proname = %s"


@pytest.fixture
def role(query: Query) -> Iterator[str]:
    query("create role pgjobs_producer")
    yield "pgjobs_producer"
    query("drop owned by pgjobs_producer cascade")
    query("drop role pgjobs_producer")


@pytest.mark.parametrize("by", ["psql", "migrate"])
@pytest.mark.parametrize(
    "older",
    [
        pytest.param("jobs_pause() returns setof jobs_queues", id="fewer arguments"),
        pytest.param("jobs_pause(queue text) returns bigint", id="another result"),
        pytest.param("jobs_pause(name text) returns setof jobs_queues", id="another name"),
        pytest.param("jobs_pause(queue text = 'a') returns setof jobs_queues", id="a default"),
        pytest.param("jobs_pause(queue text, a int) returns setof jobs_queues", id="more"),
    ],
)
def test_a_changed_signature_replaces_the_older_function_and_keeps_its_grants(
    empty_dsn: str, query: Query, psql: Psql, role: str, older: str, by: str
) -> None:
    migrate(empty_dsn)
    count, arguments = query(FUNCTIONS, "jobs_pause")[0]
    query("drop function jobs_pause")
    query(f"create function {older} language plpgsql as 'begin end'")
    query("revoke all on function jobs_pause from public")
    query(f"grant execute on function jobs_pause to {role} with grant option")
    granted = query(GRANTED, "jobs_pause")
    if by == "psql":
        psql(empty_dsn, "-f", str(sql_folder() / "install.sql"))
    else:
        migrate(empty_dsn)
    assert query(FUNCTIONS, "jobs_pause") == [(count, arguments)] == [(1, arguments)]
    assert query(GRANTED, "jobs_pause") == granted
    assert query("select queue from jobs_pause('a')") == [("a",)]


def test_a_changed_view_is_replaced_and_keeps_its_grants(
    empty_dsn: str, query: Query, role: str
) -> None:
    migrate(empty_dsn)
    columns = "select attname from pg_attribute where attrelid = 'jobs_stats'::regclass"
    before = query(columns)
    query("drop view jobs_stats")
    query("create view jobs_stats as select 1 as gone, queue, job_type, status from jobs")
    query(f"grant select on jobs_stats to {role}")
    migrate(empty_dsn)
    assert query(columns) == before
    assert query("select has_table_privilege(%s, 'jobs_stats', 'select')", role) == [(True,)]


def test_a_function_that_a_release_no_longer_has_is_removed(
    empty_dsn: str, query: Query, copied_sql: Path
) -> None:
    query("create function jobs_given_up(a int) returns int language sql as 'select 1'")
    path = copied_sql / "install/signatures.sql"
    start = "    from (values\n"
    path.write_text(path.read_text().replace(start, f"{start}('jobs_given_up', null, null),\n"))
    migrate(empty_dsn)
    assert query(FUNCTIONS, "jobs_given_up") == [(0, None)]
    migrate(empty_dsn)


def test_an_object_that_depends_on_a_changed_function_is_not_dropped(
    empty_dsn: str, query: Query
) -> None:
    migrate(empty_dsn)
    query("drop function jobs_pause")
    query("create function jobs_pause() returns int language sql as 'select 1'")
    query("create view theirs as select jobs_pause() as one")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="jobs_pause"):
        migrate(empty_dsn)
    assert query("select one from theirs") == [(1,)]
    query("drop view theirs")
    migrate(empty_dsn)


def test_functions_are_made_all_or_none(empty_dsn: str, query: Query, copied_sql: Path) -> None:
    (copied_sql / "views" / "jobs_stats.sql").write_text("select nothing;")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        migrate(empty_dsn)
    assert query("select count(*) from pg_proc where proname ~ '^_?jobs_'") == [(0,)]


def test_an_unchanged_function_keeps_its_grants_too(
    empty_dsn: str, query: Query, role: str
) -> None:
    migrate(empty_dsn)
    query("revoke all on function jobs_pause from public")
    query(f"grant execute on function jobs_pause to {role}")
    granted = query(GRANTED, "jobs_pause")
    migrate(empty_dsn)
    assert query(GRANTED, "jobs_pause") == granted


def test_the_owner_of_a_replaced_function_stays(
    empty_dsn: str, query: Query, role: str
) -> None:
    migrate(empty_dsn)
    query("drop function jobs_pause")
    query("create function jobs_pause() returns int language sql as 'select 1'")
    query(f"alter function jobs_pause owner to {role}")
    # Without this grant the installation would refuse the function of another owner.
    query("do $$ begin execute format('grant %I to pgjobs_producer', current_user); end $$")
    migrate(empty_dsn)
    owner = query("select proowner::regrole::text from pg_proc where proname = 'jobs_pause'")
    assert owner == [(role,)]
