"""The state machine: each function's result for each status. docs/sql.md has the same table."""

import re
from pathlib import Path

import asyncpg
import pytest

STATUSES = ["pending", "blocked", "processing", "completed", "failed", "cancelled"]

CALLS = {
    "jobs_claim": "select id from jobs_claim('w')",
    "jobs_start": "select id from jobs_start($1, 'w')",
    "jobs_complete": "select id from jobs_complete($1)",
    "jobs_complete_many": """select * from jobs_complete_many(
        'me', array[$1::bigint], '{1}', '{null}')""",
    "jobs_fail": "select id from jobs_fail($1, 'e')",
    "jobs_fail retry => false": "select id from jobs_fail($1, 'e', retry => false)",
    "jobs_fail_many": """select * from jobs_fail_many(
        'me', array[$1::bigint], '{1}', '{e}', '{true}', '{null}')""",
    "jobs_release_many": "select * from jobs_release_many('me', array[$1::bigint], '{1}')",
    "jobs_heartbeat": """select job_id from jobs_heartbeat('me', array[$1::bigint], '{1}', '1 h')
        where state <> 'lost'""",
    "jobs_recover": "select id from jobs_recover('me')",
    "jobs_cancel": "select id from jobs_cancel($1)",
    "jobs_cancel with fence": "select id from jobs_cancel($1, worker => 'me', attempt => 1)",
    "jobs_retry": "select id from jobs_retry($1)",
    "jobs_retry_many": "select $1::bigint where jobs_retry_many() = 1",
    "jobs_edit": "select id from jobs_edit($1, priority => 1)",
    "jobs_copy": "select $1::bigint from jobs_copy($1)",
    "jobs_cancel_many": "select $1::bigint where jobs_cancel_many(array[$1::bigint]) = 1",
    "jobs_edit_many": """select $1::bigint
        where jobs_edit_many(5, job_ids => array[$1::bigint]) = 1""",
    "jobs_delete_many": "select $1::bigint where jobs_delete_many(array[$1::bigint]) = 1",
    "jobs_cleanup": """select $1::bigint
        where jobs_cleanup('0', '{completed,failed,cancelled}') = 1""",
}

# For each status: the status afterwards, the error, `-` for skipped, or `gone`.
TABLE = """
| function                 | pending    | blocked   | processing | completed | failed  | cancelled |
| jobs_claim               | processing | -         | -          | -         | -       | -         |
| jobs_start               | processing | JQ002     | JQ002      | JQ002     | JQ002   | JQ002     |
| jobs_complete            | JQ002      | JQ002     | completed  | JQ002     | JQ002   | JQ002     |
| jobs_complete_many       | -          | -         | completed  | -         | -       | -         |
| jobs_fail                | JQ002      | JQ002     | pending    | JQ002     | JQ002   | JQ002     |
| jobs_fail retry => false | JQ002      | JQ002     | failed     | JQ002     | JQ002   | JQ002     |
| jobs_fail_many           | -          | -         | pending    | -         | -       | -         |
| jobs_release_many        | -          | -         | pending    | -         | -       | -         |
| jobs_heartbeat           | -          | -         | processing | -         | -       | -         |
| jobs_recover             | -          | -         | pending    | -         | -       | -         |
| jobs_cancel              | cancelled  | cancelled | processing | JQ002     | JQ002   | cancelled |
| jobs_cancel with fence   | JQ002      | JQ002     | cancelled  | JQ002     | JQ002   | JQ002     |
| jobs_retry               | JQ002      | JQ002     | JQ002      | pending   | pending | pending   |
| jobs_retry_many          | -          | -         | -          | -         | pending | -         |
| jobs_edit                | pending    | blocked   | JQ002      | JQ002     | JQ002   | JQ002     |
| jobs_copy                | pending    | blocked   | processing | completed | failed  | cancelled |
| jobs_cancel_many         | cancelled  | cancelled | processing | -         | -       | -         |
| jobs_edit_many           | pending    | blocked   | -          | -         | -       | -         |
| jobs_delete_many         | -          | -         | -          | gone      | gone    | gone      |
| jobs_cleanup             | -          | -         | -          | gone      | gone    | gone      |
"""


def cells(table: str) -> list[list[str]]:
    """The cells of a table's rows, without Markdown's marks."""
    lines = [line for line in table.splitlines() if line.startswith("|") and "---" not in line]
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines
    ]


ROWS = {name: dict(zip(STATUSES, rest, strict=True)) for name, *rest in cells(TABLE)[1:]}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("function", CALLS)
async def test_a_function_gives_each_status_the_result_in_the_table(
    conn, job, row, function, status
):
    # Worker and attempt match, so that only the status can be the reason for a refusal.
    held = {"worker": "me", "attempt": 1} if status not in ("pending", "blocked") else {}
    job_id = await job(status, **held)
    before = await row(job_id)
    query = CALLS[function]
    try:
        changed = await conn.fetchval(query, *[job_id] if "$1" in query else [])
    except asyncpg.PostgresError as error:
        result = error.sqlstate
    else:
        after = await row(job_id)
        result = "-" if changed is None else after["status"] if after else "gone"
    assert result == ROWS[function][status]
    if result in ("-", "JQ002"):
        assert await row(job_id) == before


def test_the_reference_has_the_same_table():
    page = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
    table = re.search(r"(?:^\|.*jobs_claim.*\n)(?:^\|.*\n)+", page, re.MULTILINE)
    assert table is not None
    assert cells(table[0]) == cells(TABLE)[1:]
