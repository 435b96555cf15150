"""Adds, starts and ends jobs in the caller's transaction: for a program with its own loop."""

import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pgjobs.connection.executor import executor
from pgjobs.database import Database
from pgjobs.errors import InvalidArgument, JobNotFound
from pgjobs.job.job import Job
from pgjobs.job.payload import NO_PAYLOAD, encode
from pgjobs.producer.arguments import entity_columns

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn


class JobService:
    """Takes a job through its whole life, one call per step; never commits.

    ``conn``: an asyncpg connection or pool, psycopg's ``AsyncConnection``, or an SQLAlchemy
    ``AsyncSession`` or ``AsyncConnection``. ``worker``: the worker's name, by default the name of
    the host; give each process on a host its own. ``lease``: how long a worker holds a job; None:
    until the job ends or ``recover`` is called.
    """

    def __init__(
        self,
        conn: "Conn",
        *,
        worker: str | None = None,
        lease: timedelta | None = None,
        schema: str = "public",
    ) -> None:
        self._database = Database(executor(conn), schema)
        self._worker = worker or socket.gethostname()
        self._lease = lease

    async def create(
        self,
        job_type: str,
        reference_id: int | str | UUID | None = None,
        reference_type: str | None = None,
        payload: object = NO_PAYLOAD,
        max_retries: int = 3,
    ) -> Job[Any]:
        """Adds a pending job. Raises ``InvalidArgument``.

        A payload that is left out is ``{}``, and None is JSON null.
        """
        return await self._database.enqueue(
            job_type,
            encode(payload, "the payload"),
            max_retries=max_retries,
            reference_type=reference_type,
            **entity_columns(reference_id),
        )

    async def get(self, job_id: int) -> Job[Any]:
        """Returns the job; raises ``JobNotFound`` if there is none."""
        job = await self._database.get(job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job

    async def get_pending(
        self, job_type: str | None = None, limit: int | None = None
    ) -> list[Job[Any]]:
        """Returns pending jobs as claims take them, queue by queue: by priority, then by run_at.

        Jobs that wait for a retry are among them.
        """
        types = None if job_type is None else [job_type]
        return await self._database.find(["pending"], types, limit=limit)

    async def mark_processing(self, job_id: int) -> Job[Any]:
        """pending → processing, held by this worker; raises ``JobNotHeld`` if it is not pending."""
        return await self._database.start(job_id, self._worker, self._lease)

    async def mark_completed(
        self, job_id: int, result: object = None, attempt: int | None = None
    ) -> Job[Any]:
        """processing → completed; raises ``JobNotHeld`` if this worker does not hold it.

        ``attempt``: that of the job which ``mark_processing`` returned. If this worker has started
        the job again meanwhile, ``JobNotHeld`` is raised, too.
        """
        text = None if result is None else encode(result, "the result")
        return await self._database.complete(job_id, text, self._worker, attempt)

    async def mark_failed(
        self, job_id: int, error: str, retry: bool = True, attempt: int | None = None
    ) -> Job[Any]:
        """processing → pending with a retry spent, or failed; raises as ``mark_completed`` does."""
        return await self._database.fail(
            job_id, error, retry, worker=self._worker, attempt=attempt
        )

    async def get_by_reference(
        self, reference_type: str, reference_id: int | str | UUID
    ) -> Job[Any] | None:
        """Returns the newest job about that entity, or None."""
        jobs = await self._database.find(
            limit=1, reference_type=reference_type, **entity_columns(reference_id)
        )
        return jobs[0] if jobs else None

    async def cleanup_completed(self, days: int = 7) -> int:
        """Deletes jobs that were completed more than ``days`` ago; returns their number."""
        try:
            older_than = timedelta(days=days)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidArgument(f"days must be a number of days, not {days!r}") from error
        # The same moment for all batches: meanwhile other jobs become old enough.
        before = await self._database.moment(-older_than)
        total = 0
        while deleted := await self._database.cleanup(older_than, finished_before=before):
            total += deleted
        return total

    async def recover(self) -> list[Job[Any]]:
        """Takes back all jobs that this worker was processing: call it when the app starts."""
        return await self._database.recover(self._worker)
