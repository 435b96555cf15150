"""One method per SQL function: the same name, the same arguments, one statement.

Values of ``jsonb`` arguments are JSON text here. A moment (``run_at``) may be given as a
``timedelta`` from now, which the database adds to its own clock: the only one there is.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import asyncpg

from .errors import InvalidArgument, SchemaMismatch
from .models import Job, Row

Moment = datetime | timedelta | None

# Named, since a prepared `select *` breaks when a migration adds a column; JSON as text, since a
# connection that is not ours may decode it in its own way.
JOB_COLUMNS = """id, queue, job_type, status, priority, reference_type, reference_id,
    payload::text, result::text, error, retry_count, max_retries, crash_count, backoff, attempt,
    run_at, unique_key, unique_scope, worker, lease_until, cancel_requested_at, created_at,
    updated_at, finished_at"""
# What a claimed job has no use for is left out: a column costs a fifth of a microsecond per job.
CLAIM_COLUMNS = JOB_COLUMNS.replace("result::text,", "").replace(", finished_at", "")


class Executor(Protocol):
    """An asyncpg connection or pool, or what looks like one."""

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Any]: ...


def quote(identifier: str) -> str:
    """An SQL identifier for any name, as PostgreSQL's ``quote_ident`` would."""
    return '"' + identifier.replace('"', '""') + '"'


class Database:
    """The SQL functions of one schema, on one connection or pool."""

    __slots__ = ("_executor", "schema")

    def __init__(self, executor: Executor, schema: str = "public") -> None:
        self._executor = executor
        self.schema = schema

    async def _rows(self, query: str, *args: Any) -> Sequence[Row]:
        """Runs a statement in which ``{schema}`` stands for the schema."""
        try:
            return await self._executor.fetch(
                query.replace("{schema}", quote(self.schema), 1), *args
            )
        except (asyncpg.DataError, UnicodeEncodeError) as error:
            raise InvalidArgument(str(error)) from error
        except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError) as error:
            raise SchemaMismatch(
                f"{error}; run `pgjobs migrate --schema {self.schema}` with this version of pgjobs"
            ) from error

    async def _jobs(self, query: str, *args: Any) -> list[Job[Any]]:
        return [Job.from_row(row) for row in await self._rows(query, *args)]

    async def _ids(self, query: str, *args: Any) -> list[int]:
        return [row["id"] for row in await self._rows(query, *args)]

    async def _value(self, query: str, *args: Any) -> Any:
        return (await self._rows(query, *args))[0]["value"]

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
    ) -> Job[Any]:
        """Adds a job, or returns the one that holds its ``unique_key``."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_enqueue(
            $1::text, $2::text::jsonb, $3::text, $4::int,
            coalesce($5::timestamptz, clock_timestamp() + $6::interval), $7::text, $8::bigint,
            $9::int, $10::text, $11::text, $12::interval[])""",
            job_type, payload, queue, priority, *_moment(run_at), reference_type, reference_id,
            max_retries, unique_key, unique_scope, backoff,
        )  # fmt: skip
        return jobs[0]

    async def enqueue_many(self, jobs: str) -> list[int]:
        """Adds the jobs of a JSON array; ids in the same order."""
        return await self._ids(
            "select jobs_enqueue_many as id from {schema}.jobs_enqueue_many($1::text::jsonb)", jobs
        )

    async def enqueue_together(self, jobs: Sequence[str]) -> Sequence[Row]:
        """Adds jobs given as JSON objects; their rows in the same order. For independent calls."""
        return await self._rows(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_add($1::text::jsonb)",
            f"[{','.join(jobs)}]",
        )

    async def moment(self, value: Moment) -> datetime | None:
        """A moment from the database's now as a moment of its clock."""
        at, after = _moment(value)
        if after is None:
            return at
        found: datetime | None = await self._value(
            "select clock_timestamp() + $1::interval as value", after
        )
        return found

    async def claim(
        self,
        worker: str,
        queues: Sequence[str] | None = None,
        max_jobs: int | None = None,
        lease: timedelta | None = None,
        job_types: Sequence[str] | None = None,
        floors: str | None = None,
    ) -> Sequence[Row]:
        """Takes due jobs for this worker: rows with the columns of ``CLAIM_COLUMNS``."""
        return await self._rows(
            f"""select {CLAIM_COLUMNS} from {{schema}}.jobs_claim(
            $1::text, $2::text[], $3::int, $4::interval, $5::text[], $6::text::jsonb)""",
            worker, queues, max_jobs, lease, job_types, floors,
        )  # fmt: skip

    async def next_due(
        self,
        queues: Sequence[str],
        job_types: Sequence[str] | None = None,
        since: Moment = None,
    ) -> datetime | None:
        """When the next job that a claim could take is due; None: none is waiting."""
        value: datetime | None = await self._value(
            """select {schema}.jobs_next_due($1::text[], $2::text[],
            coalesce($3::timestamptz, clock_timestamp() + $4::interval)) as value""",
            queues, job_types, *_moment(since),
        )  # fmt: skip
        return value

    async def due_in(
        self, queues: Sequence[str], job_types: Sequence[str] | None = None
    ) -> timedelta | None:
        """How long until ``next_due``, by the database's clock; for one whose claim was empty."""
        value: timedelta | None = await self._value(
            """select {schema}.jobs_next_due($1::text[], $2::text[],
            clock_timestamp() - interval '20 seconds') - clock_timestamp() as value""",
            queues, job_types,
        )  # fmt: skip
        return value

    async def wake(
        self,
        queues: Sequence[str],
        job_types: Sequence[str] | None = None,
        hops: int = 3,
    ) -> None:
        """Tells the workers of these queues to look: one at once, the others soon."""
        await self._rows(
            "select {schema}.jobs_wake($1::text[], $2::text[], $3::int)", queues, job_types, hops
        )

    async def start(
        self, job_id: int, worker: str, lease: timedelta | None = None
    ) -> Job[Any]:
        """Claims one chosen pending job; without a lease it stays claimed for ever."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_start(
            $1::bigint, $2::text, $3::interval)""",
            job_id, worker, lease,
        )  # fmt: skip
        return jobs[0]

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
        )  # fmt: skip
        return jobs[0]

    async def fail(
        self,
        job_id: int,
        error: str,
        retry: bool | None = None,
        retry_in: timedelta | None = None,
        worker: str | None = None,
        attempt: int | None = None,
    ) -> Job[Any]:
        """processing → pending with a retry spent, or failed."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_fail(
            $1::bigint, $2::text, $3::boolean, $4::interval, $5::text, $6::int)""",
            job_id, error, retry, retry_in, worker, attempt,
        )  # fmt: skip
        return jobs[0]

    async def complete_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        results: Sequence[str | None],
        keep: bool = True,
    ) -> list[int]:
        """Completes what this worker still holds; the ids that really changed."""
        return await self._ids(
            """select jobs_complete_many as id from {schema}.jobs_complete_many(
            $1::text, $2::bigint[], $3::int[], $4::text[]::jsonb[], $5::boolean)""",
            worker, job_ids, attempts, results, keep,
        )  # fmt: skip

    async def fail_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        errors: Sequence[str],
        retries: Sequence[bool],
        retry_ins: Sequence[timedelta | None],
    ) -> list[int]:
        """Fails what this worker still holds; the ids that really changed."""
        return await self._ids(
            """select jobs_fail_many as id from {schema}.jobs_fail_many(
            $1::text, $2::bigint[], $3::int[], $4::text[], $5::boolean[], $6::interval[])""",
            worker, job_ids, attempts, errors, retries, retry_ins,
        )  # fmt: skip

    async def release_many(
        self,
        worker: str,
        job_ids: Sequence[int],
        attempts: Sequence[int],
        run_ats: Sequence[Moment] | None = None,
    ) -> list[int]:
        """Gives back what this worker still holds, no retry spent; the ids that changed."""
        at, after = zip(*map(_moment, run_ats or [None] * len(job_ids)), strict=True)
        return await self._ids(
            """select jobs_release_many as id from {schema}.jobs_release_many(
            $1::text, $2::bigint[], $3::int[],
            (select array_agg(coalesce(u.at, clock_timestamp() + u.after) order by u.place)
             from unnest($4::timestamptz[], $5::interval[])
                 with ordinality u(at, after, place)))""",
            worker, job_ids, attempts, at, after,
        )  # fmt: skip

    async def heartbeat(
        self, worker: str, job_ids: Sequence[int], attempts: Sequence[int], lease: timedelta
    ) -> list[str]:
        """Prolongs the lease; for each job, in order, ``held``, ``lost`` or ``cancel``."""
        rows = await self._rows(
            """select state from {schema}.jobs_heartbeat(
            $1::text, $2::bigint[], $3::int[], $4::interval)""",
            worker, job_ids, attempts, lease,
        )  # fmt: skip
        return [row["state"] for row in rows]

    async def recover(
        self, worker: str | None = None, sparing: str | None = None
    ) -> list[Job[Any]]:
        """Takes back jobs of lost workers; with a name, all that this worker holds."""
        return await self._jobs(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_recover($1::text, $2::text)",
            worker, sparing,
        )  # fmt: skip

    async def cancel(
        self,
        job_id: int,
        reason: str | None = None,
        worker: str | None = None,
        attempt: int | None = None,
    ) -> Job[Any]:
        """pending → cancelled; a processing one's worker is asked to stop it."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs_cancel(
            $1::bigint, $2::text, $3::text, $4::int)""",
            job_id, reason, worker, attempt,
        )  # fmt: skip
        return jobs[0]

    async def retry(self, job_id: int) -> Job[Any]:
        """A finished job → pending now, its counts at 0."""
        jobs = await self._jobs(
            f"select {JOB_COLUMNS} from {{schema}}.jobs_retry($1::bigint)", job_id
        )
        return jobs[0]

    async def retry_many(
        self,
        job_types: Sequence[str] | None = None,
        queues: Sequence[str] | None = None,
        failed_since: Moment = None,
        max_jobs: int | None = None,
    ) -> int:
        """Failed jobs → pending now; how many."""
        value: int = await self._value(
            """select {schema}.jobs_retry_many($1::text[], $2::text[],
            coalesce($3::timestamptz, clock_timestamp() + $4::interval), $5::int) as value""",
            job_types, queues, *_moment(failed_since), max_jobs,
        )  # fmt: skip
        return value

    async def pause(self, queue: str) -> datetime | None:
        """Closes a queue for claims; since when it is closed."""
        rows = await self._rows("select paused_at from {schema}.jobs_pause($1::text)", queue)
        paused_at: datetime | None = rows[0]["paused_at"]
        return paused_at

    async def resume(self, queue: str) -> None:
        """Opens a queue and wakes its workers."""
        await self._rows("select paused_at from {schema}.jobs_resume($1::text)", queue)

    async def cleanup(
        self,
        older_than: timedelta | None = None,
        statuses: Iterable[str] | None = None,
        max_jobs: int | None = None,
    ) -> int:
        """Deletes finished jobs; how many. Repeat until 0."""
        value: int = await self._value(
            "select {schema}.jobs_cleanup($1::interval, $2::text[], $3::int) as value",
            older_than, None if statuses is None else list(statuses), max_jobs,
        )  # fmt: skip
        return value

    async def channel(self, topic: str) -> str:
        """The name of a NOTIFY channel of this schema: topic ``jobs`` or ``jobs_cancel``."""
        value: str = await self._value("select {schema}.jobs_channel($1::text) as value", topic)
        return value

    async def worker_start(
        self,
        worker: str,
        queues: Sequence[str],
        job_types: Sequence[str] | None,
        concurrency: int,
        version: str | None = None,
    ) -> None:
        """Registers a worker on its LISTEN connection; ``WorkerNameTaken`` if one lives."""
        await self._rows(
            """select worker from {schema}.jobs_worker_start(
            $1::text, $2::text[], $3::text[], $4::int, $5::text)""",
            worker, queues, job_types, concurrency, version,
        )  # fmt: skip

    async def worker_stop(self, worker: str) -> None:
        """Takes a worker off the register."""
        await self._rows("select {schema}.jobs_worker_stop($1::text)", worker)

    async def worker_tick(self, worker: str) -> Row | None:
        """Its regular look: ``watch``, ``due_in``, ``peers``; None: it is not registered."""
        rows = await self._rows(
            "select watch, due_in, peers from {schema}.jobs_worker_tick($1::text)", worker
        )
        return rows[0] if rows else None

    async def worker_rest(self, worker: str) -> bool:
        """The worker will wait for NOTIFY; False: a producer counts on it, look again first."""
        value: bool = await self._value(
            "select {schema}.jobs_worker_rest($1::text) as value", worker
        )
        return value

    async def worker_rise(self, worker: str) -> None:
        """The worker looks by itself; producers need not notify it."""
        await self._rows("select {schema}.jobs_worker_rise($1::text)", worker)

    async def release_unknown(self, worker: str, known_ids: Sequence[int]) -> list[int]:
        """Gives back what this worker holds without knowing; the ids."""
        return await self._ids(
            """select jobs_release_unknown as id
            from {schema}.jobs_release_unknown($1::text, $2::bigint[])""",
            worker, known_ids,
        )  # fmt: skip

    async def get(self, job_id: int) -> Job[Any] | None:
        """The job with that id, if there is one."""
        jobs = await self._jobs(
            f"select {JOB_COLUMNS} from {{schema}}.jobs where id = $1::bigint", job_id
        )
        return jobs[0] if jobs else None

    async def pending(self, job_type: str | None, limit: int | None) -> list[Job[Any]]:
        """Pending jobs, also those that are not due yet."""
        return await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs
            where status = 'pending' and ($1::text is null or job_type = $1::text)
            order by priority desc, run_at, id limit $2::bigint""",
            job_type, limit,
        )  # fmt: skip

    async def by_reference(self, reference_type: str, reference_id: int) -> Job[Any] | None:
        """The newest job about that entity."""
        jobs = await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}.jobs
            where reference_type = $1::text and reference_id = $2::bigint
            order by id desc limit 1""",
            reference_type, reference_id,
        )  # fmt: skip
        return jobs[0] if jobs else None

    async def stats(self) -> Sequence[Row]:
        """Rows of ``jobs_stats``: queue, job_type, status, count, oldest_due."""
        return await self._rows(
            """select queue, job_type, status, count, oldest_due from {schema}.jobs_stats
            order by queue, job_type, status"""
        )

    async def listing(
        self,
        statuses: Sequence[str] | None = None,
        job_types: Sequence[str] | None = None,
        queues: Sequence[str] | None = None,
        limit: int = 20,
    ) -> Sequence[Row]:
        """Rows of ``jobs_list``, the newest first."""
        return await self._rows(
            """select id, queue, job_type, status, priority, reference_type, reference_id,
            retry_count, max_retries, crash_count, attempt, run_at, worker, lease_until,
            cancel_requested_at, created_at, updated_at, finished_at, age, error
            from {schema}.jobs_list
            where ($1::text[] is null or status = any ($1::text[]))
                and ($2::text[] is null or job_type = any ($2::text[]))
                and ($3::text[] is null or queue = any ($3::text[]))
            order by id desc limit $4::bigint""",
            statuses, job_types, queues, limit,
        )  # fmt: skip

    async def processing(self, limit: int = 20) -> Sequence[Row]:
        """The jobs that run now, the longest first."""
        return await self._rows(
            """select id, queue, job_type, worker, attempt, age,
            lease_until - clock_timestamp() as lease, cancel_requested_at
            from {schema}.jobs_list where status = 'processing'
            order by age desc, id limit $1::bigint""",
            limit,
        )

    async def workers(self) -> Sequence[Row]:
        """The registered workers; ``unseen``: since their last heartbeat."""
        return await self._rows(
            """select worker, started_at, clock_timestamp() - seen_at as unseen, missed_at, awake,
            queues, job_types, concurrency, version from {schema}.jobs_workers order by worker"""
        )

    async def paused(self) -> dict[str, datetime]:
        """The paused queues, and since when."""
        rows = await self._rows(
            """select queue, paused_at from {schema}.jobs_queues
            where paused_at is not null order by queue"""
        )
        return {row["queue"]: row["paused_at"] for row in rows}

    async def finished(
        self,
        statuses: Sequence[str],
        within: timedelta | None = None,
        before: timedelta | None = None,
    ) -> int:
        """How many jobs finished within the last ``within``, or longer ago than ``before``."""
        value: int = await self._value(
            """select count(*) as value from {schema}.jobs_list
            where status = any ($1::text[]) and status <> 'pending'
                and finished_at >= coalesce(clock_timestamp() - $2::interval, '-infinity')
                and finished_at < coalesce(clock_timestamp() - $3::interval, 'infinity')""",
            statuses, within, before,
        )  # fmt: skip
        return value

    async def doctor(self) -> Sequence[Row]:
        """Rows of ``jobs_doctor``: check_name, verdict, detail, advice."""
        return await self._rows(
            "select check_name, verdict, detail, advice from {schema}.jobs_doctor()"
        )

    async def version(self) -> str:
        """Which release of pgjobs made the functions."""
        value: str = await self._value("select {schema}.jobs_version() as value")
        return value

    async def grant(self, role_name: str, as_what: str) -> None:
        """Lets a role be producer, worker, observer or admin."""
        await self._rows("select {schema}.jobs_grant($1::text, $2::text)", role_name, as_what)


def _moment(value: Moment) -> tuple[datetime | None, timedelta | None]:
    """A moment as what it is: absolute, or from the database's now."""
    if value is None:
        return None, None
    if isinstance(value, timedelta):
        return None, value
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidArgument(f"a moment must be a datetime with a time zone, not {value!r}")
    return value, None
