"""Adding jobs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pgjobs.database.statements import JOB_COLUMNS, Moment, Statements, as_moment
from pgjobs.job.job import Job, Row

# Each argument of a statement costs a lone job a little, so most statements do not have these.
_RARE_ARGUMENTS = """, group_key => $14::text, headers => $15::text::jsonb,
            expires_at => coalesce(
                $16::timestamptz, {schema}._jobs_after(clock_timestamp(), $17::interval)),
            depends_on => $18::bigint[], on_parent_failed => $19::text, batch_id => $20::bigint,
            on_conflict => $21::text, unique_for => $22::interval, max_wait => $23::interval"""
# Of jobs_batch, by name: the type of each argument.
BATCH_ARGUMENTS = {
    "job_type": "text", "payload": "text::jsonb", "queue": "text", "priority": "int",
    "run_at": "timestamptz", "reference_type": "text", "reference_id": "bigint",
    "max_retries": "int", "unique_key": "text", "unique_scope": "text", "backoff": "interval[]",
    "reference_key": "text", "group_key": "text", "headers": "text::jsonb",
    "expires_at": "timestamptz", "depends_on": "bigint[]", "on_parent_failed": "text",
    "batch_id": "bigint", "on_conflict": "text", "unique_for": "interval", "max_wait": "interval",
}


class Enqueue(Statements):
    """Adding jobs."""

    __slots__ = ()

    async def enqueue(
        self,
        job_type: str,
        payload: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        run_at: Moment = None,
        reference_type: str | None = None,
        reference_id: int | None = None,
        max_retries: int | None = None,
        unique_key: str | None = None,
        unique_scope: str | None = None,
        backoff: Sequence[timedelta] | None = None,
        reference_key: str | None = None,
        group_key: str | None = None,
        headers: str | None = None,
        expires_at: Moment = None,
        depends_on: Sequence[int] | None = None,
        on_parent_failed: str | None = None,
        batch_id: int | None = None,
        on_conflict: str | None = None,
        unique_for: timedelta | None = None,
        max_wait: timedelta | None = None,
        watch: bool = False,
    ) -> Job[Any]:
        """Adds a job, or returns or replaces the one that holds its ``unique_key``.

        ``watch``: has the job's end notified, and its outcome kept, from this transaction on.
        """
        has_key = unique_key is not None
        rare = (
            group_key, headers, *as_moment(expires_at), depends_on, on_parent_failed, batch_id,
            on_conflict, unique_for, max_wait,
        )
        has_rare = rare != (None,) * len(rare)
        is_new = ", {schema}._jobs_is_new(id) as is_new" if has_key else ""
        if watch:
            is_new += ", array(select {schema}.jobs_watch(array[id])) as watched"
        rows = await self._rows(
            f"""select {JOB_COLUMNS}{is_new} from {{schema}}.jobs_enqueue(
            $1::text, $2::text::jsonb, $3::text, $4::int,
            coalesce($5::timestamptz, {{schema}}._jobs_after(clock_timestamp(), $6::interval)),
            $7::text, $8::bigint, $9::int, $10::text, $11::text, $12::interval[], $13::text
            {_RARE_ARGUMENTS if has_rare else ""})""",
            job_type, payload, queue, priority, *as_moment(run_at), reference_type, reference_id,
            max_retries, unique_key, unique_scope, backoff, reference_key,
            *(rare if has_rare else ()),
        )
        return Job.from_row(rows[0], self._source, rows[0]["is_new"] if has_key else True)

    async def batch(self, **given: Any) -> Job[Any]:
        """Adds the callback of a batch; ``given``: arguments of ``jobs_batch``, none a delay."""
        names = ", ".join(
            f"{name} => ${place}::{BATCH_ARGUMENTS[name]}" for place, name in enumerate(given, 1)
        )
        rows = await self._rows(
            f"""select {JOB_COLUMNS}, {{schema}}._jobs_is_new(id) as is_new
            from {{schema}}.jobs_batch({names})""",
            *given.values(),
        )
        return Job.from_row(rows[0], self._source, rows[0]["is_new"])

    async def enqueue_many(self, jobs: str) -> list[int]:
        """Adds the jobs of a JSON array; returns their ids in the same order."""
        return await self._ids(
            "select jobs_enqueue_many as id from {schema}.jobs_enqueue_many($1::text::jsonb)", jobs
        )

    async def enqueue_together(self, jobs: Sequence[str], is_plain: bool) -> Sequence[Row]:
        """Adds the jobs of callers that share the statement; returns rows in the same order.

        ``is_plain``: no job has a group, headers, an expiry, parents or a batch.
        """
        return await self._rows(
            f"""select {JOB_COLUMNS}
            from {{schema}}._jobs_enqueue_together($1::text::jsonb, $2::boolean)""",
            f"[{','.join(jobs)}]", is_plain,
        )

    async def moment(self, value: Moment) -> datetime | None:
        """Turns a delay into a moment, by the database's clock."""
        at, after = as_moment(value)
        if after is None:
            return at
        found: datetime | None = await self._value(
            # Python has no earlier and no later moments.
            """select least('9999-12-30 00:00:00+00', greatest('0001-01-02 00:00:00+00',
                {schema}._jobs_after(clock_timestamp(), $1::interval))) as value""",
            after,
        )
        return found
