"""What the console looks up of jobs, of its own role and of the server."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgjobs.database.reading import MAX_READ_JOBS
from pgjobs.database.statements import Statements
from pgjobs.job.job import Row

# What a list shows of a job, cut in the database, so that a large payload is not sent.
_LISTED = """id, queue, job_type, status, priority, reference_type, reference_id, reference_key,
    group_key, batch_id, retry_count, max_retries, crash_count, attempt, run_at, expires_at,
    depends_on_left, worker, lease_until, cancel_requested_at, created_at, updated_at, started_at,
    finished_at, age"""

# The page of failures reads so many attempts at most: in 0.05 s.
MAX_READ_ATTEMPTS = 5_000
MAX_GROUPS = 100


@dataclass(frozen=True)
class Failures:
    """What failed lately, in groups, and what was read to find it.

    ``groups``: the rows of ``_jobs_failures``; there may be more of them, with fewer attempts each.
    ``is_full``: there may be more attempts, before ``read_from``.
    """

    groups: Sequence[Row]
    has_more_groups: bool
    attempts: int
    read_from: datetime | None  # None: there was none
    read_until: datetime
    is_full: bool


class Looking(Statements):
    """What the console looks up of jobs, of its own role and of the server."""

    __slots__ = ()

    async def listed(self, job_id: int) -> Row | None:
        """Returns the row of ``jobs_list`` without the error, or None."""
        rows = await self._rows(
            f"select {_LISTED} from {{schema}}.jobs_list where id = $1::bigint", job_id
        )
        return rows[0] if rows else None

    async def keyed(self, unique_key: str, job_types: Sequence[str], limit: int) -> list[int]:
        """Returns the jobs of these types that hold this unique key, the newest first."""
        return await self._ids(
            """select id from {schema}.jobs
            where job_type = any ($2::text[]) and unique_key = $1::text and unique_key is not null
                and (unique_scope <> 'live' or finished_at is null)
            order by id desc limit $3""",
            unique_key, job_types, limit,
        )

    async def previews(self, job_ids: Sequence[int], max_chars: int) -> dict[int, Row]:
        """Returns the beginning of ``payload`` and ``error`` of these jobs, by id."""
        rows = await self._rows(
            """select id, left(payload::text, $2::int) as payload, left(error, $2::int) as error
            from {schema}.jobs where id = any ($1::bigint[])""",
            job_ids, max_chars,
        )
        return {row["id"]: row for row in rows}

    async def documents(self, job_id: int, max_chars: int) -> Row | None:
        """Returns what only some may read of a job, each text no longer than ``max_chars``.

        ``payload_chars``, ``result_chars`` and ``error_chars`` are the lengths of the whole texts.
        """
        rows = await self._rows(
            """select unique_key, unique_scope,
            left(payload::text, $2::int) as payload, length(payload::text) as payload_chars,
            left(result::text, $2::int) as result, length(result::text) as result_chars,
            left(error, $2::int) as error, length(error) as error_chars,
            left(progress::text, $2::int) as progress, left(headers::text, $2::int) as headers
            from {schema}.jobs where id = $1::bigint""",
            job_id, max_chars,
        )
        return rows[0] if rows else None

    async def attempts(self, job_id: int, limit: int, max_chars: int) -> Sequence[Row]:
        """Returns the last attempts that failed or were lost, in order; their errors are cut."""
        return await self._rows(
            """select * from (
                select attempt, outcome, worker, due_at, started_at, ended_at, error_kind,
                    left(error, $3::int) as error
                from {schema}.jobs_attempts where job_id = $1::bigint
                order by attempt desc limit $2::bigint) a
            order by a.attempt""",
            job_id, limit, max_chars,
        )

    async def newest_errors(self, groups: Sequence[Row], max_chars: int) -> Sequence[str | None]:
        """Returns for each of these rows of ``_jobs_failures`` the beginning of the last error."""
        rows = await self._rows(
            """select e.error
            from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[])
                with ordinality g(last_at, job_type, error_kind, error_line, place)
            left join lateral (
                select left(a.error, $5::int) as error from {schema}.jobs_attempts a
                where a.ended_at = g.last_at and a.job_type = g.job_type
                    and a.error_kind is not distinct from g.error_kind
                    and {schema}._jobs_error_line(a.error) is not distinct from g.error_line
                limit 1
            ) e on true
            order by g.place""",
            *([row[name] for row in groups]
              for name in ("last_at", "job_type", "error_kind", "error_line")),
            max_chars,
        )
        return [row["error"] for row in rows]

    async def failures(
        self,
        within: timedelta,
        before: datetime | None = None,
        job_type: str | None = None,
        queue: str | None = None,
        by_error: bool = True,
        max_ids: int = 3,
        key: str | None = None,
    ) -> Failures:
        """Groups the newest attempts that failed or were lost within that time.

        ``before``: none that ended later. ``by_error``: by exception and first line of the error,
        too. ``key``: that group alone.
        """
        *groups, read = await self._rows(
            """select key, job_type, error_kind, error_line, attempts, jobs, failed, retrying,
                first_at, last_at, job_ids, failed_ids, retrying_ids
            from {schema}._jobs_failures($1::interval, $2::timestamptz, $3::text, $4::text,
                $5::boolean, $6::int, $7::int, $8::text, $9::int)""",
            within, before, job_type, queue, by_error, MAX_GROUPS, max_ids, key,
            MAX_READ_ATTEMPTS,
        )
        return Failures(
            groups, len(groups) == MAX_GROUPS, read["attempts"], read["first_at"],
            read["last_at"], read["attempts"] == MAX_READ_ATTEMPTS,
        )

    async def matching(
        self,
        statuses: Sequence[str],
        created_before: datetime,
        limit: int,
        *,
        job_ids: Sequence[int] | None = None,
        job_types: Sequence[str] | None = None,
        queues: Sequence[str] | None = None,
        reference_type: str | None = None,
        reference_id: int | None = None,
        reference_key: str | None = None,
        group_key: str | None = None,
        finished_before: datetime | None = None,
        due_after: datetime | None = None,
    ) -> tuple[list[int], bool]:
        """Returns jobs that a call for many jobs means, and whether there may be more than these.

        With ``job_ids`` the filters from ``job_types`` to ``group_key`` are not looked at. Running
        jobs that were asked to stop are left out. Of each status at most ``limit`` jobs that pass
        the filters of a list are looked at.
        """
        rows = await self._rows(
            """select found.id, f.is_edge from (
                select f.job_id, f.matches, not f.matches or f.place = $3::bigint as is_edge
                from unnest(case when $4::bigint[] is null then $1::text[] end) s(status)
                cross join lateral {schema}._jobs_search(array[s.status], $5::text[], $6::text[],
                    $7::text, $8::bigint, $9::text, null, $3::bigint, $13::int, $10::text)
                    with ordinality f(job_id, matches, place)
                union all
                select g.id, true, false from unnest($4::bigint[]) g(id)
            ) f
            left join lateral (
                select j.id from {schema}.jobs_list j
                where j.id = f.job_id and j.status = any ($1::text[])
                    and j.created_at < $2::timestamptz
                    and ($11::timestamptz is null or j.finished_at < $11)
                    and ($12::timestamptz is null or j.run_at > $12)
                    and (j.status <> 'processing' or j.cancel_requested_at is null)
                offset 0
            ) found on f.matches
            where found.id is not null or f.is_edge""",
            statuses, created_before, limit, job_ids, job_types, queues, reference_type,
            reference_id, reference_key, group_key, finished_before, due_after, MAX_READ_JOBS,
        )
        ids = [row["id"] for row in rows if row["id"] is not None]
        return ids[:limit], len(ids) >= limit or any(row["is_edge"] for row in rows)

    async def statuses(self, job_ids: Sequence[int]) -> dict[int, str]:
        """Returns the status of each of these jobs that is there, by id."""
        rows = await self._rows(
            "select id, status from {schema}.jobs_list where id = any ($1::bigint[])", job_ids
        )
        return {row["id"]: row["status"] for row in rows}

    async def server(self) -> Row:
        """Returns the releases of PostgreSQL and of pgjobs, the database and the schema."""
        rows = await self._rows(
            """select current_setting('server_version') as server_version,
            {schema}.jobs_version() as version, current_database()::text as database,
            $1::text as schema""",
            self.schema,
        )
        return rows[0]

    async def relations(self) -> Sequence[Row]:
        """Returns the tables of pgjobs, the largest first: their sizes, rows and last vacuum.

        To tell a size, PostgreSQL waits for whoever has the table locked.
        """
        return await self._rows(
            """select c.relname::text as name, pg_catalog.pg_table_size(c.oid) as table_bytes,
            pg_catalog.pg_indexes_size(c.oid) as index_bytes,
            pg_catalog.pg_stat_get_live_tuples(c.oid) as live_rows,
            pg_catalog.pg_stat_get_dead_tuples(c.oid) as dead_rows,
            greatest(pg_catalog.pg_stat_get_last_vacuum_time(c.oid),
                pg_catalog.pg_stat_get_last_autovacuum_time(c.oid)) as vacuumed_at,
            greatest(pg_catalog.pg_stat_get_last_analyze_time(c.oid),
                pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)) as analyzed_at
            from pg_catalog.pg_class c
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1::text and c.relkind = 'r'
                and (c.relname = 'jobs' or c.relname like 'jobs\\_%')
            order by pg_catalog.pg_total_relation_size(c.oid) desc, name""",
            self.schema,
        )

    async def rights(self) -> Row:
        """Returns what the role of the connection may do.

        ``role``: its name. ``calls``: the functions that it may call. ``reads``: the tables and
        views that it may read. ``is_read_only``: the database refuses each change, as a replica
        does.
        """
        rows = await self._rows(
            """select current_user::text as role,
            array(select p.proname::text from pg_catalog.pg_proc p
                where p.pronamespace = n.oid and p.proname like 'jobs\\_%'
                    and has_function_privilege(p.oid, 'execute')) as calls,
            array(select c.relname::text from pg_catalog.pg_class c
                where c.relnamespace = n.oid and c.relkind in ('r', 'v')
                    and c.relname like 'jobs%' and has_table_privilege(c.oid, 'select')) as reads,
            pg_is_in_recovery() or current_setting('transaction_read_only')::boolean
                as is_read_only
            from pg_catalog.pg_namespace n
            where n.nspname = $1::text and has_schema_privilege(n.oid, 'usage')""",
            self.schema,
        )
        return rows[0] if rows else {"role": None, "calls": [], "reads": [], "is_read_only": True}
