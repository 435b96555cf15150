"""The sync calls: they are the async calls, on connections that answer at once.

A coroutine whose executor never waits for the event loop runs to its end in one step. So a sync
call needs no event loop, and has the options, checks and statements of the async call.
"""

import sys
import warnings
from collections.abc import Coroutine, Sequence
from datetime import datetime
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from pgjobs.connection.drivers import as_rows, by_place, in_style
from pgjobs.connection.executor import EXECUTE, Executor, raise_translated
from pgjobs.errors import InvalidArgument
from pgjobs.job.job import Row

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session, scoped_session

T = TypeVar("T")


class DjangoConnection(Protocol):
    """What ``django.db.connection`` has, which Django's own types do not name."""

    def ensure_connection(self) -> Any: ...

    @property
    def in_atomic_block(self) -> bool: ...


if TYPE_CHECKING:
    SyncConn: TypeAlias = (
        psycopg.Connection[Any] | Connection | Session | scoped_session[Any] | DjangoConnection
    )


def warn_in_atomic_block() -> None:
    """Warns of a call without ``conn`` within Django's ``transaction.atomic()``."""
    django = sys.modules.get("django.db")
    if django is None:
        return
    if any(conn.in_atomic_block for conn in django.connections.all(initialized_only=True)):
        warnings.warn(
            "this .sync call without conn commits at once, whatever becomes of the block of"
            " transaction.atomic() around it: pass conn=django.db.connection, so that the two"
            " commit together; or make the call after the block",
            stacklevel=_frames_to_caller(),
        )


def _frames_to_caller() -> int:
    """How many frames are pgjobs' own, for a warning that names the line of the caller."""
    level, frame = 2, sys._getframe(2)
    while frame.f_back is not None and f"{frame.f_globals['__name__']}.".startswith("pgjobs."):
        level, frame = level + 1, frame.f_back
    return level


def finished(call: Coroutine[Any, Any, T]) -> T:
    """Runs a call whose executor never waits for an event loop; returns what it returns."""
    try:
        call.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    call.close()
    raise RuntimeError("a sync call has waited for an event loop: this is an error of pgjobs")


def blocking(conn: "SyncConn") -> Executor:
    """Returns an executor that acts in ``conn``'s transaction and never commits it."""
    kind = type(conn)
    # Whoever has a connection of psycopg has imported psycopg.
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(conn, psycopg.Connection):
        return _Psycopg(conn)
    connect = getattr(kind, EXECUTE, None) or getattr(kind, "connection", None)
    if callable(connect) and not iscoroutinefunction(connect):
        return _SqlAlchemy(conn)
    if hasattr(conn, "ensure_connection") and hasattr(conn, "in_atomic_block"):
        return _Django(conn)
    raise InvalidArgument(
        "conn of a .sync call must be a psycopg Connection, an SQLAlchemy Session or Connection,"
        " or Django's connection (an asynchronous one is for the same call without .sync), not"
        f" {kind.__module__}.{kind.__qualname__}"
    )


class _Psycopg:
    """Sends statements through psycopg, which then begins its transaction as usual."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        from psycopg import DataError, Error
        from psycopg.rows import tuple_row

        try:
            with self.conn.cursor(row_factory=tuple_row) as cursor:
                # Binary, since a session may have any format of moments and intervals as text.
                cursor.execute(*by_place(query, args), binary=True)
                return as_rows(query, cursor.description, cursor.fetchall())
        except DataError as error:
            # psycopg refuses some values by itself, without an SQLSTATE.
            raise InvalidArgument(str(error)) from error
        except Error as error:
            raise_translated(error)
            raise


class _SqlAlchemy:
    """Sends statements through SQLAlchemy, which then begins its transaction as usual."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        from sqlalchemy.exc import DataError, DBAPIError

        conn = self.conn
        if not hasattr(type(conn), EXECUTE):  # a session
            conn = conn.connection()
        try:
            result = conn.exec_driver_sql(*in_style(conn.dialect.paramstyle, query, args))
        except DataError as error:
            raise InvalidArgument(str(error.orig)) from error
        except DBAPIError as error:
            raise_translated(error)
            raise
        except ValueError as error:  # psycopg2 refuses a NUL character by itself
            raise InvalidArgument(str(error)) from error
        return result.mappings().all()  # type: ignore[no-any-return]


class _Django:
    """Sends statements through Django, in the block of ``transaction.atomic()`` if there is one."""

    def __init__(self, conn: Any) -> None:
        if conn.vendor != "postgresql":
            raise InvalidArgument(
                f"conn must be a connection to PostgreSQL, and this one is to {conn.vendor}: pass"
                " django.db.connections['NAME'] of the database that has the jobs"
            )
        self.conn = conn

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        from django.db import DataError, Error

        try:
            with self.conn.cursor() as cursor:
                cursor.execute(*by_place(query, args))
                described, rows = cursor.description, cursor.fetchall()
        except (DataError, ValueError) as error:
            raise InvalidArgument(str(error)) from error
        except Error as error:
            raise_translated(error)
            raise
        zone = None if self.conn.timezone else ZoneInfo(self.conn.timezone_name)
        return as_rows(query, described, (_with_zone(row, zone) for row in rows))


def _with_zone(row: Sequence[Any], zone: ZoneInfo | None) -> Sequence[Any]:
    """The row, whose moments have no zone where Django's USE_TZ is off."""
    if zone is None:
        return row
    return [
        value.replace(tzinfo=zone) if isinstance(value, datetime) and value.tzinfo is None
        else value
        for value in row
    ]
