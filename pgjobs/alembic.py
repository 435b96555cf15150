"""Keeps the tables of pgjobs out of Alembic's autogenerate.

In env.py:

    from pgjobs.alembic import include_object

    context.configure(..., include_object=include_object())

Without this filter, autogenerate proposes to drop the tables of pgjobs, because the application's
metadata does not contain them.
"""

from collections.abc import Callable
from typing import Any

# The arguments of Alembic: object, name, type, reflected, and the object to compare with.
IncludeObject = Callable[[Any, str | None, str, bool, Any], bool]

TABLES = frozenset(
    {
        "jobs",
        "jobs_queues",
        "jobs_worker_ticks",
        "jobs_workers",
        "pgjobs_migrations",
        "pgjobs_migrations_lock",
        "pgjobs_migrations_log",
        "pgjobs_migrations_version",
    }
)


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
