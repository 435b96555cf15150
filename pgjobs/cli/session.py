"""One connection for one command."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from pgjobs.cli.complaints import unreachable
from pgjobs.connection.driver import connect
from pgjobs.connection.dsn import resolve
from pgjobs.database import Database
from pgjobs.database.acting import acting

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
    """Awaits ``question`` on a connection of its own and returns the answer.

    The user in PGJOBS_ACTOR, if there is one, is who acts.
    """

    async def answer() -> T:
        async with connected(dsn, schema) as database:
            with acting(os.environ.get("PGJOBS_ACTOR") or None):
                return await question(database)

    return asyncio.run(answer())
