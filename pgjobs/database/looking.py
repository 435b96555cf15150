"""What the console looks up of jobs, of its own role and of the server."""

from collections.abc import Sequence

from pgjobs.database.statements import Statements
from pgjobs.job.job import Row

# What a list shows of a job, cut in the database, so that a large payload is not sent.
_LISTED = """id, queue, job_type, status, priority, reference_type, reference_id, reference_key,
    group_key, batch_id, retry_count, max_retries, crash_count, attempt, run_at, expires_at,
    depends_on_left, worker, lease_until, cancel_requested_at, created_at, updated_at, started_at,
    finished_at, age"""


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
