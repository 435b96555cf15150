"""The examples of docs/sql.md run one after the other, exactly as the page prints them."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"


async def test_the_examples_of_the_reference_are_true(pgjobs_dsn, psql, tmp_path):
    blocks = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "examples.sql"
    script.write_text("".join(block for block in blocks if "cron." not in block))
    answer = psql(pgjobs_dsn, "-A", "-v", "ON_ERROR_STOP=1", "-f", str(script)).stdout
    assert 'completed|{"pages": 3}' in answer
    assert "cancelled|customer left" in answer
    assert "pending|1|00:0" in answer
    assert 'Asynchronous notification "public.jobs" with payload "default"' in answer


async def test_the_signatures_of_the_reference_are_those_of_the_functions(conn):
    signature = re.compile(r"^```text\n(jobs_\w+)\((.*?)\)\s+returns", re.MULTILINE | re.DOTALL)
    blocks = signature.findall(PAGE.read_text())
    assert len(blocks) == 39
    for name, arguments in blocks:
        printed = re.findall(r"(\w+) [\w\[\]]+(?: = |,|$)", " ".join(arguments.split()))
        names = await conn.fetchval(
            "select proargnames[1:pronargs] from pg_proc where proname = $1", name
        )
        assert printed == names, name


async def test_the_statements_of_a_worker_in_another_language_are_true(conn):
    text = PAGE.read_text().split("## A worker in another language")[1]
    statements = re.findall(r"(select [^;]+);", text)
    assert len(statements) == 8
    await conn.execute("select jobs_enqueue('x') from generate_series(1, 6)")
    await conn.execute("select jobs_enqueue('thumbnail') from generate_series(1, 3)")
    answers = [await conn.fetch(statement) for statement in statements]
    assert [row["id"] for row in answers[0]] == [7, 8, 9]
    assert [row["state"] for row in answers[1]] == ["held", "held"]
    assert await conn.fetchval("select result from jobs where id = 7") == '{"width": 64}'
    assert await conn.fetchval("select status from jobs where id = 8") == "cancelled"
    assert await conn.fetchval("select status from jobs where id = 9") == "pending"
