"""Claims."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pgjobs.database.statements import CLAIM_COLUMNS, JOB_COLUMNS, Statements
from pgjobs.job.job import Job, Row


class Claim(Statements):
    """Taking due jobs."""

    __slots__ = ()

    async def claim(
        self,
        worker: str,
        queues: Sequence[str] | None = None,
        max_jobs: int | None = None,
        lease: timedelta | None = None,
        job_types: Sequence[str] | None = None,
        floors: str | None = None,
        suspects: bool = True,
        free: int | None = None,
    ) -> Sequence[Row]:
        """Claims due jobs for this worker; returns rows with the columns of ``CLAIM_COLUMNS``."""
        return await self._rows(
            f"""select {CLAIM_COLUMNS} from {{schema}}.jobs_claim(
            $1::text, $2::text[], $3::int, $4::interval, $5::text[], $6::text::jsonb, $7,
            $8::int)""",
            worker, queues, max_jobs, lease, job_types, floors, suspects, free,
        )

    async def claim_unread(
        self,
        worker: str,
        queues: Sequence[str],
        max_jobs: int,
        lease: timedelta,
        job_types: Sequence[str],
    ) -> Sequence[Row]:
        """As ``claim``, but returns ids and attempts only: what can always be read."""
        return await self._rows(
            """select id, attempt from {schema}.jobs_claim(
            $1::text, $2::text[], $3::int, $4::interval, $5::text[])""",
            worker, queues, max_jobs, lease, job_types,
        )

    async def claimed(self, worker: str, job_id: int, attempt: int) -> Row | None:
        """Returns a claimed job with the columns of ``CLAIM_COLUMNS``; None: not held any more."""
        rows = await self._rows(
            f"""select {CLAIM_COLUMNS} from {{schema}}._jobs_claimed(
            $1::text, $2::bigint, $3::int)""",
            worker, job_id, attempt,
        )
        return rows[0] if rows else None

    async def next_due(
        self, queues: Sequence[str], job_types: Sequence[str] | None = None
    ) -> datetime | None:
        """Returns when the next job that a claim could take is due; None: no job is waiting."""
        value: datetime | None = await self._value(
            "select {schema}.jobs_next_due($1::text[], $2::text[]) as value", queues, job_types
        )
        return value

    async def look(
        self,
        queues: Sequence[str],
        job_types: Sequence[str] | None = None,
        floors: str | None = None,
    ) -> tuple[datetime | None, datetime]:
        """Returns ``next_due`` for a worker with floors, and the time of the look."""
        # A stable function sees what was committed before the statement's time.
        rows = await self._rows(
            """select statement_timestamp() as now,
            {schema}._jobs_next_due($1::text[], $2::text[], $3::text::jsonb) as due""",
            queues, job_types, floors,
        )
        return rows[0]["due"], rows[0]["now"]

    async def start(self, job_id: int, worker: str, lease: timedelta | None = None) -> Job[Any]:
        """Claims one chosen pending job; without a lease it stays claimed for ever."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_start(
            $1::bigint, $2::text, $3::interval)""",
            job_id, worker, lease,
        )
        return jobs[0]
