"""Each public function has one name in SQL, Python, tests and docs; rules for all functions."""

import re
from pathlib import Path

import pytest

from pgjobs.database import Database

ROOT = Path(__file__).parents[2]
CONTRACT = [
    "enqueue", "enqueue_many", "claim", "next_due", "start", "complete", "fail", "complete_many",
    "fail_many", "release_many", "heartbeat", "recover", "cancel", "retry", "retry_many", "pause",
    "resume", "cleanup", "retain", "watch", "outcomes", "progress", "edit", "copy", "why",
    "cancel_many", "edit_many", "delete_many",
]
FUNCTIONS = """
    select p.proname, obj_description(p.oid) as comment, p.prosecdef,
        p.proisstrict, p.prokind
    from pg_proc p where p.pronamespace = 'public'::regnamespace order by p.proname"""


async def test_every_function_has_a_comment(conn):
    functions = await conn.fetch(FUNCTIONS)
    assert len(functions) > 40
    for function in functions:
        assert function["comment"], function["proname"]


async def test_there_are_no_overloads(conn):
    names = [function["proname"] for function in await conn.fetch(FUNCTIONS)]
    assert len(names) == len(set(names))


async def test_no_function_is_strict_because_a_null_argument_would_silently_do_nothing(conn):
    assert [f["proname"] for f in await conn.fetch(FUNCTIONS) if f["proisstrict"]] == []


async def test_each_function_has_its_file_and_each_file_its_function(conn):
    names = {function["proname"] for function in await conn.fetch(FUNCTIONS)}
    assert {path.stem for path in (ROOT / "sql" / "functions").glob("*/*.sql")} == names


async def test_all_columns_of_jobs_and_all_tables_and_views_have_comments(conn):
    missing = await conn.fetch(
        """select a.attname from pg_attribute a
        where a.attrelid = 'jobs'::regclass and a.attnum > 0
            and col_description(a.attrelid, a.attnum) is null"""
    )
    assert missing == []
    assert all(
        [
            await conn.fetchval("select obj_description($1::text::regclass)", name)
            for name in ["jobs", "jobs_queues", "jobs_workers", "jobs_stats", "jobs_list"]
        ]
    )


@pytest.mark.parametrize("name", CONTRACT)
def test_each_verb_has_its_method_its_tests_and_its_heading(name):
    assert callable(getattr(Database, name))
    assert (ROOT / "tests" / "sql" / f"test_jobs_{name}.py").exists()
    page = (ROOT / "docs" / "sql.md").read_text()
    assert re.search(rf"^## jobs_{name}$", page, re.MULTILINE)
