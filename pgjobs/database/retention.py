"""Retention: how long ended jobs stay."""

from collections.abc import Sequence
from datetime import timedelta

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row


class Retention(Statements):
    """How long ended jobs stay."""

    __slots__ = ()

    async def retain(
        self, status: str, keep_for: timedelta | None, job_type: str | None = None
    ) -> None:
        """Sets how long jobs of a status stay after their end; None removes the rule."""
        await self._manage(
            "select {schema}.jobs_retain($1::text, $2::interval, $3::text)",
            status, keep_for, job_type,
        )

    async def retention_enforce(self, max_jobs: int | None = None) -> Row:
        """Deletes what no rule keeps; returns ``deleted``, and ``more``: call it again soon."""
        rows = await self._rows(
            "select deleted, more from {schema}._jobs_retention_enforce(coalesce($1::int, 1000))",
            max_jobs,
        )
        return rows[0]

    async def retention_diff(self, app: str, retention: str) -> Sequence[Row]:
        """Compares what code declares, a JSON array, with what code declared last."""
        return await self._rows(
            """select name, verdict, definition::text, declared::text, declared_at,
                is_changed_by_hand, made::text, current::text
            from {schema}._jobs_retention_diff($1::text, $2::text::jsonb)""",
            app, retention,
        )

    async def retention_declare(
        self, app: str, retention: str, is_newest: bool = False
    ) -> list[str]:
        """Makes and changes rules as code declares them; returns the names of those."""
        rows = await self._manage(
            """select name from {schema}._jobs_retention_declare(
            $1::text, $2::text::jsonb, $3::boolean) name""",
            app, retention, is_newest,
        )
        return [row["name"] for row in rows]
