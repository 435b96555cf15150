"""Applies migrations by yoyo, and keeps their ledger apart from an application's yoyo tables."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import psycopg
from psycopg import sql
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration, MigrationList, MigrationStep, TransactionWrapper

from pgjobs.schema.session import connect

Connection = psycopg.Connection[Any]

# Other sessions queue up behind a migration that waits for a table's lock. So a migration gives up
# its place soon, and tries again until the transactions that block it have ended.
_LOCK_TIMEOUT_MS = 50
_RETRY_LOCK_EVERY_S = 0.2
_GIVE_UP_LOCK_AFTER_S = 30.0

# yoyo would make its tables step by step, and tell by their rows how far it has come. A restore of
# the schema alone brings tables without rows. So all are made here, and yoyo changes none.
_TABLES = b"""
    create table if not exists pgjobs_migrations (
        migration_hash varchar(64) primary key,
        migration_id varchar(255),
        applied_at_utc timestamp
    );
    create table if not exists pgjobs_migrations_log (
        id varchar(36) primary key,
        migration_hash varchar(64),
        migration_id varchar(255),
        operation varchar(10),
        username varchar(255),
        hostname varchar(255),
        comment varchar(255),
        created_at_utc timestamp
    );
    create table if not exists pgjobs_migrations_lock (
        locked int primary key default 1,
        ctime timestamp,
        pid int not null
    );
    create table if not exists pgjobs_migrations_version (
        version int primary key,
        installed_at_utc timestamp
    );
    insert into pgjobs_migrations_version
    select 2, clock_timestamp() at time zone 'UTC'
    where not exists (select from pgjobs_migrations_version)
"""


class Ledger:
    """Applies the migrations of a folder to a schema and rolls them back.

    One process at a time may use it: `pgjobs.migrate` holds an advisory lock meanwhile.
    """

    def __init__(self, address: str, schema: str, folder: Path) -> None:
        self._migrations = _read_migrations(folder)
        self._backend = _Backend(address, schema)
        self._backend.connection.execute(_TABLES)
        # yoyo's own lock is a row, which stays when its process is killed. This process holds the
        # advisory lock, so the process that wrote the row has ended.
        self._backend.break_lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._backend.connection.close()

    def applied(self) -> list[str]:
        """Returns the ids of the applied migrations, the last one first."""
        return [m.id for m in self._backend.to_rollback(self._migrations)]

    def forget(self) -> None:
        """Empties the list of the applied migrations, for tables that are gone."""
        self._backend.connection.execute("delete from pgjobs_migrations")

    def apply(self) -> list[str]:
        # Do not add post-apply hooks: yoyo runs them only if a migration is pending.
        pending = [m.id for m in self._backend.to_apply(self._migrations)]
        _retry_while_locked(
            lambda: self._backend.apply_migrations_only(self._backend.to_apply(self._migrations))
        )
        return pending

    def roll_back(self, count: int) -> list[str]:
        applied = self.applied()
        kept = max(len(applied) - count, 0)
        _retry_while_locked(lambda: self._roll_back_to(kept))
        return applied[:count]

    def _roll_back_to(self, kept: int) -> None:
        applied = self._backend.to_rollback(self._migrations)
        self._backend.rollback_migrations(applied[: len(applied) - kept])


class _Backend(PostgresqlPsycopgBackend):
    """Gives yoyo's tables other names, and connects by DSNs that yoyo cannot parse."""

    log_table = "pgjobs_migrations_log"
    lock_table = "pgjobs_migrations_lock"
    version_table = "pgjobs_migrations_version"

    def __init__(self, address: str, schema: str) -> None:
        self.schema = schema  # before the base class connects
        super().__init__(address, "pgjobs_migrations")

    def connect(self, dburi: str) -> Connection:
        return connect(dburi)

    def init_connection(self, connection: Connection) -> None:
        path = sql.SQL("set search_path to {}, pg_temp").format(sql.Identifier(self.schema))
        connection.execute(path)
        connection.execute(f"set lock_timeout = {_LOCK_TIMEOUT_MS}".encode())
        connection.execute("set client_min_messages = warning")

    def ensure_internal_schema_updated(self) -> None:
        """Changes nothing: the ledger has made the tables."""

    def copy(self) -> "_Backend":
        return _Backend(self.uri, self.schema)

    def list_tables(self, **_: Any) -> list[str]:
        found = self.connection.execute(
            "select tablename from pg_tables where schemaname = %s", [self.schema]
        )
        return [name for (name,) in found]

    def get_log_data(
        self, migration: Migration | None = None, operation: str = "apply"
    ) -> dict[str, Any]:
        # yoyo's own version reads the user's name from the system, which a container may not have,
        # and the host's name from the network, which can be slow.
        return {
            "id": str(uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": self.connection.info.user,
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


class _FileMigration(Migration):
    """Sends a file unchanged, in one transaction.

    yoyo would split the file at its semicolons, and print the returned rows.
    """

    def __init__(self, path: Path, previous: "_FileMigration | None") -> None:
        super().__init__(path.stem, str(path), str(path.parent))
        self._depends = {previous} if previous else set()
        rollback = path.with_suffix(".rollback.sql")
        self.steps = [TransactionWrapper(MigrationStep(0, _executes(path), _executes(rollback)))]


def _retry_while_locked(action: Callable[[], None]) -> None:
    deadline = time.monotonic() + _GIVE_UP_LOCK_AFTER_S
    while True:
        try:
            action()
            return
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_LOCK_EVERY_S)


def _executes(path: Path) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(path.read_bytes())


def _read_migrations(folder: Path) -> MigrationList:
    """Reads the migrations of a folder, in the order of their names."""
    migrations: list[_FileMigration] = []
    for path in sorted(folder.glob("*.sql")):
        if not path.name.endswith(".rollback.sql"):
            migrations.append(_FileMigration(path, migrations[-1] if migrations else None))
    return MigrationList(migrations)
