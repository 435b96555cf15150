"""One connection for one command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from pgjobs.cli.complaints import unreachable
from pgjobs.connection.driver import connect
from pgjobs.connection.dsn import resolve
from pgjobs.database import Database

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 10


@asynccontextmanager
async def connected(dsn: str | None, schema: str) -> AsyncIterator[Database]:
    """Opens a connection for one command and yields the functions of that schema."""
    async with opened(dsn) as connection:
        yield Database(connection, schema)


@asynccontextmanager
async def opened(dsn: str | None) -> AsyncIterator[asyncpg.Connection]:
    """Opens a connection for one command."""
    address = resolve(dsn)
    try:
        connection = await connect(
            address,
            timeout=_CONNECT_TIMEOUT_S,
            server_settings={"application_name": "pgjobs cli"},
            # A pooler in transaction mode may run a prepared statement in another session.
            statement_cache_size=0,
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise unreachable(address, error) from error
    try:
        yield connection
    finally:
        connection.terminate()


def ask(dsn: str | None, schema: str, question: Callable[[Database], Awaitable[T]]) -> T:
    """Awaits ``question`` on a connection of its own and returns the answer."""

    async def answer() -> T:
        async with connected(dsn, schema) as database:
            return await question(database)

    return asyncio.run(answer())
