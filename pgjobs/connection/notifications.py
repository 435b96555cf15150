"""LISTEN on one connection: which notification calls whom, and whether the connection is lost."""

import asyncio
from collections.abc import Callable, Mapping

from pgjobs.connection.link import STATEMENT_TIMEOUT_S, Link

OnNotify = Callable[[str], None]  # is given the notification's payload


class Notifications:
    """Calls back for each notification; ``on_lost`` when the connection has ended.

    Anybody may notify, and send any payload: the callbacks must doubt it.
    """

    def __init__(self, link: Link, *, on_lost: Callable[[], None]) -> None:
        self._link = link
        self._on_lost = on_lost

    async def listen(self, callbacks: Mapping[str, OnNotify]) -> None:
        """Listens on each channel, on a new connection if the old one has ended."""
        connection = await self._link.connect()
        connection.add_termination_listener(lambda _connection: self._on_lost())
        async with asyncio.timeout(STATEMENT_TIMEOUT_S):
            for channel, callback in callbacks.items():
                await connection.add_listener(channel, _payload_to(callback))


def _payload_to(callback: OnNotify) -> Callable[..., None]:
    def on_notify(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        callback(str(payload))

    return on_notify
