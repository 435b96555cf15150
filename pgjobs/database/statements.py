"""Runs statements of a schema on a connection, and maps their errors."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import asyncpg

from pgjobs.connection.drivers import NOT_INSTALLED
from pgjobs.connection.executor import Executor, commits_each_statement
from pgjobs.database.acting import with_actor
from pgjobs.errors import InvalidArgument, SchemaMismatch
from pgjobs.job.job import Job, Row, Source

T = TypeVar("T")
Moment = datetime | timedelta | None

# Columns have names, because a prepared `select *` breaks when a migration adds a column. JSON is
# text, because a connection of the caller's may decode JSON in its own way.
JOB_COLUMNS = """id, queue, job_type, status, priority, reference_type, reference_id,
    reference_key, group_key, headers::text, payload::text, progress::text, result::text, error,
    retry_count, max_retries, crash_count, backoff, attempt, run_at, expires_at, unique_key,
    unique_scope, batch_id, depends_on_left, worker, started_at, lease_until, cancel_requested_at,
    created_at, updated_at, finished_at"""
# A claim leaves out the columns that its worker knows, because each column costs a little per job
# (docs/decisions/0005-measurements.md).
NULL_WHEN_CLAIMED = ("result", "cancel_requested_at", "finished_at")
_KNOWN_TO_THE_WORKER = {"status", "worker", "updated_at", *NULL_WHEN_CLAIMED}
CLAIM_COLUMNS = ", ".join(
    column
    for column in map(str.strip, JOB_COLUMNS.split(","))
    if column.removesuffix("::text") not in _KNOWN_TO_THE_WORKER
)


# Errors of a call while an upgrade replaces a function or adds a column.
UPGRADE_ERRORS = (
    asyncpg.DatatypeMismatchError, asyncpg.InvalidFunctionDefinitionError,
    asyncpg.InternalServerError, asyncpg.UndefinedFunctionError,
)


def quote(identifier: str) -> str:
    """Quotes a name as an SQL identifier, as PostgreSQL's ``quote_ident`` does."""
    return '"' + identifier.replace('"', '""') + '"'


@cache
def _in_schema(query: str, schema: str) -> str:
    # Kept, so that asyncpg finds its prepared statement by the same string each time.
    return query.replace("{schema}", quote(schema))


class Statements:
    """Runs statements of one schema on one connection or pool."""

    __slots__ = ("_executor", "_source", "schema")

    def __init__(
        self, executor: Executor, schema: str = "public", source: Source | None = None
    ) -> None:
        self._executor = executor
        self.schema = schema
        self._source = source  # what reads the jobs again that the statements return

    async def _rows(self, query: str, *args: Any) -> Sequence[Row]:
        """Runs a statement in which ``{schema}`` stands for the schema."""
        try:
            return await self._fetch(_in_schema(query, self.schema), *args)
        except (asyncpg.DataError, UnicodeEncodeError) as error:
            raise InvalidArgument(str(error)) from error
        except NOT_INSTALLED as error:
            # The advice first: what follows may have several lines.
            raise SchemaMismatch(
                f"run `pgjobs migrate --schema {self.schema}`: pgjobs is not installed there, or"
                f" another version of it: {error.args[0]}"  # without the hint, on casts of types
            ) from error

    async def _manage(self, query: str, *args: Any) -> Sequence[Row]:
        """As ``_rows``, for a call that the database notes in ``jobs_audit``."""
        told, with_it = with_actor(query, args)
        return await self._rows(told, *with_it)

    async def _fetch(self, query: str, *args: Any) -> Sequence[Row]:
        try:
            return await self._executor.fetch(query, *args)
        except UPGRADE_ERRORS:
            # Where each statement is a transaction of its own, nothing was done: send it again.
            if commits_each_statement(self._executor):
                return await self._executor.fetch(query, *args)
            raise

    async def _jobs(self, query: str, *args: Any) -> list[Job[Any]]:
        return [Job.from_row(row, self._source) for row in await self._rows(query, *args)]

    async def _managed(self, query: str, *args: Any) -> Job[Any]:
        """The one job that a managing call returns."""
        return Job.from_row((await self._manage(query, *args))[0], self._source)

    async def _ids(self, query: str, *args: Any) -> list[int]:
        return [row["id"] for row in await self._rows(query, *args)]

    async def _value(self, query: str, *args: Any) -> Any:
        return (await self._rows(query, *args))[0]["value"]


def as_moment(value: Moment) -> tuple[datetime | None, timedelta | None]:
    """Splits a moment into an absolute one and one from the database's now."""
    if value is None:
        return None, None
    if isinstance(value, timedelta):
        return None, value
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidArgument(f"a moment must be a datetime with a time zone, not {value!r}")
    return value, None


def as_list(name: str, values: Iterable[T] | None) -> list[T] | None:
    """Checks and copies what goes to the server as an array."""
    if values is None:
        return None
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise InvalidArgument(f"{name} must be a list, not {values!r}")
    return list(values)
