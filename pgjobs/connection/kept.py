"""The connection of the sync calls without ``conn``: one per app and process, for all threads.

A forked child inherits the socket. The server would take the parent for alive as long as the child
lives. So the child lets go of the socket, tells the server nothing, and connects by itself.
"""

import atexit
import math
import os
import select
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakSet

import psycopg

from pgjobs.connection import patience
from pgjobs.connection.connector import SESSION_SETTINGS
from pgjobs.connection.drivers import as_asyncpg, as_rows, by_place
from pgjobs.connection.link import BROKEN
from pgjobs.errors import InvalidArgument
from pgjobs.job.job import Row

# libpq gives up a server that does not answer after whole seconds, and never before two.
MIN_CONNECT_TIMEOUT_S = 2

_BEGIN = ";".join(
    ["begin isolation level read committed"]
    + [f"set local {name} = '{value}'" for name, value in SESSION_SETTINGS.items()]
)


class HasDsn(Protocol):
    """An app, whose DSN may still change before its first call."""

    @property
    def dsn(self) -> str: ...


class _Connection(psycopg.Connection[Any]):
    """A connection whose statements end with ``TimeoutError`` when the caller gives up."""

    give_up_at = math.inf
    is_pooled = False

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return super().wait(self._until(gen), *args, **options)

    def _until(self, gen: Any) -> Generator[Any, Any, Any]:
        ready = None
        while True:
            try:
                state = gen.send(ready)
            except StopIteration as end:
                return end.value
            ready = yield state
            # psycopg asks now and then, also while the server sends nothing.
            if not ready and time.monotonic() > self.give_up_at:
                raise TimeoutError

    @property
    def has_ended(self) -> bool:
        """Whether the server has closed the connection, as its restart does: without asking it."""
        if self.closed:
            return True
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        if not poll.poll(0):
            return False
        # Perhaps only a notice. libpq finds the end of the connection when it reads.
        with suppress(psycopg.Error):
            self.pgconn.consume_input()
            self.pgconn.is_busy()
            return bool(self.pgconn.status != psycopg.pq.ConnStatus.OK or poll.poll(0))
        return True


class Kept:
    """Runs one statement at a time; connects when it is used, and again after it broke."""

    def __init__(self, name: str) -> None:
        self._name = name[:63]
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        _all.add(self)

    def call(self, app: "HasDsn", *, adds: bool) -> "Call":
        """What runs the statements of one call; ``adds``: they add jobs."""
        return Call(self, app, adds=adds)

    def fetch(
        self, app: "HasDsn", query: str, args: Sequence[Any], *, adds: bool, give_up_at: float
    ) -> Sequence[Row]:
        """Runs one statement, and commits it. Raises ``ConnectionLost`` if no answer comes."""
        is_sent = False
        if not self._lock.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
            raise patience.lost(TimeoutError(), is_sent=False)
        try:
            connection = self._connected(app, give_up_at)
            is_sent = adds
            return _run(connection, query, args)
        except (psycopg.Error, OSError) as error:
            own = _broken(error)
            if own is None:
                if (told := as_asyncpg(error)) is not None:
                    raise told from error
                # psycopg refuses some values by itself.
                raise InvalidArgument(str(error)) from error
            unreached = None if self._connection else app.dsn
            self._drop()
            raise patience.lost(own, is_sent=is_sent, unreached=unreached) from error
        except BaseException:
            # A statement that was interrupted leaves the connection in an unknown state.
            self._drop()
            raise
        finally:
            self._lock.release()

    def _connected(self, app: "HasDsn", give_up_at: float) -> _Connection:
        if self._connection is None or self._connection.has_ended:
            self._drop()
            self._connection = _connect(app.dsn, self._name, give_up_at)
        self._connection.give_up_at = give_up_at
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Disconnects, after the statement that is under way; the next call connects again."""
        with self._lock:
            self._drop()

    def __del__(self) -> None:
        self._drop()

    def _let_go(self) -> None:
        """Forgets the parent's connection, in a forked child."""
        # Another thread may have held it at the fork.
        self._lock = threading.Lock()
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            null = os.open(os.devnull, os.O_RDWR)
            # The number stays taken until libpq closes it, which says goodbye to the null device.
            os.dup2(null, connection.fileno(), inheritable=False)
            os.close(null)
            connection.close()


class Call:
    """The statements of one call; an ``Executor`` that never waits for an event loop."""

    each_statement_commits = True  # so Statements may send a failed one again

    def __init__(self, kept: Kept, app: "HasDsn", *, adds: bool) -> None:
        self._kept = kept
        self._app = app
        self._adds = adds
        self._give_up_at = time.monotonic() + patience.PATIENCE_S

    @property
    def asking(self) -> "Call":
        """The same call, for a statement that adds no job."""
        asking = Call(self._kept, self._app, adds=False)
        asking._give_up_at = self._give_up_at
        return asking

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]:
        """Runs one statement."""
        # Of all statements, only those that add jobs have long arguments.
        sending_s = sum(patience.sending_s(arg) for arg in args if isinstance(arg, str))
        return self._kept.fetch(
            self._app, query, args, adds=self._adds, give_up_at=self._give_up_at + sending_s
        )


def _connect(dsn: str, name: str, give_up_at: float) -> _Connection:
    timeout_s = max(MIN_CONNECT_TIMEOUT_S, int(give_up_at - time.monotonic()))
    connection = _Connection.connect(
        dsn, autocommit=True, client_encoding="UTF8", application_name=name,
        connect_timeout=timeout_s,
    )
    try:
        connection.give_up_at = give_up_at
        # A pooler gives its client an invented pid, and lends its sessions to others.
        row = connection.execute("select pg_backend_pid()").fetchone()
        connection.is_pooled = row != (connection.info.backend_pid,)
        if connection.is_pooled:
            connection.prepare_threshold = None
        else:
            settings = [f"set {name} = '{value}'" for name, value in SESSION_SETTINGS.items()]
            connection.execute(";".join(settings).encode())
    except BaseException:
        connection.close()
        raise
    return connection


def _run(connection: _Connection, query: str, args: Sequence[Any]) -> Sequence[Row]:
    text, ordered = by_place(query, args)
    with connection.cursor() as cursor:
        if not connection.is_pooled:
            cursor.execute(text.encode(), ordered, binary=True)
            return as_rows(query, cursor.description, cursor.fetchall())
        cursor.execute(_BEGIN.encode())
        try:
            cursor.execute(text.encode(), ordered, binary=True)
            rows = as_rows(query, cursor.description, cursor.fetchall())
            cursor.execute("commit")
        except psycopg.Error:
            if not connection.closed:
                cursor.execute("rollback")
            raise
        return rows


def _broken(error: BaseException) -> BaseException | None:
    """Returns the error that means a broken connection, as ``Link`` would raise it, or None."""
    if isinstance(error, OSError):
        return error
    told = as_asyncpg(error)
    if told is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return ConnectionError(str(error))
    return told if isinstance(told, BROKEN) else None


_all: WeakSet[Kept] = WeakSet()


def _close_all() -> None:
    for kept in list(_all):
        kept._drop()


def _let_go_of_all() -> None:
    for kept in list(_all):
        kept._let_go()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_let_go_of_all)
