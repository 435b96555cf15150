"""For applications that use Alembic: autogenerate leaves pgjobs' tables alone.

In env.py:

    from pgjobs.alembic import include_object

    context.configure(..., include_object=include_object())

Without it, autogenerate finds tables that the application's metadata lacks, and proposes to drop
them.
"""

from collections.abc import Callable
from typing import Any

# As Alembic calls it: object, name, type, whether it was reflected, and what it is compared to.
IncludeObject = Callable[[Any, str | None, str, bool, Any], bool]

TABLES = frozenset(
    {
        "jobs",
        "jobs_queues",
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
    """A filter for ``context.configure``; what is not pgjobs' is decided by ``also``, if given.

    ``schema``: where pgjobs is installed, if not in the schema that the connection's search_path
    leads to, which is the one that Alembic looks at by default.
    """

    # Alembic says None for the default schema, which may have been named all the same.
    schemas = {schema, None} if schema == "public" else {schema}

    def include(
        item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any
    ) -> bool:
        table = item if kind == "table" else getattr(item, "table", None)
        # A table of the application's own metadata is not ours, whatever its name.
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
