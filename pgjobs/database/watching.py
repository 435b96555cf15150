"""Waiting for the ends of jobs."""

from collections.abc import Sequence

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row


class Watching(Statements):
    """Waiting for the ends of jobs."""

    __slots__ = ()

    async def watch(self, job_ids: Sequence[int]) -> list[int]:
        """Has the ends of these jobs notified; returns those that have not ended."""
        return await self._ids(
            "select jobs_watch as id from {schema}.jobs_watch($1::bigint[])", job_ids
        )

    async def outcomes(self, job_ids: Sequence[int]) -> Sequence[Row]:
        """Returns ``job_id``, ``status``, ``result``, ``error``, ``finished_at`` of each job."""
        return await self._rows(
            """select job_id, status, result::text, error, finished_at
            from {schema}.jobs_outcomes($1::bigint[])""",
            job_ids,
        )
