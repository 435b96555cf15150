"""The bound of look-ups for which somebody waits: of the console, of ``top`` and of scrapes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

LOOK_UP_ENDS_AFTER_S = 2


@asynccontextmanager
async def bounded(
    connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy,
) -> AsyncIterator[None]:
    """Opens a transaction in which PostgreSQL ends each statement that takes too long.

    So nobody waits for long while another session has a table locked.
    """
    async with connection.transaction():
        # Local, so that it ends with the transaction behind a pooler, too.
        # A process that is stopped between two statements keeps no locks either.
        await connection.execute(
            f"set local statement_timeout = '{LOOK_UP_ENDS_AFTER_S}s'; set local"
            f" idle_in_transaction_session_timeout = '{LOOK_UP_ENDS_AFTER_S}s'"
        )
        yield
