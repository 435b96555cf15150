"""The ledger of applied migrations: yoyo, made to live in a schema beside an application's own."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import psycopg
from psycopg import sql
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration, MigrationList, MigrationStep, TransactionWrapper

Connection = psycopg.Connection[Any]

# Other sessions queue up behind a migration that waits for a table's lock. So a migration waits for
# a moment only, and tries again until the transactions in its way have ended.
_LOCK_TIMEOUT = "50ms"
_RETRY_LOCK_EVERY_S = 0.2
_GIVE_UP_LOCK_AFTER_S = 30.0


class Ledger:
    """Which migrations of that folder are applied in that schema.

    Used by one process at a time: `pgjobs.migrate` holds an advisory lock meanwhile.
    """

    def __init__(self, address: str, schema: str, folder: Path) -> None:
        self._migrations = _read(folder)
        self._backend = _Backend(address, schema)
        self._backend.execute(self._backend.format_sql(_Backend.create_lock_table_sql))
        # yoyo locks by a row, which outlives a process that was killed. The advisory lock is ours,
        # so whoever wrote the row is gone.
        self._backend.break_lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._backend.connection.close()

    def applied(self) -> list[str]:
        return [m.id for m in self._backend.to_rollback(self._migrations)]

    def apply(self) -> list[str]:
        # yoyo's post-apply hooks would only run when something is pending, so there are none here.
        pending = [m.id for m in self._backend.to_apply(self._migrations)]
        _retry_while_locked(
            lambda: self._backend.apply_migrations_only(self._backend.to_apply(self._migrations))
        )
        return pending

    def roll_back(self, count: int) -> list[str]:
        kept = len(applied := self.applied()) - count
        _retry_while_locked(lambda: self._roll_back_to(max(kept, 0)))
        return applied[:count]

    def _roll_back_to(self, kept: int) -> None:
        applied = self._backend.to_rollback(self._migrations)
        self._backend.rollback_migrations(applied[: len(applied) - kept])


class _Backend(PostgresqlPsycopgBackend):
    """yoyo's tables under names of ours; connected by a DSN that yoyo need not understand."""

    log_table = "pgjobs_migrations_log"
    lock_table = "pgjobs_migrations_lock"
    version_table = "pgjobs_migrations_version"
    # yoyo tries and ignores the failure, which leaves an error in the server's log every time.
    create_lock_table_sql = PostgresqlPsycopgBackend.create_lock_table_sql.replace(
        "CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1
    )

    def __init__(self, address: str, schema: str) -> None:
        self.schema = schema  # first: the base class connects
        super().__init__(address, "pgjobs_migrations")

    def connect(self, dburi: str) -> Connection:
        return psycopg.connect(dburi, autocommit=True)

    def init_connection(self, connection: Connection) -> None:
        path = sql.SQL("set search_path to {}, pg_temp").format(sql.Identifier(self.schema))
        connection.execute(path)
        connection.execute(f"set lock_timeout = '{_LOCK_TIMEOUT}'".encode())
        connection.execute("set client_min_messages = warning")

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
        # yoyo asks the system for the user's name, which a container need not know, and the
        # network for the host's, which can take long.
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
    """A file that is sent as it stands, in one transaction.

    yoyo would split it at its semicolons, and print what it returns.
    """

    def __init__(self, path: Path, previous: "_FileMigration | None") -> None:
        super().__init__(path.stem, str(path), str(path.parent))
        self._depends = {previous} if previous else set()
        rollback = path.with_suffix(".rollback.sql")
        self.steps = [TransactionWrapper(MigrationStep(0, _sender(path), _sender(rollback)))]


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


def _sender(path: Path) -> Callable[[Connection], None]:
    def send(connection: Connection) -> None:
        connection.execute(path.read_bytes())

    return send


def _read(folder: Path) -> MigrationList:
    """In the order of their names."""
    migrations: list[_FileMigration] = []
    for path in sorted(folder.glob("*.sql")):
        if not path.name.endswith(".rollback.sql"):
            migrations.append(_FileMigration(path, migrations[-1] if migrations else None))
    return MigrationList(migrations)
