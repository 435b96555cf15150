"""Who has changed what."""

from collections.abc import Sequence
from datetime import timedelta

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row

# A search ends after so many rows.
MAX_READ_ROWS = 100_000


class Audit(Statements):
    """Who has changed what."""

    __slots__ = ()

    async def audit(
        self,
        actions: Sequence[str] | None = None,
        who: str | None = None,
        job_id: int | None = None,
        within: timedelta | None = None,
        limit: int = 20,
        before: int | None = None,
    ) -> tuple[Sequence[Row], int | None]:
        """Returns rows of ``jobs_audit``, the newest first, and the row where the search gave up.

        ``who``: the actor or a role. ``within``: no row is older. The search gives up after
        ``MAX_READ_ROWS``; it goes on ``before`` that row.
        """
        rows = await self._rows(
            """select id, at, clock_timestamp() - at as age, db_role, set_role, actor, action,
                job_id, jobs, filters::text, reason
            from (
                select * from {schema}.jobs_audit
                where id < coalesce($1::bigint, 9223372036854775807) order by id desc limit $2
            ) a
            where ($3::text[] is null or action = any ($3))
                and ($4::text is null or $4 in (actor, db_role, set_role))
                and ($5::bigint is null or job_id = $5)
                and ($6::interval is null or at >= clock_timestamp() - $6)
            order by id desc limit $7""",
            before, MAX_READ_ROWS, actions, who, job_id, within, limit,
        )
        return rows, None if len(rows) >= limit else await self._gave_up_at(before)

    async def _gave_up_at(self, before: int | None) -> int | None:
        rows = await self._rows(
            """select id from {schema}.jobs_audit
            where id < coalesce($1::bigint, 9223372036854775807)
            order by id desc offset $2 - 1 limit 1""",
            before, MAX_READ_ROWS,
        )
        return rows[0]["id"] if rows else None
