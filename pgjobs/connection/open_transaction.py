"""Whether the transaction that a connection of the caller's is in now is still open later.

asyncpg and SQLAlchemy have an object per transaction. Of the others only this is known: whether the
connection is in a transaction, be it this one or a later one.
"""

from collections.abc import Callable
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

# libpq's numbers of a transaction that runs a statement, waits for the next one, or has failed.
_OPEN_STATUSES = (1, 2, 3)


def open_transaction(conn: Any) -> Callable[[], bool] | None:
    """Returns what tells whether ``conn`` is in the transaction that it is in now.

    None: ``conn`` is in none, or nobody can tell.
    """
    found = getattr(conn, "conn", conn)  # what a sync call has wrapped
    if hasattr(found, "registry"):  # a scoped_session is another one in another thread
        found = found()
    session = getattr(found, "sync_session", None) or getattr(found, "sync_connection", found)
    if hasattr(session, "get_transaction"):
        return _unchanged(session.get_transaction, session.get_transaction())
    if hasattr(found, "ensure_connection"):  # Django's
        found = found.connection
    if isinstance(found, PoolConnectionProxy):
        found = found._con  # type: ignore[attr-defined]
    if isinstance(found, asyncpg.Connection):
        return _unchanged(lambda: _of_asyncpg(found), _of_asyncpg(found))
    if hasattr(found, "info"):  # a connection of psycopg or psycopg2
        return lambda: found.info.transaction_status in _OPEN_STATUSES
    return None


def _of_asyncpg(conn: asyncpg.Connection) -> Any:
    return None if conn.is_closed() else getattr(conn, "_top_xact", None)


def _unchanged(now: Callable[[], Any], before: Any) -> Callable[[], bool] | None:
    return None if before is None else lambda: now() is before
