"""A console that a browser reaches, and how the browser is started."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from pgjobs import App
from pgjobs.web import console

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]


class _Uvicorn(uvicorn.Server):
    """A server that leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Site:
    """A console that can go away and come back, at the same address."""

    def __init__(self, dsn: str, access: Any) -> None:
        self.access = access  # an Access, or a function; may be changed meanwhile
        self._asgi = console(App(dsn), access=self._who_may)
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _who_may(self, request: Any) -> Any:
        return self.access(request) if callable(self.access) else self.access

    async def start(self) -> None:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self._port))
        self._port = bound.getsockname()[1]
        self._server = _Uvicorn(uvicorn.Config(
            self._asgi, log_config=None, access_log=False, timeout_graceful_shutdown=1
        ))
        bound.listen()  # a request waits until the server takes it
        self._task = asyncio.create_task(self._server.serve([bound]))

    async def stop(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._server = None

    async def forget(self) -> None:
        """Lets the pages ask the database again, as after two seconds."""
        await self._asgi._reading.changed()  # type: ignore[attr-defined]
