"""Connections that notice a pooler on their way (PgBouncer, say) and get along with it.

In transaction mode such a pooler lends a server's session for one transaction at a time. So what
belongs to a session is lost, or worse, is another client's: settings, prepared statements, LISTEN,
advisory locks. See docs/guides/pgbouncer.md.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg
import psycopg

from pgjobs.errors import InvalidArgument


class Connector:
    """Connects to one address; a pooler there is noticed at the first connection.

    ``settings``: of the session, or of each transaction where the session is not ours alone.
    ``private``: needs a session of its own; raises ``InvalidArgument`` where there is none.
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
        self._settings = dict(settings or {})
        self._private = private
        self.is_pooled = False

    async def __call__(self, *_: Any, **options: Any) -> asyncpg.Connection:
        """A new connection; the arguments are those of ``asyncpg.connect``, without the address."""
        if not self.is_pooled:
            connection = await self._directly(options)
            if connection is not None:
                return connection
            self.is_pooled = True
        if self._private:
            if await asyncio.to_thread(shares_sessions, self._dsn):
                raise InvalidArgument(
                    "LISTEN cannot be heard through a pooler in transaction mode: give the"
                    " database's own address by listen_dsn (--listen-dsn)"
                )
            return await asyncpg.connect(self._dsn or None, server_settings=self._name, **options)
        options |= {"connection_class": Pooled, "statement_cache_size": 0}
        pooled = await asyncpg.connect(self._dsn or None, server_settings=self._name, **options)
        assert isinstance(pooled, Pooled)
        pooled.local_settings = self._settings
        return pooled

    async def _directly(self, options: dict[str, Any]) -> asyncpg.Connection | None:
        """A connection whose session is ours; None: there is a pooler in between."""
        try:
            connection: asyncpg.Connection = await asyncpg.connect(
                self._dsn or None, server_settings=self._name | self._settings, **options
            )
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" in str(error):  # PgBouncer takes only those that it knows
                return None
            raise
        try:
            # A pooler has to invent the number that it greets us with. By the count of rows in the
            # answer, since any other way to read it would leave a prepared statement behind.
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


class Pooled(asyncpg.Connection):
    """Behind a pooler: what would be set for the session is set for each transaction.

    Needs ``statement_cache_size=0``: asyncpg then parses and runs a statement without a name, and
    without the Sync in between at which a pooler might change the session below us.
    """

    local_settings: Mapping[str, str]

    async def fetch(self, *args: Any, **options: Any) -> Any:
        """As asyncpg's."""
        if not self.local_settings or self.is_in_transaction():
            return await super().fetch(*args, **options)
        async with self.transaction():
            for name, value in self.local_settings.items():
                await self.execute(f"set local {name} = '{value}'")
            return await super().fetch(*args, **options)

    def get_reset_query(self) -> str:
        """Nothing: a session that is lent anew for each transaction keeps nothing to reset."""
        return ""


def shares_sessions(dsn: str) -> bool:
    """Whether the pooler at this address is in transaction mode; in session mode all is ours."""
    seen: tuple[set[int], set[int]] = set(), set()
    with (
        psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as one,
        psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as other,
    ):
        # One that is lent by the transaction goes from hand to hand, or changes in one hand.
        for _ in range(4):
            for connection, pids in zip((one, other), seen, strict=True):
                row = connection.execute("select pg_backend_pid()").fetchone()
                assert row is not None
                pids.add(row[0])
    return len(seen[0] | seen[1]) < 2 or max(map(len, seen)) > 1
