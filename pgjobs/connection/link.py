"""One connection that is made again when it breaks."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import asyncpg

from pgjobs.connection.alarm import Alarm
from pgjobs.connection.connector import Connector
from pgjobs.job.job import Row

# The connection is gone: try again on a new one. Any other error is the statement's own.
BROKEN = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg may raise it when the server disconnects
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # after a failover: connect to the new primary
)

# After this time a server that never answers counts as lost; the kernel would need 15 minutes.
STATEMENT_TIMEOUT_S = 10.0
# A large result on a slow line must not look like a lost server: the worker would send it for
# ever. So a statement has more time for its arguments, at this rate.
SLOWEST_CHARACTERS_PER_S = 262_144
# Each timeout of a statement doubles that extra time, up to this factor.
MAX_SLOW_LINE_FACTOR = 16
# A statement that was given up must not stay at the server, where it would keep its locks. So the
# server ends a statement a little earlier than this side gives it up.
SERVER_TIMEOUT_FACTOR = 0.8
MAX_PAUSE_S = 0.4  # between two tries to connect


class Link:
    """One connection, one statement at a time; an ``Executor`` that connects when it is used.

    A pool would reset the session after each use. That costs a third of a small statement, and
    would reset the very settings (``synchronous_commit``) that this connection is made for.
    """

    each_statement_commits = True  # so Statements may send a failed one again

    def __init__(
        self,
        dsn: str,
        *,
        name: str,
        settings: dict[str, str] | None = None,
        timeout_s: float = STATEMENT_TIMEOUT_S,
        private: bool = False,
    ) -> None:
        self._settings = settings
        self._dsn = dsn
        self._connector = Connector(dsn, name=name, settings=settings, private=private)
        self.timeout_s = timeout_s
        self._first_timeout_s = timeout_s
        self.last_backend: int | None = None
        self._slow_line_factor = 1
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._alarm = Alarm(self._expire)
        self._deadline = math.inf
        self._expired = False

    @property
    def unreached(self) -> str | None:
        """The address, while there is no connection to it."""
        is_connected = self._connection is not None and not self._connection.is_closed()
        return None if is_connected else self._dsn

    async def connect(self) -> asyncpg.Connection:
        """Returns the connection; makes it if there is none."""
        async with self._lock:
            return await self._connected()

    async def _connected(self) -> asyncpg.Connection:
        # Under the lock: of two connections made at once, one would never be closed.
        if self._connection is None or self._connection.is_closed():
            if self._settings is not None and "statement_timeout" not in self._settings:
                timeout_ms = round(1_000 * self.statement_timeout_s)
                self._connector.settings["statement_timeout"] = f"{timeout_ms}ms"
            async with asyncio.timeout(self.timeout_s):
                self._connection = await self._connector()
            # A pooler gives its client an invented pid.
            is_pooled = self._connector.is_pooled
            self.last_backend = None if is_pooled else self._connection.get_server_pid()
        return self._connection

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        """Runs one statement; a connection that breaks or hangs in it is thrown away."""
        async with self._lock:
            try:
                connection = await self._connected()
                sending_s = self._slow_line_factor * _characters(args) / SLOWEST_CHARACTERS_PER_S
                now = asyncio.get_running_loop().time()
                self._deadline = now + self.timeout_s + sending_s
                self._alarm.set(self._deadline)
                rows: Sequence[Row] = await connection.fetch(query, *args)
                self._slow_line_factor = 1
                return rows
            except BROKEN as error:
                self.drop()
                if self._expired:
                    self._slow_line_factor = min(2 * self._slow_line_factor, MAX_SLOW_LINE_FACTOR)
                    raise TimeoutError("the server did not answer in time") from error
                raise
            except Exception as error:
                # asyncpg raises anything, an AttributeError for example, if `drop` has just closed
                # the connection.
                if isinstance(error, asyncpg.PostgresError) or self._connection is not None:
                    raise
                raise TimeoutError("the connection was dropped") from error
            except asyncio.CancelledError:
                # The statement may be half sent, so the connection is in an unknown state.
                self.drop()
                raise
            finally:
                self._deadline = math.inf
                self._expired = False

    def _expire(self, now: float) -> float:
        if self._deadline > now:
            return self._deadline
        self._expired = True
        self.drop()  # ends the statement that waits for an answer
        return math.inf

    @property
    def statement_timeout_s(self) -> float:
        """After this time the server ends a statement, if the settings do not name another."""
        return SERVER_TIMEOUT_FACTOR * self.timeout_s

    def be_more_patient(self) -> None:
        """Gives statements twice the time, at the server too: on a new connection."""
        longest_s = MAX_SLOW_LINE_FACTOR * self._first_timeout_s
        self.timeout_s = min(2 * self.timeout_s, longest_s)
        self.drop()

    def answered_within(self, seconds: float) -> None:
        """Takes the extra time back once the line is quick again."""
        if self.timeout_s > self._first_timeout_s and seconds < self._first_timeout_s / 2:
            self.timeout_s = self._first_timeout_s
            self.drop()

    def drop(self) -> None:
        """Closes the connection without telling the server."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Closes the connection; gives up after a second."""
        connection, self._connection = self._connection, None
        self._alarm.stop()
        if connection is not None:
            try:
                await connection.close(timeout=1.0)
            except BROKEN:
                connection.terminate()


def _characters(args: Sequence[Any]) -> int:
    """How many characters a statement sends in texts and lists of texts; the rest is small."""
    count = 0
    for arg in args:
        if isinstance(arg, str):
            count += len(arg)
        elif isinstance(arg, list) and not (arg and isinstance(arg[0], int)):
            count += sum(len(text) for text in arg if isinstance(text, str))
    return count
