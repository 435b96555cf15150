"""Ends of runs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pgjobs.database.statements import JOB_COLUMNS, Moment, Statements, as_list, as_moment
from pgjobs.job.job import Job, Row


class Finish(Statements):
    """Ending runs."""

    __slots__ = ()

    async def complete(
        self,
        job_id: int,
        result: str | None = None,
        worker: str | None = None,
        attempt: int | None = None,
    ) -> Job[Any]:
        """processing → completed."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_complete(
            $1::bigint, $2::text::jsonb, $3::text, $4::int)""",
            job_id, result, worker, attempt,
        )
        return jobs[0]

    async def complete_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        results: Sequence[str | None],
        keep: bool = True,
    ) -> list[int]:
        """Completes the jobs that this worker still holds; returns the ids that changed."""
        return await self._ids(
            """select jobs_complete_many as id from {schema}.jobs_complete_many(
            $1::text, $2::bigint[], $3::int[], $4::text[]::jsonb[], $5::boolean)""",
            worker, job_ids, attempts, results, keep,
        )

    async def complete_uncounted(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        results: Sequence[str | None],
        keep: bool = True,
    ) -> list[int]:
        """As ``complete_many``, by a worker that counts the ends itself (``note_ends``)."""
        return await self._ids(
            """select c as id from {schema}._jobs_complete_uncounted(
            $1::text, $2::bigint[], $3::int[], $4::text[]::jsonb[], $5::boolean) c""",
            worker, job_ids, attempts, results, keep,
        )

    async def fail(
        self,
        job_id: int,
        error: str,
        retry: bool | None = None,
        retry_in: timedelta | None = None,
        worker: str | None = None,
        attempt: int | None = None,
        error_kind: str | None = None,
    ) -> Job[Any]:
        """processing → pending with a retry spent, or failed; ``error_kind``: the class."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_fail(
            $1::bigint, $2::text, $3::boolean, $4::interval, $5::text, $6::int, $7::text)""",
            job_id, error, retry, retry_in, worker, attempt, error_kind,
        )
        return jobs[0]

    async def fail_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        errors: Sequence[str],
        retries: Sequence[bool],
        retry_ins: Sequence[timedelta | None],
        error_kinds: Sequence[str | None] | None = None,
    ) -> list[int]:
        """Fails the jobs that this worker still holds; returns the ids that changed."""
        return await self._ids(
            """select jobs_fail_many as id from {schema}.jobs_fail_many(
            $1::text, $2::bigint[], $3::int[], $4::text[], $5::boolean[], $6::interval[],
            $7::text[])""",
            worker, job_ids, attempts, errors, retries, retry_ins, error_kinds,
        )

    async def end_attempts(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        errors: Sequence[str],
        retries: Sequence[bool],
        retry_ins: Sequence[timedelta | None],
        crashed: bool = False,
        error_kinds: Sequence[str | None] | None = None,
    ) -> Sequence[Row]:
        """As ``fail_many``, and tells what became of each job that changed.

        Returns ``id``, ``status``, ``retry_count``, ``crash_count`` and ``due_in``. ``crashed``:
        counts a crash for each job, because its child process has died.
        """
        return await self._rows(
            """select id, status, retry_count, crash_count, due_in from {schema}._jobs_end_attempts(
            $1::text, $2::bigint[], $3::int[], $4::text[], $5::boolean[], $6::interval[], $7,
            $8::text[])""",
            worker, job_ids, attempts, errors, retries, retry_ins, crashed, error_kinds,
        )

    async def release_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        run_ats: Sequence[Moment] | None = None,
    ) -> list[int]:
        """Gives back the jobs that this worker still holds; returns the ids that changed."""
        moments = [as_moment(moment) for moment in as_list("run_ats", run_ats) or []]
        return await self._ids(
            """select jobs_release_many as id from {schema}.jobs_release_many(
            $1::text, $2::bigint[], $3::int[],
            (select array_agg(coalesce(u.at, {schema}._jobs_after(clock_timestamp(), u.after))
                order by u.place)
             from unnest($4::timestamptz[], $5::interval[])
                 with ordinality u(at, after, place)))""",
            worker, job_ids, attempts, [at for at, _ in moments], [after for _, after in moments],
        )
