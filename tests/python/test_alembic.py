"""Alembic installs pgjobs, and its autogenerate leaves the tables of pgjobs alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from pgjobs.alembic import include_object
from pgjobs.errors import InvalidArgument
from pgjobs.schema.migrate import migrate

metadata = sa.MetaData()
sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, index=True),
)


def proposals(dsn: str, tables: sa.MetaData = metadata, **options: Any) -> list[Any]:
    parameters = sa.make_url(dsn).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(parameters)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, tables)
    engine.dispose()
    return found


@pytest.fixture
def dsn(pgjobs_dsn: str) -> str:
    engine = sa.create_engine(sa.make_url(pgjobs_dsn).set(drivername="postgresql+psycopg"))
    metadata.create_all(engine)
    engine.dispose()
    return pgjobs_dsn


def test_without_the_filter_alembic_proposes_to_drop_the_tables_of_pgjobs(dsn: str) -> None:
    dropped = {change[1].name for change in proposals(dsn) if change[0] == "remove_table"}
    assert dropped >= {
        "jobs", "jobs_queues", "jobs_workers", "jobs_worker_ticks", "jobs_schedules",
        "jobs_retention", "pgjobs_migrations",
    }


def test_with_the_filter_alembic_proposes_nothing(dsn: str) -> None:
    assert proposals(dsn, include_object=include_object()) == []
    assert proposals(dsn, include_object=include_object(schema="public")) == []


def test_a_schema_of_its_own(dsn: str) -> None:
    migrate(dsn, "queue")
    options = {"include_schemas": True}
    only_public = proposals(dsn, include_object=include_object(), **options)
    assert {change[1].schema for change in only_public if change[0] == "remove_table"} == {"queue"}
    both = include_object(include_object(), schema="queue")
    assert proposals(dsn, include_object=both, **options) == []


def test_the_filter_calls_a_filter_of_the_application(dsn: str) -> None:
    asked = []

    def own(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
        asked.append(name)
        return name != "users"

    assert proposals(dsn, sa.MetaData(), include_object=include_object(own)) == []
    assert "users" in asked
    assert "jobs" not in asked


def test_a_table_jobs_in_the_applications_metadata_is_not_filtered(empty_dsn: str) -> None:
    tables = sa.MetaData()
    sa.Table("jobs", tables, sa.Column("id", sa.Integer, primary_key=True))
    found = proposals(empty_dsn, tables, include_object=include_object(schema="queue"))
    assert [change[0] for change in found] == ["add_table"]


ENV = """
import asyncio
import sys
import sqlalchemy as sa
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

given = context.config.attributes.get("connection")
url = context.config.get_main_option("sqlalchemy.url")

def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

async def run_async():
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()

if context.is_offline_mode():
    context.configure(url=url)
    context.run_migrations()
elif given is not None:
    run(given)
elif "asyncpg" in url:
    asyncio.run(run_async())
else:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        run(connection)
    engine.dispose()
"""
REVISIONS = {
    "1": """
def upgrade():
    op.create_table("before_pgjobs", sa.Column("id", sa.Integer, primary_key=True))
def downgrade():
    op.drop_table("before_pgjobs")
""",
    "2": """
def upgrade():
    pgjobs.alembic.migrate(op, "queue")
def downgrade():
    pgjobs.alembic.migrate(op, "queue", down=1)
""",
    # What pgjobs has made is there for the revisions after it.
    "3": """
def upgrade():
    op.create_table(
        "reports", sa.Column("job", sa.BigInteger, sa.ForeignKey("queue.jobs.id")),
    )
def downgrade():
    op.drop_table("reports")
""",
}


@pytest.fixture(params=["psycopg", "asyncpg"])
def config(request: pytest.FixtureRequest, empty_dsn: str, tmp_path: Path) -> Config:
    """A project whose second revision installs pgjobs, with a driver that waits or awaits."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENV)
    before = None
    for name, text in REVISIONS.items():
        head = "import pgjobs.alembic\nimport sqlalchemy as sa\nfrom alembic import op\n"
        head += f"revision = {name!r}\ndown_revision = {before!r}\n"
        (tmp_path / "versions" / f"{name}.py").write_text(head + text)
        before = name
    found = Config()
    found.set_main_option("script_location", str(tmp_path))
    found.set_main_option("path_separator", "os")
    url = sa.make_url(empty_dsn).set(drivername=f"postgresql+{request.param}")
    found.set_main_option(
        "sqlalchemy.url", url.render_as_string(hide_password=False).replace("%", "%%")
    )
    return found


Query = Callable[..., list[tuple[Any, ...]]]


def test_a_migration_of_alembic_installs_pgjobs_and_takes_it_back(
    config: Config, query: Query
) -> None:
    command.upgrade(config, "head")
    assert query("select status from queue.jobs_enqueue('report')") == [("pending",)]
    assert query("select version_num from alembic_version") == [("3",)]
    command.downgrade(config, "base")
    assert query("select to_regclass('queue.jobs'), to_regclass('before_pgjobs')") == [(None, None)]
    command.upgrade(config, "head")
    assert query("select count(*) from queue.jobs") == [(0,)]


def test_a_migration_that_installs_pgjobs_may_run_again(config: Config, query: Query) -> None:
    command.upgrade(config, "2")
    query("select from queue.jobs_enqueue('report')")
    command.stamp(config, "1")
    command.upgrade(config, "head")
    assert query("select count(*) from queue.jobs") == [(1,)]


def test_a_migration_installs_pgjobs_also_in_a_transaction_that_alembics_caller_began(
    config: Config, query: Query, empty_dsn: str
) -> None:
    engine = sa.create_engine(sa.make_url(empty_dsn).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    assert query("select status from queue.jobs_enqueue('report')") == [("pending",)]


def test_a_schema_that_the_same_transaction_has_made_is_an_error_and_no_endless_wait(
    config: Config, empty_dsn: str
) -> None:
    engine = sa.create_engine(sa.make_url(empty_dsn).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(sa.text("create schema queue"))
        config.attributes["connection"] = connection
        with pytest.raises(psycopg.errors.LockNotAvailable):
            command.upgrade(config, "head")
    engine.dispose()


def test_alembic_cannot_print_the_installation_and_says_what_can(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidArgument, match="pgjobs sql"):
        command.upgrade(config, "head", sql=True)
