"""The connections of one app in one event loop."""

import asyncio

import asyncpg

from pgjobs.connection import borrowed, patience
from pgjobs.connection.connector import Connector
from pgjobs.connection.link import Link
from pgjobs.producer.producer import Producer
from pgjobs.watching.watcher import Watcher


class Connections:
    """What an app's calls without ``conn`` and its handlers use; each connects when it is used.

    Handlers and calls have a pool each. So a call within ``job.transaction()`` never waits for a
    connection that the handlers hold, and might hold until the call has returned.
    """

    def __init__(self, dsn: str, schema: str, *, name: str, pool_size: int) -> None:
        self._dsn = dsn
        connector = Connector(dsn, name=name)
        link = Link(dsn, name=name, timeout_s=patience.PATIENCE_S)
        self.producer = Producer(link, schema)
        self.watcher = Watcher(dsn, schema, name=name)
        self._for_handlers, self._for_calls = (
            asyncpg.create_pool(min_size=0, max_size=pool_size, connect=connector)
            for _ in range(2)
        )
        self._opening = asyncio.Lock()

    async def for_handlers(self) -> asyncpg.Pool:
        """The pool whose connections are held as long as the borrower likes."""
        return await self._opened(self._for_handlers)

    async def borrower(self, give_up_at: float, *, adds: bool = True) -> borrowed.Borrower:
        """What runs the statements of one call that does not go through the producer."""
        pool = await self.for_calls()
        return borrowed.Borrower(pool, self._dsn, give_up_at=give_up_at, adds=adds)

    async def for_calls(self) -> asyncpg.Pool:
        """The pool whose connections are held for one statement."""
        return await self._opened(self._for_calls)

    async def _opened(self, pool: asyncpg.Pool) -> asyncpg.Pool:
        async with self._opening:
            return await pool  # does nothing if the pool is open

    async def close(self) -> None:
        """Sends the jobs that wait to be enqueued, waits for the borrowers and disconnects."""
        await self.watcher.close()
        await self.producer.close()
        for pool in (self._for_calls, self._for_handlers):
            await borrowed.close(await self._opened(pool))
