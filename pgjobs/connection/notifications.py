"""LISTEN on one connection: which notification calls whom, and whether the connection is lost."""

import asyncio
from collections.abc import Callable

from pgjobs.connection.link import STATEMENT_TIMEOUT_S, Link

OnNotify = Callable[[str], None]  # its argument is the payload


class Notifications:
    """Calls a function per notification, and ``on_lost`` at the connection's end.

    Any session may notify any payload: the callbacks must check it.
    """

    def __init__(self, link: Link, *, on_lost: Callable[[], None]) -> None:
        self._link = link
        self._on_lost = on_lost
        self._callbacks: dict[str, OnNotify] = {}
        self._connection: object = None

    async def listen(self, callbacks: dict[str, OnNotify]) -> None:
        """Listens on each channel, on a new connection if the old one has ended."""
        self._callbacks = callbacks
        connection = self._connection = await self._link.connect()
        # asyncpg keeps equal callables once: listening again on one connection adds none.
        connection.add_termination_listener(self._connection_ended)
        async with asyncio.timeout(STATEMENT_TIMEOUT_S):
            for channel in callbacks:
                await connection.add_listener(channel, self._on_notify)

    def _on_notify(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self._callbacks[channel](str(payload))

    def _connection_ended(self, connection: object) -> None:
        # asyncpg tells it a little later, when there may be a new connection already.
        if connection is self._connection:
            self._on_lost()
