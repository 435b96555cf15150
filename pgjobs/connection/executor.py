"""``conn=``: any asynchronous connection of the caller's, as an executor in its transaction."""

import sys
from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import asyncpg

from pgjobs.connection.drivers import as_rows, by_place, in_style, translated
from pgjobs.errors import InvalidArgument
from pgjobs.job.job import Row


class Executor(Protocol):
    """An asyncpg connection or pool, or an object with the same ``fetch``."""

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Any]: ...


if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

    Conn: TypeAlias = (
        asyncpg.Connection
        | asyncpg.Pool
        | asyncpg.pool.PoolConnectionProxy
        | AsyncConnection
        | AsyncSession
        | psycopg.AsyncConnection[Any]
        | Executor
    )


EXECUTE = "exec_driver_sql"  # what SQLAlchemy's connections have; a session has such a connection


def executor(conn: "Conn") -> Executor:
    """Returns an executor that acts in ``conn``'s transaction and never commits it."""
    if hasattr(conn, "fetch"):  # an asyncpg connection, pool or pool's proxy
        return cast(Executor, conn)
    kind = type(conn)
    # Whoever has a connection of psycopg has imported psycopg.
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(conn, psycopg.AsyncConnection):
        return _Psycopg(conn)
    if iscoroutinefunction(getattr(kind, EXECUTE, None) or getattr(kind, "connection", None)):
        return _SqlAlchemy(conn)
    raise InvalidArgument(
        "conn must be an asyncpg connection or pool, a psycopg AsyncConnection, or an SQLAlchemy"
        " AsyncConnection or AsyncSession (a synchronous one is for the same call of .sync), not"
        f" {kind.__module__}.{kind.__qualname__}"
    )


class _Psycopg:
    """Sends statements through psycopg, which then begins its transaction as usual."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        from psycopg import DataError, Error
        from psycopg.rows import tuple_row

        try:
            async with self._conn.cursor(row_factory=tuple_row) as cursor:
                await cursor.execute(*by_place(query, args), binary=True)
                return as_rows(query, cursor.description, await cursor.fetchall())
        except DataError as error:
            # psycopg refuses some values by itself, without an SQLSTATE.
            raise InvalidArgument(str(error)) from error
        except Error as error:
            raise_translated(error)
            raise


class _SqlAlchemy:
    """Sends statements through SQLAlchemy, which then begins its transaction as usual."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        from sqlalchemy.exc import DataError, DBAPIError

        conn = self._conn
        if not hasattr(type(conn), EXECUTE):  # a session
            conn = await conn.connection()
        try:
            result = await conn.exec_driver_sql(*in_style(conn.dialect.paramstyle, query, args))
        except DataError as error:
            raise InvalidArgument(str(error.orig)) from error
        except DBAPIError as error:
            raise_translated(error)
            raise
        return result.mappings().all()  # type: ignore[no-any-return]


def commits_each_statement(executor: Executor) -> bool:
    """Whether each statement is a transaction of its own, as it is without ``conn``."""
    return isinstance(executor, asyncpg.Pool) or hasattr(executor, "each_statement_commits")


def raise_translated(error: BaseException) -> None:
    """Raises the error of pgjobs that the driver's error stands for, if it stands for one."""
    own = translated(error)
    if own is not error:
        raise own from error
