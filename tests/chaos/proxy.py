"""A TCP proxy before PostgreSQL that can go deaf: it swallows bytes and closes nothing."""

import asyncio
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict


class Proxy:
    """``async with Proxy(dsn) as proxy``: connect to ``proxy.dsn``."""

    def __init__(self, dsn: str) -> None:
        self._target = conninfo_to_dict(dsn)
        self._swallowed: list[asyncio.Event] = []
        self._connections: list[tuple[bytes, asyncio.Event]] = []
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def dsn(self) -> str:
        port = self._server.sockets[0].getsockname()[1]
        user, dbname = (quote(str(self._target[key]), safe="") for key in ("user", "dbname"))
        return f"postgresql://{user}@127.0.0.1:{port}/{dbname}?sslmode=disable"

    def swallow(self, ending: str) -> int:
        """From now on nothing passes on connections whose application_name ends so; how many."""
        wanted = f"{ending}\0".encode()
        found = [deaf for start, deaf in self._connections if wanted in start and not deaf.is_set()]
        for deaf in found:
            deaf.set()
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
        deaf = asyncio.Event()
        start = await client.read(65_536)  # the startup packet names the application
        self._connections.append((start, deaf))
        self._ends |= {send, reply}
        send.write(start)
        async with asyncio.TaskGroup() as both:
            both.create_task(_pass_on(client, send, deaf))
            both.create_task(_pass_on(server, reply, deaf))


async def _pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, deaf: asyncio.Event
) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            if not deaf.is_set():
                target.write(data)
                await target.drain()
        if not deaf.is_set():  # else the other side is not told that this one hung up
            target.close()
