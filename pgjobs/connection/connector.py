"""Makes connections; detects a pooler in between (PgBouncer, for example) and adapts to it.

In transaction mode a pooler lends a server's session for one transaction at a time. So the state of
a session is lost, or is another client's: settings, prepared statements, LISTEN, advisory locks.
See docs/guides/pgbouncer.md.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction

from pgjobs.connection.driver import connect
from pgjobs.errors import InvalidArgument

# What the statements and the SQL functions rely on, whatever the role or the database has as its
# default. asyncpg itself asks for UTF-8. default_transaction_read_only stays as it is: an operator
# may have set it on purpose.
SESSION_SETTINGS = {
    # A serializable claim, start or end of a job would fail whenever two workers meet.
    "default_transaction_isolation": "read committed",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
}


class Connector:
    """Connects to one address; the first connection detects a pooler there.

    ``settings`` join those that each session has (``SESSION_SETTINGS``). They hold for the session,
    or for each transaction if other clients share the session.
    ``private`` asks for a session of its own, and raises ``InvalidArgument`` if there is none.
    """

    def __init__(
        self,
        dsn: str,
        *,
        name: str,
        settings: Mapping[str, str] | None = None,
        private: bool = False,
    ) -> None:
        self._dsn = dsn
        self._name = {"application_name": name[:63]}
        self.settings = SESSION_SETTINGS | dict(settings or {})
        self._private = private
        self.is_pooled = False
        self._shares_sessions: bool | None = None

    async def __call__(self, *_: Any, **options: Any) -> asyncpg.Connection:
        """A new connection; the arguments are those of ``asyncpg.connect``, without the address."""
        if not self.is_pooled:
            connection = await self._directly(options)
            if connection is not None:
                return connection
            self.is_pooled = True
        if self._private:
            if self._shares_sessions is None:
                # Here, since psycopg takes a third of the time that importing pgjobs does.
                import psycopg

                try:
                    self._shares_sessions = await asyncio.to_thread(shares_sessions, self._dsn)
                except psycopg.Error as error:
                    raise ConnectionError(f"the pooler does not answer: {error}") from error
            if self._shares_sessions:
                raise InvalidArgument(
                    "LISTEN cannot be heard through a pooler in transaction mode: give the"
                    " database's own address by listen_dsn (--listen-dsn)"
                )
            private = await connect(self._dsn, server_settings=self._name, **options)
            # The pooler may refuse them at the start, and keeps them for as long as the session.
            settings = [f"set {setting}" for setting in _assigned(self.settings)]
            try:
                await private.execute(";".join(settings))
            except BaseException:
                private.terminate()
                raise
            return private
        options |= {"connection_class": Pooled, "statement_cache_size": 0}
        pooled = await connect(self._dsn, server_settings=self._name, **options)
        assert isinstance(pooled, Pooled)
        settings = [f"set local {setting}" for setting in _assigned(self.settings)]
        pooled.begin = ";".join(["begin isolation level read committed", *settings])
        return pooled

    async def _directly(self, options: dict[str, Any]) -> asyncpg.Connection | None:
        """Returns a connection with a session of its own; None: there is a pooler in between."""
        options = options | {"connection_class": Direct}
        try:
            connection = await connect(
                self._dsn, server_settings=self._name | self.settings, **options
            )
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" in str(error):  # PgBouncer takes only those that it knows
                return None
            raise
        try:
            # A pooler gives its client an invented pid. Read the answer from the count of rows:
            # any other way would leave a prepared statement behind.
            told = await connection.execute(
                f"select where pg_backend_pid() = {connection.get_server_pid()}"
            )
            if told == "SELECT 1":
                return connection
            await connection.close()
        except BaseException:
            connection.terminate()
            raise
        return None


class Direct(asyncpg.Connection):
    """A connection whose session is its own."""

    _has_state = True

    def keeps_no_state(self) -> None:
        """Spares the next reset its round trip: what ran since the last one left no state."""
        self._has_state = False

    def get_reset_query(self) -> str:
        """As asyncpg's."""
        query: str = super().get_reset_query() if self._has_state else ""
        self._has_state = True
        return query


class Pooled(Direct):
    """A connection behind a pooler: each transaction sets what a session would have.

    Needs ``statement_cache_size=0``: asyncpg then parses and runs an unnamed statement without a
    Sync in between, at which a pooler could change the session.
    """

    begin: str  # the transaction, its level and all settings: each round trip counts

    async def fetch(self, *args: Any, **options: Any) -> Any:
        """As asyncpg's."""
        if self.is_in_transaction():
            return await super().fetch(*args, **options)
        try:
            await self.execute(self.begin)
            try:
                rows = await super().fetch(*args, **options)
                await self.execute("commit")
            except Exception:
                if not self.is_closed():
                    await self.execute("rollback")
                raise
        except asyncio.CancelledError:
            # To roll back would be to wait for a server that may never answer. The pooler rolls
            # back what a client leaves open.
            self.terminate()
            raise
        return rows

    def transaction(self, *, isolation: Any = None, **options: Any) -> Transaction:
        """As asyncpg's; read committed, unless the caller or an outer transaction says other."""
        if isolation is None and not self.is_in_transaction():
            isolation = "read_committed"
        return super().transaction(isolation=isolation, **options)

    def get_reset_query(self) -> str:
        """Returns nothing to send: a session that is lent per transaction keeps no state."""
        return ""


def _assigned(settings: Mapping[str, str]) -> list[str]:
    return [f"{name} = '{value}'" for name, value in settings.items()]


def shares_sessions(dsn: str) -> bool:
    """Whether the pooler at this address is in transaction mode, so that clients share sessions."""
    import psycopg

    seen: tuple[set[int], set[int]] = set(), set()
    with (
        psycopg.connect(dsn, autocommit=True, prepare_threshold=None, connect_timeout=5) as one,
        psycopg.connect(dsn, autocommit=True, prepare_threshold=None, connect_timeout=5) as other,
    ):
        # In transaction mode two clients see the same pid, or one client sees two.
        for _ in range(4):
            for connection, pids in zip((one, other), seen, strict=True):
                row = connection.execute("select pg_backend_pid()").fetchone()
                assert row is not None
                pids.add(row[0])
    return len(seen[0] | seen[1]) < 2 or max(map(len, seen)) > 1
