"""Holding jobs, and taking back the jobs of lost workers."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pgjobs.database.statements import JOB_COLUMNS, Statements
from pgjobs.job.job import Job, Row


class Lease(Statements):
    """Holding jobs, and taking back the jobs of lost workers."""

    __slots__ = ()

    async def heartbeat(
        self, worker: str, job_ids: Sequence[int], attempts: Sequence[int], lease: timedelta
    ) -> list[str]:
        """Prolongs leases; returns ``held``, ``lost`` or ``cancel`` for each job, in order."""
        rows = await self._rows(
            """select state from {schema}.jobs_heartbeat(
            $1::text, $2::bigint[], $3::int[], $4::interval)""",
            worker, job_ids, attempts, lease,
        )
        return [row["state"] for row in rows]

    async def progress(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        progress: Sequence[str | None],
    ) -> list[int]:
        """Stores what handlers report; returns the ids of the jobs that the worker still holds."""
        return await self._ids(
            """select jobs_progress as id from {schema}.jobs_progress(
            $1::text, $2::bigint[], $3::int[], $4::text[]::jsonb[])""",
            worker, job_ids, attempts, progress,
        )

    async def worker_beat(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        lease: timedelta,
        answer_within: timedelta,
        registration: int | None = None,
    ) -> list[str]:
        """Sends a heartbeat of all that the worker holds; gives back what else it was given.

        ``answer_within``: a job that was claimed later than this ago may be on its way.
        """
        rows = await self._rows(
            """select state from {schema}._jobs_worker_beat(
            $1::text, $2::bigint[], $3::int[], $4::interval, $5::interval, $6::bigint)""",
            worker, job_ids, attempts, lease, answer_within, registration,
        )
        return [row["state"] for row in rows]

    async def reconcile(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        backend: int | None,
        registration: int | None = None,
    ) -> Row:
        """Gives back what the worker does not name; returns ``released`` and ``is_settled``."""
        rows = await self._rows(
            """select released, is_settled from {schema}._jobs_reconcile(
            $1::text, $2::bigint[], $3::int[], $4::int, $5::bigint)""",
            worker, job_ids, attempts, backend, registration,
        )
        return rows[0]

    async def recover(self, worker: str | None = None) -> list[Job[Any]]:
        """Takes back the jobs of lost workers; with a name, also all jobs of that worker."""
        return await self._jobs(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_recover($1::text)", worker
        )

    async def recover_own(
        self, worker: str, claimed_before: datetime, max_jobs: int
    ) -> list[dict[str, Any]]:
        """Takes back jobs of the last worker of this name; returns what ``as_recovered`` does."""
        return as_recovered(await self._value(
            """select {schema}._jobs_recover_own($1::text, $2::timestamptz, $3::int)::text
            as value""",
            worker, claimed_before, max_jobs,
        ))


def as_recovered(text: str | None) -> list[dict[str, Any]]:
    """What a recovery tells: of each lost ``worker`` its ``jobs``, first ``ids`` and ``failed``."""
    found: list[dict[str, Any]] = [] if text is None else json.loads(text)
    return found
