"""Holding jobs, and taking back what nobody holds any more."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pgjobs.database.statements import JOB_COLUMNS, Statements
from pgjobs.job.job import Job


class Lease(Statements):
    """Holding jobs, and taking back what nobody holds any more."""

    __slots__ = ()

    async def heartbeat(
        self, worker: str, job_ids: Sequence[int], attempts: Sequence[int], lease: timedelta
    ) -> list[str]:
        """Prolongs the lease; for each job, in order, ``held``, ``lost`` or ``cancel``."""
        rows = await self._rows(
            """select state from {schema}.jobs_heartbeat(
            $1::text, $2::bigint[], $3::int[], $4::interval)""",
            worker, job_ids, attempts, lease,
        )
        return [row["state"] for row in rows]

    async def recover(
        self, worker: str | None = None, sparing: str | None = None
    ) -> list[Job[Any]]:
        """Takes back jobs of lost workers; with a name, all that this worker holds."""
        return await self._jobs(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_recover($1::text, $2::text)",
            worker, sparing,
        )

    async def release_unknown(self, worker: str, known_ids: Sequence[int]) -> list[int]:
        """Gives back what this worker holds without knowing; the ids."""
        return await self._ids(
            """select _jobs_release_unknown as id
            from {schema}._jobs_release_unknown($1::text, $2::bigint[])""",
            worker, known_ids,
        )
