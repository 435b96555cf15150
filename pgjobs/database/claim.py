"""Claims."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pgjobs.database.statements import CLAIM_COLUMNS, JOB_COLUMNS, Moment, Statements, as_moment
from pgjobs.job.job import Job, Row

# due_in skips jobs due for longer than this: the empty claim has just seen them.
_SKIP_DUE_LONGER_THAN = timedelta(seconds=20)


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
    ) -> Sequence[Row]:
        """Claims due jobs for this worker; returns rows with the columns of ``CLAIM_COLUMNS``."""
        return await self._rows(
            f"""select {CLAIM_COLUMNS} from {{schema}}.jobs_claim(
            $1::text, $2::text[], $3::int, $4::interval, $5::text[], $6::text::jsonb)""",
            worker, queues, max_jobs, lease, job_types, floors,
        )

    async def next_due(
        self,
        queues: Sequence[str],
        job_types: Sequence[str] | None = None,
        since: Moment = None,
    ) -> datetime | None:
        """Returns when the next job that a claim could take is due; None: no job is waiting."""
        value: datetime | None = await self._value(
            """select {schema}.jobs_next_due($1::text[], $2::text[],
            coalesce($3::timestamptz, clock_timestamp() + $4::interval)) as value""",
            queues, job_types, *as_moment(since),
        )
        return value

    async def due_in(
        self, queues: Sequence[str], job_types: Sequence[str] | None = None
    ) -> timedelta | None:
        """Returns how long until ``next_due``, for a worker whose claim was just empty."""
        value: timedelta | None = await self._value(
            """select {schema}.jobs_next_due($1::text[], $2::text[],
            clock_timestamp() - $3::interval) - clock_timestamp() as value""",
            queues, job_types, _SKIP_DUE_LONGER_THAN,
        )
        return value

    async def start(self, job_id: int, worker: str, lease: timedelta | None = None) -> Job[Any]:
        """Claims one chosen pending job; without a lease it stays claimed for ever."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_start(
            $1::bigint, $2::text, $3::interval)""",
            job_id, worker, lease,
        )
        return jobs[0]
