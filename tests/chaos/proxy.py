"""A TCP proxy before PostgreSQL. It can be slow, or swallow all bytes and close nothing."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict


class Proxy:
    """``async with Proxy(dsn) as proxy``: connect to ``proxy.dsn``.

    ``speed``: bytes per second that pass to the server on each connection. ``answers``: those that
    come back from it; a test may change this speed at any time.
    """

    def __init__(self, dsn: str, *, speed: float = math.inf, answers: float = math.inf) -> None:
        self._speed = speed
        self.answers = answers
        self.swallows_new = False  # whether new connections are accepted and never served
        self._target = conninfo_to_dict(dsn)
        self._swallowed: list[asyncio.Event] = []
        self._connections: list[tuple[bytes, asyncio.Event, asyncio.Event]] = []
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """The port, on 127.0.0.1."""
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def dsn(self) -> str:
        user, dbname = (quote(str(self._target[key]), safe="") for key in ("user", "dbname"))
        return f"postgresql://{user}@127.0.0.1:{self.port}/{dbname}?sslmode=disable"

    def swallow(self, ending: str, *, only_answers: bool = False) -> int:
        """From now on nothing passes on connections whose application_name ends with ``ending``.

        Returns how many. ``only_answers``: the server still gets the statements and executes them.
        """
        wanted = f"{ending}\0".encode()
        found = [c for c in self._connections if wanted in c[0] and not c[2].is_set()]
        for _, mute, deaf in found:
            deaf.set()
            if not only_answers:
                mute.set()
        return len(found)

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for end in self._ends:
            end.transport.abort()

    async def _accept(self, client: asyncio.StreamReader, reply: asyncio.StreamWriter) -> None:
        host, port = str(self._target["host"]), self._target["port"]
        if host.startswith("/"):
            server, send = await asyncio.open_unix_connection(Path(host) / f".s.PGSQL.{port}")
        else:
            server, send = await asyncio.open_connection(host, int(str(port)))
        mute, deaf = asyncio.Event(), asyncio.Event()
        if self.swallows_new:
            mute.set()
            deaf.set()
        start = await client.read(65_536)  # the startup packet names the application
        self._connections.append((start, mute, deaf))
        self._ends |= {send, reply}
        if not self.swallows_new:
            send.write(start)
        async with asyncio.TaskGroup() as both:
            both.create_task(_pass_on(client, send, mute, deaf, lambda: self._speed))
            both.create_task(_pass_on(server, reply, deaf, deaf, lambda: self.answers))


async def _pass_on(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    swallowed: asyncio.Event,
    half_open: asyncio.Event,
    speed: Callable[[], float],
) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            await asyncio.sleep(len(data) / speed())
            if not swallowed.is_set():
                target.write(data)
                await target.drain()
        if not half_open.is_set():  # else the other side never learns that this side closed
            target.close()
