"""Whether the transaction that a connection of the caller's is in now is still open later."""

from collections.abc import Callable
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy


def open_transaction(conn: Any) -> Callable[[], bool] | None:
    """Returns what tells whether the transaction that ``conn`` is in now is open.

    None: there is none, or it cannot be known. It is known of asyncpg's connections, also within
    SQLAlchemy, but not of a transaction that an SQL statement has begun.
    """
    found = _driver_connection(conn)
    transaction = getattr(found, "_top_xact", None)
    if transaction is None:
        return None
    return lambda: getattr(found, "_top_xact", None) is transaction and not found.is_closed()


def _driver_connection(conn: Any) -> Any:
    if isinstance(conn, asyncpg.Pool):
        return None
    if isinstance(conn, PoolConnectionProxy):
        return conn._con  # type: ignore[attr-defined]
    if isinstance(conn, asyncpg.Connection):
        return conn
    # An AsyncSession that has sent a statement has a connection, and knows it without waiting.
    session = getattr(conn, "sync_session", None)
    connection = getattr(conn, "sync_connection", None)
    if session is not None and session.in_transaction():
        connection = session.connection()
    return None if connection is None else connection.connection.driver_connection
