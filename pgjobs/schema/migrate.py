"""Installs and upgrades the schema: migrates the tables, and replaces functions and views."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql

from pgjobs.connection.connector import shares_sessions
from pgjobs.connection.dsn import resolve
from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.schema.ledger import Ledger
from pgjobs.schema.session import connect

_INCLUDE = re.compile(r"^\\ir (\S+)$", re.MULTILINE)
# The name of a channel has at most 63 bytes, and `.jobs` takes 5 of them. In a schema with a long
# name, jobs_channel puts a digest into the names of the channels with longer topics.
_MAX_SCHEMA_BYTES = 58
_PREPARE_FILES = ("install/session.sql", "install/signatures.sql")
_STRANGERS_FILES = (
    "functions/manage/_jobs_objects_of_strangers.sql", "install/strangers.sql",
)
_RETRY_LOCK_EVERY_S = 0.1
_GIVE_UP_LOCK_AFTER_S = 60.0


def migrate(dsn: str | None = None, schema: str = "public", *, down: int = 0) -> list[str]:
    """Installs or upgrades pgjobs in that schema; a second run changes nothing.

    Returns the names of the applied migrations. ``down=N`` rolls the last N migrations back and
    returns their names; rolling back the first migration drops every job. Needs the database's own
    address: a pooler in transaction mode could give this session's settings and locks to others.
    """
    if not 1 <= len(schema.encode()) <= _MAX_SCHEMA_BYTES or "\0" in schema:
        raise InvalidArgument(
            f"a schema's name has 1 to {_MAX_SCHEMA_BYTES} bytes: choose another name by --schema"
        )
    if down < 0:
        raise InvalidArgument("down must be 0 or more: the number of migrations to roll back")
    address = resolve(dsn)
    with (
        _pgjobs_errors(),
        connect(address) as connection,
        _install_lock(connection, address, schema),
    ):
        _make_schema(connection, schema)
        # Until here every name is one of PostgreSQL's.
        _run(connection, [*_PREPARE_FILES, "install/check.sql"])
        _enter_schema(connection, schema)
        _run(connection, _STRANGERS_FILES, keep=False)
        with Ledger(address, schema, sql_folder() / "migrations") as ledger:
            if not down:
                if not _tables_exist(connection):
                    # The list may outlive the tables, in a restore of a few tables for example.
                    ledger.forget()
                applied = ledger.apply()
                _run(connection, _install_files())
                return applied
            if not ledger.applied() and _tables_exist(connection):
                # psql installed the tables and wrote no ledger. This writes only the ledger.
                ledger.apply()
            if down >= len(ledger.applied()):
                # The functions return rows of the tables, so drop the functions first.
                _run(connection, [*_PREPARE_FILES, "install/drop.sql"])
            return ledger.roll_back(down)


def script() -> str:
    """Returns the whole installation as one script for psql: sql/install.sql with its includes."""

    def included(match: re.Match[str]) -> str:
        return f"-- {match[1]}\n{_read(match[1]).strip()}\n"

    return _INCLUDE.sub(included, _read("install.sql"))


@cache
def sql_folder() -> Path:
    """Finds pgjobs/sql of an installed package, or sql of a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "sql", package.parent / "sql"):
        if (folder / "install.sql").exists():
            return folder
    raise PgjobsError(f"the SQL files are missing beside {package}: install pgjobs-queue again")


def _read(name: str) -> str:
    return (sql_folder() / name).read_text(encoding="utf-8")


def _install_files() -> list[str]:
    """Lists the files that sql/install.sql includes, without the migrations."""
    names = _INCLUDE.findall(_read("install.sql"))
    return [name for name in names if not name.startswith("migrations/")]


def _run(connection: psycopg.Connection, names: Sequence[str], *, keep: bool = True) -> None:
    """Runs the files in one transaction; ``keep`` false: for the errors that they raise."""
    with connection.transaction(force_rollback=not keep):
        # Without parameters, psycopg sends many statements at once and does not replace "%".
        connection.execute("\n".join(_read(name) for name in names).encode())


def _tables_exist(connection: psycopg.Connection) -> bool:
    """Whether all are there: a restore may have left some out."""
    tables = [
        "jobs", "jobs_queues", "jobs_workers", "jobs_worker_ticks", "jobs_schedules",
        "jobs_retention", "jobs_turns", "jobs_turns_from", "jobs_starts",
        "jobs_watched", "jobs_attempts", "jobs_audit", "jobs_flows", "jobs_flow_edges",
        "jobs_flow_changes", "jobs_ends", "jobs_history", "jobs_totals", "jobs_durations",
    ]
    query = "select bool_and(to_regclass(name) is not null) from unnest(%s::text[]) name"
    row = connection.execute(query, [tables]).fetchone()
    return row is not None and bool(row[0])


def _make_schema(connection: psycopg.Connection, schema: str) -> None:
    # `create schema if not exists` needs the right to create a schema even if it exists.
    if not connection.execute("select from pg_namespace where nspname = %s", [schema]).rowcount:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    # The files read it.
    connection.execute("select set_config('pgjobs.schema', %s, false)", [schema])


def _enter_schema(connection: psycopg.Connection, schema: str) -> None:
    # Functions keep this path: `set search_path from current`.
    connection.execute(sql.SQL("set search_path to {}, pg_temp").format(sql.Identifier(schema)))


def _refuse_shared_session(connection: psycopg.Connection, address: str) -> None:
    row = connection.execute("select pg_backend_pid()").fetchone()
    if row != (connection.info.backend_pid,) and shares_sessions(address):
        raise InvalidArgument(
            "this is the address of a pooler in transaction mode, through which nothing can be"
            " installed: give the database's own address by --dsn"
        )


@contextmanager
def _install_lock(connection: psycopg.Connection, address: str, schema: str) -> Iterator[None]:
    """Holds the session advisory lock that sql/install.sql takes too.

    Refuses a pooler that shares sessions, because no client could hold the lock there. Tries again
    and again instead of waiting in pg_advisory_lock(): a statement that waits keeps its snapshot,
    and so keeps vacuum from removing dead rows in the whole database.
    """
    _refuse_shared_session(connection, address)
    key = "hashtextextended('pgjobs.install.' || %s, 0)"
    deadline = time.monotonic() + _GIVE_UP_LOCK_AFTER_S
    while True:
        row = connection.execute(f"select pg_try_advisory_lock({key})", [schema]).fetchone()
        if row and row[0]:
            break
        if time.monotonic() > deadline:
            raise PgjobsError(
                f"another installation has locked the schema {schema} for"
                f" {_GIVE_UP_LOCK_AFTER_S:.0f} s: find it in pg_stat_activity, then try again"
            )
        time.sleep(_RETRY_LOCK_EVERY_S)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(f"select pg_advisory_unlock({key})", [schema])


@contextmanager
def _pgjobs_errors() -> Iterator[None]:
    """Raises an error with a SQLSTATE of pgjobs as the class of pgjobs.errors, as asyncpg does."""
    try:
        yield
    except psycopg.Error as error:
        for kind in PgjobsError.__subclasses__():
            if error.sqlstate is not None and error.sqlstate == getattr(kind, "sqlstate", None):
                found = kind(error.diag.message_primary)
                found.__dict__.update(
                    detail=error.diag.message_detail, hint=error.diag.message_hint
                )
                raise found from error
        raise
