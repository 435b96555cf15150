"""Alembic's autogenerate beside pgjobs."""

from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from pgjobs.alembic import include_object
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
        "jobs", "jobs_queues", "jobs_workers", "jobs_worker_ticks", "pgjobs_migrations",
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
