"""README's code blocks and links are true."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return found


def test_readme_has_blocks_of_these_languages_only() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^```(\w+)", text, re.MULTILINE)) == {"sh", "sql", "python", "mermaid"}


def test_the_shell_blocks_name_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    for line in lines:
        program, target = line.split()[:2]
        assert program == "make"
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert len(lines) == 2


def test_the_sql_block_does_what_it_says(
    pgjobs_dsn: str, psql: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (block,) = blocks("sql")
    done = psql(pgjobs_dsn, "-At", "-v", "ON_ERROR_STOP=1", "-c", block)
    assert "completed|{\"pages\": 3}" in done.stdout
    assert "default|file_ingestion|completed|1|" in done.stdout


async def test_the_python_block_runs_a_job(
    pgjobs_dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    (block,) = blocks("python")
    program = tmp_path / "fifteen.py"
    program.write_text(block, encoding="utf-8")
    lines = [line for line in block.splitlines() if line.strip()]
    assert len(lines) <= 15
    done = subprocess.run(  # noqa: ASYNC221 - nothing else is to run meanwhile
        [sys.executable, program], check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PGJOBS_DSN": pgjobs_dsn, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = await conn.fetchrow("select status, result, reference_id from jobs")
    assert tuple(row) == ("completed", '{"ingested": "a.pdf"}', 42)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
