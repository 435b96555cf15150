"""``conn=``: any connection of the caller's, as an executor in the caller's transaction."""

import re
from collections.abc import Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import asyncpg
from asyncpg.exceptions import PostgresError

from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.job.job import Row

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

    Conn: TypeAlias = (
        asyncpg.Connection
        | asyncpg.Pool
        | asyncpg.pool.PoolConnectionProxy
        | AsyncConnection
        | AsyncSession
    )


# What a statement of pgjobs raises where pgjobs is not installed, or in another version.
NOT_INSTALLED = (
    asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError,
    asyncpg.InvalidSchemaNameError,
)


class Executor(Protocol):
    """An asyncpg connection or pool, or an object with the same ``fetch``."""

    async def fetch(self, query: str, /, *args: Any) -> Sequence[Any]: ...


_EXECUTE = "exec_driver_sql"  # what AsyncConnection has; an AsyncSession has such a connection


def executor(conn: "Conn") -> Executor:
    """Returns an executor that acts in ``conn``'s transaction and never commits it."""
    if hasattr(conn, "fetch"):  # an asyncpg connection, pool or pool's proxy
        return cast(Executor, conn)
    kind = type(conn)
    if iscoroutinefunction(getattr(kind, _EXECUTE, None) or getattr(kind, "connection", None)):
        return _SqlAlchemy(conn)
    raise InvalidArgument(
        "conn must be an asyncpg connection or pool, or an SQLAlchemy AsyncConnection or "
        f"AsyncSession, not {kind.__module__}.{kind.__qualname__}"
    )


class _SqlAlchemy:
    """Sends statements through SQLAlchemy, which then begins its transaction as usual."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        from sqlalchemy.exc import DataError, DBAPIError

        conn = self._conn
        if not hasattr(type(conn), _EXECUTE):  # a session
            conn = await conn.connection()
        parameters: Any = args
        if conn.dialect.paramstyle != "numeric_dollar":  # asyncpg's own style; psycopg's is %(x)s
            query = re.sub(r"\$(\d+)", r"%(p\1)s", query.replace("%", "%%"))
            parameters = {f"p{place}": value for place, value in enumerate(args, 1)}
        try:
            result = await conn.exec_driver_sql(query, parameters)
        except DataError as error:
            # psycopg refuses some values by itself, without an SQLSTATE.
            raise InvalidArgument(str(error.orig)) from error
        except DBAPIError as error:
            raise unwrapped(error) from error
        return result.mappings().all()  # type: ignore[no-any-return]


def unwrapped(error: Any) -> BaseException:
    """Returns the error that asyncpg would have raised, unwrapped from SQLAlchemy's."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PgjobsError):
            return seen
        state = getattr(seen, "sqlstate", None)
        if isinstance(state, str):
            own = PostgresError.new({"C": state, "M": _message(seen), "S": "ERROR"})
            if isinstance(own, (PgjobsError, *NOT_INSTALLED)):
                return own
            if isinstance(own, asyncpg.DataError):
                return InvalidArgument(str(own))
        seen = getattr(seen, "orig", None) or seen.__cause__
    return error if isinstance(error, BaseException) else RuntimeError(str(error))


def _message(error: BaseException) -> str:
    diagnostics = getattr(error, "diag", None)
    primary = getattr(diagnostics, "message_primary", None)
    return str(primary or error)
