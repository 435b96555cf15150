"""Installs pgjobs by a migration of Alembic, and keeps its tables out of autogenerate.

In env.py:

    context.configure(..., include_object=pgjobs.alembic.include_object())

Without this filter, autogenerate proposes to drop the tables of pgjobs, because the application's
metadata does not contain them. In a migration:

    def upgrade() -> None:
        pgjobs.alembic.migrate(op)
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from pgjobs.errors import InvalidArgument
from pgjobs.schema import migrate as schema_migrate

# The arguments of Alembic: object, name, type, reflected, and the object to compare with.
IncludeObject = Callable[[Any, str | None, str, bool, Any], bool]

TABLES = frozenset(
    {
        "jobs",
        "jobs_attempts",
        "jobs_durations",
        "jobs_ends",
        "jobs_history",
        "jobs_audit",
        "jobs_queues",
        "jobs_retention",
        "jobs_schedules",
        "jobs_starts",
        "jobs_totals",
        "jobs_turns",
        "jobs_turns_from",
        "jobs_watched",
        "jobs_flows",
        "jobs_flow_edges",
        "jobs_flow_changes",
        "jobs_worker_ticks",
        "jobs_workers",
        "pgjobs_migrations",
        "pgjobs_migrations_lock",
        "pgjobs_migrations_log",
        "pgjobs_migrations_version",
    }
)


def migrate(op: Any, schema: str = "public", *, down: int = 0) -> list[str]:
    """Does what ``pgjobs.migrate`` does, on a connection of its own to Alembic's database.

    ``op``: that of the migration, ``from alembic import op``. What Alembic has done before is
    committed first: that connection could not see it, and would wait for its locks.
    """
    context = op.get_context()
    if context.as_sql:
        raise InvalidArgument(
            "alembic --sql cannot print the installation of pgjobs: print it by pgjobs sql, and"
            " run it by psql"
        )
    address = context.connection.engine.url.render_as_string(hide_password=False)
    # Only the caller of Alembic can commit a transaction that the caller has begun.
    begun_outside = context._in_external_transaction
    with nullcontext() if begun_outside else context.autocommit_block():
        return schema_migrate.migrate(address, schema, down=down)


def include_object(
    also: IncludeObject | None = None, *, schema: str | None = None
) -> IncludeObject:
    """Returns a filter for ``context.configure``.

    ``also``: the application's own filter, which decides about all objects that do not belong to
    pgjobs. ``schema``: the schema of pgjobs; left out, the current schema of the connection, which
    Alembic compares by default.
    """
    # Alembic gives None for the default schema, even if that is public and the caller named it.
    schemas = {schema, None} if schema == "public" else {schema}

    def include(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
        table = item if kind == "table" else getattr(item, "table", None)
        # A table in the application's own metadata belongs to the application, whatever its name.
        if (
            reflected
            and compare_to is None
            and table is not None
            and table.name in TABLES
            and table.schema in schemas
        ):
            return False
        return also is None or also(item, name, kind, reflected, compare_to)

    return include
