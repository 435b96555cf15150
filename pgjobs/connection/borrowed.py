"""Connections that are borrowed from a pool; giving them back never delays or fails the borrower.

asyncpg's pool resets a connection when the connection comes back, and its ``async with`` waits for
that without limit. On a line that swallows every byte not even a cancelled caller would get away.
And an error of the reset would look like an error of a statement that was committed before.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from asyncpg.transaction import Transaction

from pgjobs.connection.connector import Direct
from pgjobs.connection.link import BROKEN
from pgjobs.connection.patience import lost
from pgjobs.job.job import Row

log = logging.getLogger("pgjobs.pool")

# A connection that cannot be reset within this time is closed without telling the server.
RESET_TIMEOUT_S = 5.0
# So long a borrower whose statement has its answer waits for the reset. Without any wait, the next
# of many calls in a row would find the connection still in use, and open another one.
WAIT_FOR_RESET_S = 1.0
# So long a borrower waits for a connection before the log says that all are in use; and so long
# before the log says it again.
WARN_OF_EXHAUSTION_AFTER_S = 5.0
WARN_AGAIN_AFTER_S = 60.0

_resets: set["asyncio.Task[None]"] = set()  # the event loop itself holds tasks only weakly


async def close(pool: asyncpg.Pool) -> None:
    """Waits for the borrowers and closes; a server that does not answer has ``RESET_TIMEOUT_S``."""
    closing = asyncio.create_task(pool.close(), name="pgjobs close")
    try:
        while not (await asyncio.wait([closing], timeout=RESET_TIMEOUT_S))[0]:
            if pool.get_idle_size() == pool.get_size():  # the server is waited for, no borrower
                break
    finally:
        closing.cancel()  # the pool then closes its connections without telling the server
        await asyncio.wait([closing])
    if not closing.cancelled():
        closing.result()


@asynccontextmanager
async def borrowed(
    pool: asyncpg.Pool, *, leaves_state: bool = True
) -> AsyncIterator[PoolConnectionProxy]:
    """A connection of the app's pool; no error of giving it back reaches the block.

    ``leaves_state``: False spares the reset, where the block sends one statement that leaves no
    setting, lock or cursor in the session.
    """
    connection = await _acquired(pool)
    try:
        yield connection
    except asyncio.CancelledError:
        # Not awaited: the caller may have been cancelled because the line is dead.
        _give_back(pool, connection)
        raise
    except BaseException:
        await asyncio.wait([_give_back(pool, connection)], timeout=WAIT_FOR_RESET_S)
        raise
    if leaves_state:
        await asyncio.wait([_give_back(pool, connection)], timeout=WAIT_FOR_RESET_S)
    else:
        cast(Direct, connection).keeps_no_state()
        await _reset(pool, connection)


async def _acquired(pool: asyncpg.Pool) -> PoolConnectionProxy:
    loop = asyncio.get_running_loop()
    warning = loop.call_later(WARN_OF_EXHAUSTION_AFTER_S, _exhaustion.look, pool)
    try:
        return await pool.acquire()
    finally:
        warning.cancel()


class _Exhaustion:
    """Says in the log that a pool is exhausted: once for all who wait at that time."""

    def __init__(self) -> None:
        self._said_at = -math.inf

    def look(self, pool: asyncpg.Pool) -> None:
        now = time.monotonic()
        is_exhausted = pool.get_size() >= pool.get_max_size() and not pool.get_idle_size()
        if is_exhausted and now - self._said_at > WARN_AGAIN_AFTER_S:
            self._said_at = now
            log.warning(
                "all %d connections of the pool have been in use for %.0f s, and more are wanted:"
                " end transactions sooner, run fewer jobs at once, or raise App(pool_size=...)",
                pool.get_max_size(), WARN_OF_EXHAUSTION_AFTER_S,
            )


_exhaustion = _Exhaustion()


def _cut(connection: PoolConnectionProxy) -> None:
    """Closes the connection without telling the server, unless it has ended by itself."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


def _give_back(pool: asyncpg.Pool, connection: PoolConnectionProxy) -> "asyncio.Task[None]":
    reset = asyncio.create_task(_reset(pool, connection), name="pgjobs reset")
    _resets.add(reset)
    reset.add_done_callback(_resets.discard)
    return reset


async def _reset(pool: asyncpg.Pool, connection: PoolConnectionProxy) -> None:
    # If the statement was cancelled, this also waits until the server has stopped it.
    try:
        await pool.release(connection, timeout=RESET_TIMEOUT_S)
    except (*BROKEN, asyncpg.PostgresError) as error:
        # asyncpg has closed the connection; the pool makes another one.
        log.debug("a connection could not be reset, and was closed: %r", error)


async def roll_back(connection: PoolConnectionProxy, transaction: Transaction) -> None:
    """Rolls back; a connection that does not answer is closed, so that the server rolls back."""
    try:
        async with asyncio.timeout(RESET_TIMEOUT_S):
            await transaction.rollback()
    except BaseException as error:
        _cut(connection)
        if not isinstance(error, (*BROKEN, asyncpg.PostgresError)):
            raise
        log.debug("a transaction could not be rolled back, and was cut: %r", error)


class Borrower:
    """The statements of one call, on connections of a pool; an ``Executor``.

    ``dsn``: where the pool connects to. ``give_up_at``: by the event loop's clock, for all
    statements together. ``adds``: whether the
    statements add jobs, so that a job may exist if the answer is lost.
    """

    each_statement_commits = True  # so Statements may send a failed one again

    def __init__(
        self, pool: asyncpg.Pool, dsn: str, *, give_up_at: float, adds: bool = True
    ) -> None:
        self._pool = pool
        self._dsn = dsn
        self._give_up_at = give_up_at
        self._adds = adds

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        """Runs one statement. Raises ``ConnectionLost`` if it breaks or takes too long."""
        is_sent = False
        rows: Sequence[Row] | None = None
        try:
            async with (
                asyncio.timeout_at(self._give_up_at),
                borrowed(self._pool, leaves_state=False) as connection,
            ):
                is_sent = self._adds
                try:
                    rows = await connection.fetch(query, *args)
                except BROKEN:
                    _cut(connection)  # it may be open, to a server that is read-only by now
                    raise
        except BROKEN as error:
            # With the answer here, the time was over while the connection was given back.
            if rows is None:
                unreached = None if self._pool.get_size() else self._dsn
                raise lost(error, is_sent=is_sent, unreached=unreached) from error
        assert rows is not None
        return rows
