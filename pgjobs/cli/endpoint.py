"""Answers HTTP requests from a thread of its own: a few small pages, for probes and monitors."""

import asyncio
import errno
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self

from pgjobs.cli.options import Address
from pgjobs.errors import PgjobsError
from pgjobs.telemetry.exposition import CONTENT_TYPE

# Whether the answer is good, and the answer: JSON, or the text of metrics.
Answer = tuple[bool, dict[str, Any] | str]
# A coroutine runs in the loop of the endpoint's thread.
Page = Callable[[], Answer | Awaitable[Answer]]

ANSWERED_WITHIN_S = 5.0
MAX_REQUEST_BYTES = 8_192
MAX_CONNECTIONS = 64
ENDS_WITHIN_S = 1.0


class Endpoint:
    """Answers GET and HEAD for a few paths: 200 for a good answer, 503 for another.

    The thread has an event loop of its own, so a slow client holds up no other. A connection gets
    one answer and five seconds. A connection too many closes the oldest one, which is the most
    likely to be idle.
    """

    def __init__(self, option: str, address: Address, pages: Mapping[str, Page]) -> None:
        """Listens; raises if nobody can. ``option``: what the user gave the address by."""
        self._pages = pages
        self._sockets = listening(option, address)
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="pgjobs endpoint", daemon=True)
        # A process that a handler forks would keep the port when this process has ended.
        os.register_at_fork(after_in_child=self._let_go)

    @property
    def addresses(self) -> str:
        """The addresses on which the endpoint listens."""
        return ", ".join(shown(found) for found in self._sockets)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # the thread has ended
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(ENDS_WITHIN_S)

    def _let_go(self) -> None:
        for bound in self._sockets:
            bound.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        servers = [
            await asyncio.start_server(self._answer, sock=bound, limit=MAX_REQUEST_BYTES)
            for bound in self._sockets
        ]
        await self._over.wait()
        for server in servers:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                try:
                    request = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    request = b""
                writer.write(await self._response(request))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError):
            pass  # the client was too slow, or has gone
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _response(self, request: bytes) -> bytes:
        words = request.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _http(HTTPStatus.BAD_REQUEST, {"error": "this is not a request of HTTP/1.1"})
        method, target, _ = words
        if target.startswith("http://"):  # as a proxy is asked
            target = "/" + target.split("/", 3)[-1] if target.count("/") > 2 else "/"
        page = self._pages.get(target.partition("?")[0])
        if page is None:
            known = ", ".join(self._pages)
            return _http(HTTPStatus.NOT_FOUND, {"error": f"there is no such path: ask for {known}"})
        if method not in ("GET", "HEAD"):
            return _http(HTTPStatus.METHOD_NOT_ALLOWED, {"error": "only GET and HEAD are answered"})
        found = page()
        is_good, answer = await found if isinstance(found, Awaitable) else found
        status = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
        return _http(status, answer, has_body=method == "GET")


def _http(status: HTTPStatus, answer: dict[str, Any] | str, *, has_body: bool = True) -> bytes:
    if isinstance(answer, str):
        content_type, body = CONTENT_TYPE, answer.encode()
    else:
        content_type, body = "application/json", json.dumps(answer).encode() + b"\n"
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n{allow}Connection: close\r\n\r\n"
    )
    return head.encode() + (body if has_body else b"")


def listening(option: str, address: Address) -> list[socket.socket]:
    """Listens on all addresses that the host stands for; one that this machine has not is left."""
    found: list[socket.socket] = []
    try:
        meant = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for number, (family, *_, where) in enumerate(dict.fromkeys(meant), start=1):
            try:
                found.append(_bound(family, where))
            except OSError as error:
                is_last_hope = number == len(meant) and not found
                if error.errno == errno.EADDRINUSE or is_last_hope:
                    raise
    except (OSError, UnicodeError) as error:  # the second of a host that is no name
        for bound in found:
            bound.close()
        advice, reason = "name another address", "this is no host's name"
        if isinstance(error, OSError):
            reason = str(error.strerror)
            if error.errno == errno.EADDRINUSE:
                advice = "another process listens there; end it, or name another port"
        shown = f"[{address.host}]" if ":" in address.host else address.host
        raise PgjobsError(
            f"{option} {shown}:{address.port}: cannot listen ({reason}): {advice}"
        ) from error
    return found


def _bound(family: int, where: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port of a process that has just ended can be taken again.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The IPv4 addresses have a socket of their own.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(where)
        made.listen()
    except BaseException:
        made.close()
        raise
    return made


def shown(bound: socket.socket) -> str:
    """The address on which a socket listens."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
