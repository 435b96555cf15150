"""Every fenced block of the documents runs, or says why it does not (see blocks.py)."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import pgjobs.testing
from end_to_end.blocks import DOCUMENTS, ROOT, blocks
from end_to_end.page import Page

# The name that the documents use.
DATABASE = "shop"
# These pages show how pgjobs is installed, so they begin without it.
NOT_INSTALLED = {"docs/tutorial.md", "docs/cli.md", "docs/guides/alembic.md"}
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
    for block in blocks(ROOT / name):
        page.run(block)
    page.end()
