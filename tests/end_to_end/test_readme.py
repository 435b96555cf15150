"""README.md says what its code does, and the code does so (that it runs: test_docs_run.py)."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import asyncpg

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS: dict[str, list[str]] = {}
for _language, _code in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
    BLOCKS.setdefault(_language, []).append(_code)


def test_every_code_block_is_of_a_kind_that_is_tested_here() -> None:
    assert set(BLOCKS) == {"sh", "sql", "python", "mermaid"}


async def test_the_sql_runs_in_psql(
    conn: asyncpg.Connection, pgjobs_dsn: str, psql: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (block,) = BLOCKS["sql"]
    assert len(block.splitlines()) == 4
    done = await asyncio.to_thread(psql, pgjobs_dsn, "-At", "-v", "ON_ERROR_STOP=1", "-c", block)
    assert 'completed|{"pages": 3}' in done.stdout
    assert "default|file_ingestion|completed|1|" in done.stdout
    rows = await conn.fetch("select status, result::text as result from jobs")
    assert [tuple(row) for row in rows] == [("completed", '{"pages": 3}')]


async def test_the_installation_in_the_text_runs_in_psql(
    empty_dsn: str, psql: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    found = re.search(r"`psql (-v schema=public -f sql/install\.sql)`", README)
    assert found is not None
    await asyncio.to_thread(psql, empty_dsn, *shlex.split(found[1]))


async def test_the_python_runs_after_what_the_section_says_before(
    empty_dsn: str, tmp_path: Path
) -> None:
    section = README.partition("## Python")[2].partition("\n## ")[0]
    (command,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (block,) = BLOCKS["python"]
    assert len([line for line in block.splitlines() if line.strip()]) <= 15
    program = tmp_path / "program.py"
    program.write_text(block)
    bin_folder = Path(sys.executable).parent
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-ec", f"{command}\n{sys.executable} {program}"],
        check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PGJOBS_DSN": empty_dsn, "PYTHONPATH": str(ROOT),
             "PATH": f"{bin_folder}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    conn = await asyncpg.connect(empty_dsn)
    row = await conn.fetchrow(
        "select status, result::text as result, reference_type, reference_id from jobs"
    )
    await conn.close()
    assert "file_ingestion completed" in done.stdout
    assert row is not None
    assert tuple(row) == ("completed", '{"ingested": "a.pdf"}', "file_upload", 42)


def test_the_package_has_the_name_and_the_extras_that_the_readme_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"pip install {project['name']}" in README
    for extra in re.findall(r"extra `(\w+)`", README):
        assert extra in project["optional-dependencies"]


def test_the_diagram_has_the_statuses_of_the_table() -> None:
    (block,) = BLOCKS["mermaid"]
    (known,) = re.findall(r"jobs_status_is_known.*?\bend\)", "".join(
        path.read_text() for path in sorted((ROOT / "sql" / "migrations").glob("*.sql"))
    ), re.DOTALL)
    drawn = set(re.findall(r"(\w+) -->|--> (\w+)", block))
    assert {name for pair in drawn for name in pair if name} == set(re.findall(r"'(\w+)'", known))
