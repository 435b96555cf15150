"""Look-ups: jobs, queues, workers."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from pgjobs.database.statements import JOB_COLUMNS, Statements
from pgjobs.job.job import Job, Row
from pgjobs.job.reason import Reason

# A list ends its search for jobs that pass its filters after so many: in 0.04 s.
MAX_READ_JOBS = 100_000
# Whoever reads the jobs beside a job in its flow is told of no more than so many: in 0.01 s.
MAX_COUNTED_EDGES = 20_000
# Parents that did not complete are told first, as far as they are among so many.
MAX_READ_PARENTS = 1_000


class Reading(Statements):
    """Look-ups: jobs, queues, workers."""

    __slots__ = ()

    async def get(self, job_id: int) -> Job[Any] | None:
        """Returns the job with that id, or None."""
        jobs = await self._jobs(
            f"select {JOB_COLUMNS} from {{schema}}.jobs where id = $1::bigint", job_id
        )
        return jobs[0] if jobs else None

    async def history(self, job_id: int) -> Sequence[Row]:
        """Returns the attempts of a job that failed or were lost, the first ones first."""
        return await self._rows(
            """select attempt, outcome, worker, due_at, started_at, ended_at, error_kind, error
            from {schema}.jobs_attempts where job_id = $1::bigint order by attempt""",
            job_id,
        )

    async def flow(self, job_id: int) -> Row | None:
        """How many parents a job has, and what became of them; None if it never had some."""
        rows = await self._rows(
            """select on_parent_failed, parents, completed, failed, cancelled
            from {schema}.jobs_flows where job_id = $1::bigint and parents > 0""",
            job_id,
        )
        return rows[0] if rows else None

    async def flow_above(self, job_id: int, limit: int) -> Sequence[Row]:
        """Some parents: id, job_type, status, and of each row ``total``: how many there are."""
        return await self._rows(
            """select p.id, p.job_type, p.status, (
                select count(*) from (
                    select from {schema}.jobs_flow_edges e where e.child_id = $1::bigint limit $3
                ) counted) as total
            from (
                select e.parent_id from {schema}.jobs_flow_edges e
                where e.child_id = $1::bigint limit $4) e
            cross join lateral (
                select * from {schema}.jobs p where p.id = e.parent_id offset 0) p
            order by p.status = 'failed' desc, p.status = 'cancelled' desc,
                p.finished_at is null desc, p.id
            limit $2""",
            job_id, limit, MAX_COUNTED_EDGES, MAX_READ_PARENTS,
        )

    async def flow_below(self, job_ids: Sequence[int], limit: int) -> Sequence[Row]:
        """Of each of these jobs some children: parent_id, id, job_type, status, total."""
        return await self._rows(
            """select given.id as parent_id, c.id, c.job_type, c.status, (
                select count(*) from (
                    select from {schema}.jobs_flow_edges e where e.parent_id = given.id limit $3
                ) counted) as total
            from unnest($1::bigint[]) with ordinality given(id, place)
            cross join lateral (
                select e.child_id from {schema}.jobs_flow_edges e
                where e.parent_id = given.id order by e.child_id limit $2) e
            cross join lateral (
                select * from {schema}.jobs c where c.id = e.child_id offset 0) c
            order by given.place, c.id""",
            job_ids, limit, MAX_COUNTED_EDGES,
        )

    async def find(
        self,
        statuses: Sequence[str] | None = None,
        job_types: Sequence[str] | None = None,
        queues: Sequence[str] | None = None,
        limit: int | None = None,
        before: int | None = None,
        reference_type: str | None = None,
        reference_id: int | None = None,
        reference_key: str | None = None,
        group_key: str | None = None,
    ) -> list[Job[Any]]:
        """Returns jobs in the order of ``_jobs_search``; ``before``: the last job so far."""
        return await self._jobs(
            f"""select {JOB_COLUMNS} from {{schema}}._jobs_search($1::text[], $2::text[],
                $3::text[], $4::text, $5::bigint, $6::text, $7::bigint, $8::bigint,
                group_key => $9::text)
                with ordinality found(job_id, matches, place)
            join {{schema}}.jobs on id = found.job_id
            order by found.place""",
            statuses, job_types, queues, reference_type, reference_id, reference_key, before, limit,
            group_key,
        )

    async def schedules(self) -> Sequence[Row]:
        """Returns the schedules without their payloads, by name."""
        return await self._rows(
            """select name, job_type, cron, every, timezone, queue, priority, max_retries,
                group_key, missed, missed_within, overlap, starts_at, ends_at, paused_at, next_at,
                last_at, recent_job_ids, is_declared, created_at, updated_at, error
            from {schema}.jobs_schedule_list order by name"""
        )

    async def retention(self) -> Sequence[Row]:
        """Returns the rules, by status and type; ``deleted_to``: what ended before it is gone."""
        return await self._rows(
            """select status, job_type, keep_for, next_at, deleted_to, error,
                declared is not null as is_declared, created_at, updated_at
            from {schema}.jobs_retention order by status, job_type nulls first"""
        )

    async def limits(self, queue: str | None = None) -> Sequence[Row]:
        """Returns the limits of a queue, or of all queues that have some."""
        return await self._rows(
            """select queue, max_running, max_running_per_group, rate_count, rate_period,
                group_rate_count, group_rate_period, in_order, declared is not null as is_declared
            from {schema}.jobs_queues
            where queue = $1::text or $1::text is null
                and num_nonnulls(max_running, max_running_per_group, rate_count,
                                 group_rate_count) > 0
            order by queue""",
            queue,
        )

    async def listing(
        self,
        statuses: Sequence[str] | None = None,
        job_types: Sequence[str] | None = None,
        queues: Sequence[str] | None = None,
        limit: int = 20,
        reference_type: str | None = None,
        reference_id: int | None = None,
        reference_key: str | None = None,
        before: int | None = None,
        group_key: str | None = None,
    ) -> tuple[Sequence[Row], int | None]:
        """Returns rows of ``jobs_list`` in the order of ``find``, and the job where it gave up.

        It gives up after ``MAX_READ_JOBS``; the search goes on ``before`` that job.
        """
        rows = await self._rows(
            """select found.job_id as id, queue, job_type, status, priority, reference_type,
            reference_id, reference_key, group_key, retry_count, max_retries, crash_count, attempt,
            run_at, worker, lease_until, cancel_requested_at, created_at, updated_at, finished_at,
            age, error
            from {schema}._jobs_search($1::text[], $2::text[], $3::text[], $4::text, $5::bigint,
                $6::text, $7::bigint, $8::bigint, $9::int, $10::text)
                with ordinality found(job_id, matches, place)
            left join {schema}.jobs_list on id = found.job_id and found.matches
            order by found.place""",
            statuses, job_types, queues, reference_type, reference_id, reference_key, before,
            limit, MAX_READ_JOBS, group_key,
        )
        gave_up = bool(rows) and rows[-1]["status"] is None
        return (rows[:-1], rows[-1]["id"]) if gave_up else (rows, None)

    async def counts(self, cap: int | None = None) -> Sequence[Row]:
        """Returns the rows of ``jobs_counts``: queue, job_type, state, jobs, capped."""
        return await self._rows(
            """select queue, job_type, state, jobs, capped
            from {schema}.jobs_counts($1::int)
            order by queue collate "C", job_type collate "C", state""",
            cap,
        )

    async def stats(self, cap: int | None = None) -> Sequence[Row]:
        """Counts the jobs as ``jobs_counts`` does; ``oldest_due``: how long it has waited.

        The states due, later, retrying and throttled are those of the status pending.
        """
        return await self._rows(
            """select queue, job_type,
            case when state in ('due', 'later', 'retrying', 'throttled') then 'pending'
                else state end as status,
            state, jobs as count, capped, oldest_due
            from {schema}._jobs_counts($1::int)
            order by queue collate "C", job_type collate "C", status, state""",
            cap,
        )

    async def rates(self, within: timedelta) -> dict[str, float]:
        """Returns how many jobs a second reached each final status in the last ``within``."""
        rows = await self._rows(
            "select status, per_second from {schema}._jobs_rates($1::interval)", within
        )
        return {row["status"]: row["per_second"] for row in rows}

    async def durations(self) -> Sequence[Row]:
        """Returns ``queue``, ``job_type``, ``waited_s``, ``waits``, ``ran_s`` and ``runs``.

        A row without queue and job_type sums up all types but the hundred busiest.
        """
        return await self._rows(
            """select queue, job_type, waited_s, waits, ran_s, runs from {schema}.jobs_durations
            order by queue, job_type"""
        )

    async def schedules_late(self) -> Sequence[Row]:
        """Returns ``name`` and ``late_s`` of the schedules that have a next tick."""
        return await self._rows(
            """select name, greatest(0, extract(epoch from clock_timestamp() - next_at))::float8
                as late_s
            from {schema}.jobs_schedule_list
            where paused_at is null and next_at is not null
            order by name"""
        )

    async def processing(self, limit: int = 20) -> Sequence[Row]:
        """Returns the running jobs, the longest first."""
        return await self._rows(
            """select id, queue, job_type, worker, attempt, age,
            lease_until - clock_timestamp() as lease, cancel_requested_at
            from {schema}.jobs_list where status = 'processing'
            order by age desc, id limit $1::bigint""",
            limit,
        )

    async def workers(self) -> Sequence[Row]:
        """Returns the registered workers; ``unseen``: time since the last tick.

        ``taken``: how many of its slots are taken. A worker may hold a few jobs more, which wait
        for a slot.
        """
        return await self._rows(
            """select w.worker, w.started_at,
            clock_timestamp() - coalesce(t.seen_at, w.started_at) as unseen, t.missed_at, m.mode,
            w.queues, w.job_types, w.concurrency, w.version,
            least(coalesce(r.jobs, 0), w.concurrency) as taken
            from {schema}.jobs_workers w
            left join (
                select j.worker, count(*) as jobs from {schema}.jobs_list j
                where j.status = 'processing' group by j.worker) r on r.worker = w.worker
            left join {schema}.jobs_worker_ticks t on t.worker = w.worker
            left join {schema}._jobs_worker_modes() m on m.worker = w.worker
            order by w.worker"""
        )

    async def knows_queue(self, queue: str) -> bool:
        """Whether a job is in the queue, a worker serves it, or it was paused once."""
        value: bool = await self._value(
            """select exists (select from {schema}.jobs_queues q where q.queue = $1::text)
                or exists (select from {schema}.jobs_workers w where $1::text = any (w.queues))
                or exists (select from {schema}.jobs j
                    where j.status = 'pending' and j.group_key is null and j.queue = $1::text)
                or exists (select from {schema}.jobs j
                    where j.group_key is not null and j.finished_at is null
                        and j.queue = $1::text)
                or exists (select from {schema}.jobs j where j.queue = $1::text) as value""",
            queue,
        )
        return value

    async def paused(self) -> dict[str, Row]:
        """Returns the paused queues: since when, until when (None: until resumed), and why."""
        rows = await self._rows(
            """select queue, paused_at, paused_until, pause_reason from {schema}.jobs_queues
            where paused_at is not null
                and (paused_until is null or paused_until > statement_timestamp())
            order by queue"""
        )
        return {row["queue"]: row for row in rows}

    async def held_back(self, groups: Collection[tuple[str, str]] = ()) -> Sequence[Row]:
        """Returns the queues at their limit, and which of these groups are, and ``told``: why."""
        return await self._rows(
            """select queue, group_key, told
            from {schema}._jobs_held_back($1::text[], $2::text[])
            order by queue, group_key nulls first""",
            [queue for queue, _ in groups], [group_key for _, group_key in groups],
        )

    async def waiting_groups(self, queue: str | None = None, limit: int = 20) -> Sequence[Row]:
        """Returns the groups whose due jobs wait longest, of one queue or of all.

        ``due``, ``due_capped``, ``oldest``: how long its oldest due job has waited; ``startable``:
        how many the limits let start now; ``told``: why none; ``held_until``: when the retry is
        due that the others wait for; ``is_more``: the queue has more groups than were looked at.
        """
        return await self._rows(
            """select queue, group_key, due, due_capped, startable, oldest, held_until, is_more,
                told
            from {schema}._jobs_waiting_groups($1::text, $2::int)""",
            queue, limit,
        )

    async def queues(self) -> list[str]:
        """Returns the queues that have unfinished jobs, a worker, a schedule or an own row."""
        rows = await self._rows(
            """select queue from {schema}.jobs_queues
            union select unnest(queues) collate "C" from {schema}.jobs_workers
            union select queue collate "C" from {schema}.jobs_schedule_list
            union select queue collate "C" from {schema}.jobs_counts()
            where queue is not null and state not in ('completed', 'failed', 'cancelled')
            order by queue"""
        )
        return [row["queue"] for row in rows]

    async def finished(
        self,
        statuses: Sequence[str],
        within: timedelta | None = None,
        before: timedelta | None = None,
    ) -> int:
        """Counts jobs that finished within the last ``within``, or longer ago than ``before``."""
        value: int = await self._value(
            """select count(*) as value from {schema}.jobs_list
            where status = any ($1::text[]) and status <> 'pending'
                and finished_at >= coalesce(
                    {schema}._jobs_after(statement_timestamp(), -$2::interval), '-infinity')
                and finished_at < coalesce(
                    {schema}._jobs_after(statement_timestamp(), -$3::interval), 'infinity')""",
            statuses, within, before,
        )
        return value

    async def doctor(self) -> Sequence[Row]:
        """Returns the rows of ``jobs_doctor``: check_name, verdict, detail, advice."""
        return await self._rows(
            "select check_name, verdict, detail, advice from {schema}.jobs_doctor()"
        )

    async def why(self, job_id: int) -> list[Reason]:
        """Returns why a job does not run, the worst reason first."""
        rows = await self._rows(
            "select reason, detail, advice from {schema}.jobs_why($1::bigint)", job_id
        )
        return [Reason(row["reason"], row["detail"], row["advice"]) for row in rows]

    async def version(self) -> str:
        """Returns the release of pgjobs that made the functions."""
        value: str = await self._value("select {schema}.jobs_version() as value")
        return value
