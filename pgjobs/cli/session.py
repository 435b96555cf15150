"""One connection for one command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from pgjobs.cli.complaints import unreachable
from pgjobs.connection.dsn import resolve
from pgjobs.database import Database

T = TypeVar("T")

_CONNECT_S = 10


@asynccontextmanager
async def connected(dsn: str | None, schema: str) -> AsyncIterator[Database]:
    """The functions of that schema, on a connection of this command's own."""
    address = resolve(dsn)
    try:
        connection = await asyncpg.connect(
            address or None,
            timeout=_CONNECT_S,
            server_settings={"application_name": "pgjobs cli"},
            # Behind a pooler in transaction mode prepared statements are somebody else's.
            statement_cache_size=0,
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unreachable(address, error) from error
    try:
        yield Database(connection, schema)
    finally:
        connection.terminate()


def ask(dsn: str | None, schema: str, question: Callable[[Database], Awaitable[T]]) -> T:
    """The answer to a question that takes one connection."""

    async def answer() -> T:
        async with connected(dsn, schema) as database:
            return await question(database)

    return asyncio.run(answer())
