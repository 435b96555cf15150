"""Holding jobs, and taking back the jobs of lost workers."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pgjobs.database.statements import JOB_COLUMNS, Statements
from pgjobs.job.job import Job


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

    async def recover(
        self, worker: str | None = None, sparing: str | None = None
    ) -> list[Job[Any]]:
        """Takes back the jobs of lost workers; with a name, also all jobs of that worker."""
        return await self._jobs(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_recover($1::text, $2::text)",
            worker, sparing,
        )

    async def release_unknown(self, worker: str, known_ids: Sequence[int]) -> list[int]:
        """Gives back the jobs that this worker holds without knowing; returns their ids."""
        return await self._ids(
            """select _jobs_release_unknown as id
            from {schema}._jobs_release_unknown($1::text, $2::bigint[])""",
            worker, known_ids,
        )
