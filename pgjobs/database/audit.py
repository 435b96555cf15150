"""Who has changed what."""

from collections.abc import Sequence
from datetime import timedelta

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row

# A search ends after so many rows.
MAX_READ_ROWS = 100_000


def who_changed(row: Row) -> str:
    """The user if one was told, else the role that people take, else the one that logged in."""
    name: str = row["actor"] or row["set_role"] or row["db_role"]
    return name


class Audit(Statements):
    """Who has changed what."""

    __slots__ = ()

    async def audit_search(
        self,
        actions: Sequence[str] | None = None,
        who: str | None = None,
        job_id: int | None = None,
        within: timedelta | None = None,
        max_rows: int = 20,
        before: int | None = None,
        max_read: int = MAX_READ_ROWS,
    ) -> tuple[Sequence[Row], int | None]:
        """Returns rows of ``jobs_audit``, the newest first, and the row where the search gave up.

        ``who``: the actor or a role. ``within``: no row is older. The search gives up after
        ``max_read`` rows; it goes on ``before`` that row.
        """
        rows = await self._rows(
            """select id, at, clock_timestamp() - at as age, db_role, set_role, actor, action,
                job_id, jobs, filters::text, reason
            from {schema}._jobs_audit_search(
                $1::text[], $2::text, $3::bigint, $4::interval, $5::int, $6::bigint, $7::int)""",
            actions, who, job_id, within, max_rows, before, max_read,
        )
        gave_up = bool(rows) and rows[-1]["action"] is None
        return (rows[:-1], rows[-1]["id"]) if gave_up else (rows, None)
