"""Installs and upgrades the schema: tables by yoyo, functions and views made anew every time."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql

from pgjobs.connection.connector import shares_sessions
from pgjobs.connection.dsn import resolve
from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.schema.ledger import Ledger

_INCLUDE = re.compile(r"^\\ir (\S+)$", re.MULTILINE)
# A channel has at most 63 bytes, and 58 is 63 less those of `.jobs`, the channel that people hear.
# _jobs_channel gives the longer topics of a long schema name a digest.
_MAX_SCHEMA_BYTES = 58
_PREPARED = ("install/session.sql", "install/signatures.sql")
_LOCK_TIMEOUT_S = 60.0
_LOCK_POLL_S = 0.1


def migrate(dsn: str | None = None, schema: str = "public", *, down: int = 0) -> list[str]:
    """Install or upgrade pgjobs in that schema; running it again changes nothing.

    Returns the names of the migrations that were applied or, with ``down=N``, of the last N, which
    were rolled back. Rolling back the first one drops every job. Needs the database's own address:
    what it sets and locks would be somebody else's behind a pooler in transaction mode.
    """
    if not 1 <= len(schema.encode()) <= _MAX_SCHEMA_BYTES or "\0" in schema:
        raise InvalidArgument(
            f"a schema's name has 1 to {_MAX_SCHEMA_BYTES} bytes: choose another by --schema"
        )
    if down < 0:
        raise InvalidArgument("down is how many migrations to roll back: 0 or more")
    address = resolve(dsn)
    with (
        _own_errors(),
        psycopg.connect(address, autocommit=True, prepare_threshold=None) as connection,
        _own_session(connection, address),
        _only_installer(connection, schema),
    ):
        _enter_schema(connection, schema)
        _run(connection, [*_PREPARED, "install/check.sql"])
        with Ledger(address, schema, sql_folder() / "migrations") as ledger:
            if not down:
                applied = ledger.apply()
                _run(connection, _parts())
                return applied
            if not ledger.applied() and _present(connection):
                ledger.apply()  # psql installed it, without a ledger: this only writes it down
            if down >= len(ledger.applied()):
                # The functions return rows of the tables, which therefore cannot be dropped first.
                _run(connection, [*_PREPARED, "install/drop.sql"])
            return ledger.roll_back(down)


def script() -> str:
    """The whole installation as one script for psql: sql/install.sql with its includes."""

    def included(match: re.Match[str]) -> str:
        return f"-- {match[1]}\n{_read(match[1]).strip()}\n"

    return _INCLUDE.sub(included, _read("install.sql"))


@cache
def sql_folder() -> Path:
    """pgjobs/sql of an installed package, or sql of a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "sql", package.parent / "sql"):
        if (folder / "install.sql").exists():
            return folder
    raise PgjobsError(f"the SQL files are missing beside {package}: install pgjobs-queue again")


def _read(name: str) -> str:
    return (sql_folder() / name).read_text(encoding="utf-8")


def _parts() -> list[str]:
    """What sql/install.sql includes, apart from the migrations: one list for psql and for us."""
    names = _INCLUDE.findall(_read("install.sql"))
    return [name for name in names if not name.startswith("migrations/")]


def _run(connection: psycopg.Connection, names: list[str]) -> None:
    with connection.transaction():
        # Without parameters a string may hold many statements, and "%" means nothing.
        connection.execute("\n".join(_read(name) for name in names).encode())


def _present(connection: psycopg.Connection) -> bool:
    row = connection.execute("select to_regclass('jobs') is not null").fetchone()
    return row is not None and bool(row[0])


def _enter_schema(connection: psycopg.Connection, schema: str) -> None:
    # Asked first: `create schema if not exists` needs the right to create one in any case.
    if not connection.execute("select from pg_namespace where nspname = %s", [schema]).rowcount:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    # Functions keep this path: `set search_path from current`.
    connection.execute(
        sql.SQL("set search_path to {}, pg_temp").format(sql.Identifier(schema))
    )


@contextmanager
def _own_session(connection: psycopg.Connection, address: str) -> Iterator[None]:
    row = connection.execute("select pg_backend_pid()").fetchone()
    if row != (connection.info.backend_pid,) and shares_sessions(address):
        raise InvalidArgument(
            "this is the address of a pooler in transaction mode, through which nothing can be"
            " installed: give the database's own address by --dsn"
        )
    yield


@contextmanager
def _only_installer(connection: psycopg.Connection, schema: str) -> Iterator[None]:
    """The advisory lock that sql/install.sql takes too, held by the session.

    By try: a statement that waits in pg_advisory_lock() keeps its snapshot, and thereby keeps
    vacuum from removing anything in the whole database.
    """
    key = "hashtextextended('pgjobs.install.' || %s, 0)"
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        row = connection.execute(f"select pg_try_advisory_lock({key})", [schema]).fetchone()
        if row and row[0]:
            break
        if time.monotonic() > deadline:
            raise PgjobsError(
                f"another installation has held the schema {schema} for {_LOCK_TIMEOUT_S:.0f} s:"
                " look for it in pg_stat_activity, then try again"
            )
        time.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(f"select pg_advisory_unlock({key})", [schema])


@contextmanager
def _own_errors() -> Iterator[None]:
    """SQLSTATEs of ours, which psycopg does not know, as the classes that asyncpg would raise."""
    try:
        yield
    except psycopg.Error as error:
        for kind in PgjobsError.__subclasses__():
            if error.sqlstate is not None and error.sqlstate == getattr(kind, "sqlstate", None):
                ours = kind(error.diag.message_primary)
                ours.__dict__.update(
                    detail=error.diag.message_detail, hint=error.diag.message_hint
                )
                raise ours from error
        raise
