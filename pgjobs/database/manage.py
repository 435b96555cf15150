"""What an operator does."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

from pgjobs.database.statements import JOB_COLUMNS, Moment, Statements, as_list, as_moment
from pgjobs.job.job import Job, Row


class Filters(TypedDict, total=False):
    """Which jobs a call for many means. None leaves a filter out."""

    job_ids: Sequence[int] | None
    job_types: Sequence[str] | None
    queues: Sequence[str] | None
    group_keys: Sequence[str] | None
    reference_type: str | None
    reference_id: int | None
    reference_key: str | None
    batch_id: int | None
    created_before: Moment
    failed_since: Moment
    max_jobs: int | None


# In the order of the statement's arguments.
_PLAIN_FILTERS = (
    "job_ids", "job_types", "queues", "group_keys", "reference_type", "reference_id",
    "reference_key", "batch_id",
)


class Manage(Statements):
    """Operators' calls."""

    __slots__ = ()

    async def cancel(
        self,
        job_id: int,
        reason: str | None = None,
        worker: str | None = None,
        attempt: int | None = None,
        downstream: bool = False,
    ) -> Job[Any]:
        """pending → cancelled; the worker of a processing job is asked to stop it."""
        return await self._managed(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_cancel(
            $1::bigint, $2::text, $3::text, $4::int, $5::boolean)""",
            job_id, reason, worker, attempt, downstream,
        )

    async def retry(self, job_id: int) -> Job[Any]:
        """Makes a finished job pending now, with its counts at 0."""
        return await self._managed(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_retry($1::bigint)", job_id
        )

    async def edit(
        self,
        job_id: int,
        payload: str | None = None,
        priority: int | None = None,
        queue: str | None = None,
        run_at: Moment = None,
    ) -> Job[Any]:
        """Changes what is given of a job that waits; the payload is JSON text."""
        return await self._managed(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_edit(
            $1::bigint, $2::text::jsonb, $3::int, $4::text,
            coalesce($5::timestamptz, {{schema}}._jobs_after(clock_timestamp(), $6::interval)))""",
            job_id, payload, priority, queue, *as_moment(run_at),
        )

    async def copy(self, job_id: int, payload: str | None = None) -> Job[Any]:
        """Adds a job like this one, with this payload, as JSON text, or with the same one."""
        return await self._managed(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_copy(
            $1::bigint, $2::text::jsonb)""",
            job_id, payload,
        )

    async def cancel_many(
        self,
        reason: str | None = None,
        statuses: Sequence[str] | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Cancels jobs, and asks for the end of running ones; returns their number."""
        return await self._many(
            "jobs_cancel_many", filters, ", reason => $14::text, statuses => $15::text[]",
            reason, statuses,
        )

    async def retry_many(
        self, failed_before: datetime | None = None, **filters: Unpack[Filters]
    ) -> int:
        """Makes failed jobs pending now; returns their number."""
        return await self._many(
            "jobs_retry_many", filters, ", failed_before => $14::timestamptz", failed_before
        )

    async def edit_many(
        self,
        set_priority: int | None = None,
        set_queue: str | None = None,
        set_run_at: datetime | None = None,
        statuses: Sequence[str] | None = None,
        due_after: datetime | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Changes jobs that wait; returns their number."""
        return await self._many(
            "jobs_edit_many", filters,
            ", set_priority => $14::int, set_queue => $15::text, set_run_at => $16::timestamptz"
            ", statuses => $17::text[], due_after => $18::timestamptz",
            set_priority, set_queue, set_run_at, statuses, due_after,
        )

    async def delete_many(
        self,
        statuses: Sequence[str] | None = None,
        finished_before: datetime | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Deletes ended jobs; returns their number."""
        return await self._many(
            "jobs_delete_many", filters,
            ", statuses => $14::text[], finished_before => $15::timestamptz",
            statuses, finished_before,
        )

    async def _many(self, function: str, filters: Filters, also: str = "", *values: Any) -> int:
        given = [filters.get(name) for name in _PLAIN_FILTERS]
        rows = await self._manage(
            f"""select {{schema}}.{function}(job_ids => $1::bigint[], job_types => $2::text[],
            queues => $3::text[], group_keys => $4::text[], reference_type => $5::text,
            reference_id => $6::bigint, reference_key => $7::text, batch_id => $8::bigint,
            created_before => coalesce(
                $9::timestamptz, {{schema}}._jobs_after(clock_timestamp(), $10::interval)),
            failed_since => coalesce(
                $11::timestamptz, {{schema}}._jobs_after(clock_timestamp(), $12::interval)),
            max_jobs => $13::int{also}) as value""",
            *given, *as_moment(filters.get("created_before")),
            *as_moment(filters.get("failed_since")), filters.get("max_jobs"), *values,
        )
        count: int = rows[0]["value"]
        return count

    async def pause(self, queue: str, until: Moment = None, reason: str | None = None) -> Row:
        """Closes a queue for claims, for good or until a moment; returns the queue's pause."""
        rows = await self._manage(
            """select queue, paused_at, paused_until, pause_reason
            from {schema}.jobs_pause($1::text,
                coalesce($2::timestamptz, {schema}._jobs_after(clock_timestamp(), $3::interval)),
                $4::text)""",
            queue, *as_moment(until), reason,
        )
        return rows[0]

    async def resume(self, queue: str) -> None:
        """Opens a queue and signals its workers."""
        await self._manage("select paused_at from {schema}.jobs_resume($1::text)", queue)

    async def heal_groups(self, max_groups: int | None = None) -> int:
        """Inserts the turns that groups lack; returns how many groups were healed."""
        value: int = await self._value(
            "select {schema}.jobs_heal_groups($1::int) as value", max_groups
        )
        return value

    async def cleanup(
        self,
        older_than: timedelta | None = None,
        statuses: Iterable[str] | None = None,
        max_jobs: int | None = None,
        finished_before: datetime | None = None,
    ) -> int:
        """Deletes finished jobs; returns their number. Repeat until 0 with ``finished_before``."""
        rows = await self._manage(
            """select {schema}.jobs_cleanup(
            $1::interval, $2::text[], $3::int, $4::timestamptz) as value""",
            older_than, as_list("statuses", statuses), max_jobs, finished_before,
        )
        value: int = rows[0]["value"]
        return value

    async def grant(self, role_name: str, as_what: str) -> None:
        """Lets a role be producer, worker, observer, admin or reader."""
        await self._manage("select {schema}.jobs_grant($1::text, $2::text)", role_name, as_what)
