"""Every fenced block of the documents runs, or says why it does not (see blocks.py)."""

import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import typer.main
from end_to_end.blocks import DOCUMENTS, ROOT, blocks, inline_code
from end_to_end.page import Page
from psycopg import sql

import pgjobs.testing
from pgjobs.cli.commands import cli

# The name that the documents use.
DATABASE = "shop"
# These pages show how pgjobs is installed, so they begin without it.
NOT_INSTALLED = {"docs/tutorial.md", "docs/cli.md", "docs/guides/alembic.md"}
GROUP: Any = typer.main.get_command(cli)
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]


@pytest.fixture
def page(
    request: pytest.FixtureRequest, pgjobs_server: pgjobs.testing.Server,
    pg_program: Callable[[str], str],
) -> Iterator[Page]:
    """A folder, and a database whose roles disappear with it."""
    roles = "select rolname from pg_roles"
    with psycopg.connect(
        pgjobs_server.dsn(pgjobs_server.maintenance_dbname), autocommit=True
    ) as connection:
        before = {name for (name,) in connection.execute(roles)}
        template = "template0"
        if request.param not in NOT_INSTALLED:
            template = request.getfixturevalue("pgjobs_template").template_dbname
        name = sql.Identifier(DATABASE)
        connection.execute(
            sql.SQL("create database {} template {}").format(name, sql.Identifier(template))
        )
        # PostgreSQL refuses to run as root, so another user starts the server of the tutorial.
        folder = Path(tempfile.mkdtemp(prefix="pgjobs-docs-"))
        folder.chmod(0o755)
        try:
            programs = Path(pg_program("psql")).parent
            with Page(folder, pgjobs_server.dsn(DATABASE), programs) as opened:
                yield opened
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            connection.execute(sql.SQL("drop database {} with (force)").format(name))
            for (role,) in connection.execute(roles).fetchall():
                if role not in before:
                    connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.mark.parametrize(
    ("name", "page"), [(name, name) for name in NAMES], indirect=["page"], ids=NAMES
)
def test_every_block_of_a_document_runs(name: str, page: Page) -> None:
    page.run_all(blocks(ROOT / name))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```sh\npgjobs lst\n```", "exits with 2"),
        ("```python\nawait App().enqueue('report')\n```", "NameError"),
        ("```python\nfrom pgjobs import nothing\n```", "ImportError"),
        ("- in a list:\n\n  ```sql\n  select jobs_enqeue('report');\n  ```", "jobs_enqeue"),
        ("```console\n$ pgjobs --version\npgjobs nought\n```", "nought"),
        ("```console\n$ pgjobs show 99\n```", "exits with 1"),
        ("<!-- runs on -->\n\n```sh\necho begun; exit 3\n```", "has ended"),
        ("```crontab\n17 3 * * psql\n```", "test:1"),
        ("```toml\na = b\n```", "Invalid value"),
        ("`test_it.py`:\n\n```python\ndef test_it():\n    assert False\n```", "test_it"),
        ("`test_it.py`:\n\n```python\nimport warnings\nwarnings.warn('old')\n```", "Warning: old"),
        ("```text\n$ pgjobs list\n```", "call its language console"),
        ("```bash\ntrue\n```", "a block of bash is not run"),
        ("```\ntrue\n```", "a block of no language is not run"),
        ("text\n\n    indented", "a block of no language is not run"),
        ("<!-- not run -->\n\n```sh\nfalse\n```", "say why"),
        ("<!-- skipped: later -->\n\n```sh\nfalse\n```", "says nothing about a block"),
        ("<!-- before: true -->\n\nA sentence.\n\n```sh\ntrue\n```", "stands above no block"),
    ],
)
@pytest.mark.parametrize("page", [""], indirect=True, ids=[""])
def test_a_block_that_is_broken_and_not_excused_fails(page: Page, text: str, fault: str) -> None:
    with pytest.raises((AssertionError, ValueError, SyntaxError), match=fault):
        page.run_all(blocks(ROOT / "test", text))


def _command_lines() -> list[tuple[str, str]]:
    """The commands within sentences, and those of the help: where, and what."""
    found = [(name, code) for name in NAMES for code in inline_code(ROOT / name)]
    for name, command in GROUP.commands.items():
        examples = re.findall(r"\[bold\](.*?)\[/bold\]", command.help or "")
        found += [(f"pgjobs {name} --help", example) for example in examples]
    return [
        (place, part) for place, code in found for part in re.split(r" \| | > ", code)
        if re.match(r"pgjobs [a-z-]", part) and not re.search(r"…|\.\.\.", part)
    ]


def test_every_command_within_a_sentence_is_one_that_the_command_line_understands() -> None:
    lines = _command_lines()
    assert len(lines) > 60
    for place, line in lines:
        # Words in capitals stand for something, and of `a|b` either is right.
        _, name, *words = shlex.split(re.sub(r"\|\S+", "", line.replace(" ID", " 1")))
        if name == "--version":
            continue
        assert name in GROUP.commands, f"{place}: {line}"
        command = GROUP.commands[name]
        try:
            command.make_context(name, words)
        except typer.Exit:
            pass  # after --help
        except typer.BadParameter as error:
            # A sentence may name a command without its arguments.
            assert type(error).__name__ == "MissingParameter", f"{place}: {line}: {error}"


async def test_every_statement_within_a_sentence_is_one_that_postgresql_understands(
    conn: asyncpg.Connection,
) -> None:
    statements = [
        (name, code) for name in NAMES for code in inline_code(ROOT / name)
        if re.match(r"(select|insert|update|delete) ", code) and not re.search(r"…|\.\.\.", code)
    ]
    assert len(statements) > 8
    for name, statement in statements:
        try:
            await conn.prepare(statement)
        except asyncpg.PostgresError as error:
            pytest.fail(f"{name}: {statement}: {error}")


def test_every_target_of_make_that_a_document_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in NAMES:
        text = (ROOT / name).read_text()
        named = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)
        assert set(named) <= targets, name
