"""The one place that calls ``asyncpg.connect``."""

import configparser
from typing import Any

import asyncpg

from pgjobs.connection.tether import tether
from pgjobs.errors import InvalidArgument


async def connect(address: str, **options: Any) -> asyncpg.Connection:
    """A connection that ends with its event loop; "" as the address: libpq's PG* variables."""
    try:
        connection: asyncpg.Connection = await asyncpg.connect(address or None, **options)
    except configparser.Error:
        # Not chained: the error quotes the line of the file, which may be the password.
        raise InvalidArgument(
            "asyncpg cannot read the service file (PGSERVICEFILE, ~/.pg_service.conf): write each"
            " setting as name=value below its [service], and % as %%"
        ) from None
    await tether().tie(connection)
    return connection
