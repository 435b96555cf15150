"""Ties connections, and what apps keep, to the event loop and to the process that they belong to.

A connection ends with its event loop, whether ``app.close()`` was called or not:

- ``asyncio.run()`` closes the loop's async generators before it closes the loop. One of them closes
  the connections in order.
- A loop that is closed or forgotten without that lets go of its timers. One of them alone holds the
  tether, which then shuts the sockets down. An object that anything else held would live longer.

A forked child inherits the sockets of its parent's connections. The server would take the parent
for alive as long as the child lives. So the child lets go of them, and makes its own.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Iterable, MutableMapping
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import asyncpg

# The timer that holds a tether is set again whenever it is over.
_HOLD_S = 365 * 86_400.0


class Tether:
    """What pgjobs has in one event loop."""

    def __init__(self) -> None:
        self.connections: WeakSet[asyncpg.Connection] = WeakSet()
        # By app: its connections in this event loop.
        self.kept: MutableMapping[object, Any] = WeakKeyDictionary()
        self._closes_at_end: AsyncGenerator[None, None] | None = None
        self._hold()

    async def tie(self, connection: asyncpg.Connection) -> None:
        """Ends the connection with the event loop, at the latest."""
        self.connections.add(connection)
        if self._closes_at_end is None:
            self._closes_at_end = _closes_at_end(self.connections)
            # Begun, so that the loop knows it.
            await anext(self._closes_at_end)

    def _hold(self) -> None:
        asyncio.get_running_loop().call_later(_HOLD_S, self._hold)

    def __del__(self) -> None:
        for connection in list(self.connections):
            _shut_down(connection)


def tether() -> Tether:
    """Returns the tether of the running event loop."""
    loop = asyncio.get_running_loop()
    held = _tethers.get(loop)
    found = None if held is None else held()
    if found is None:
        found = Tether()
        _tethers[loop] = ref(found)
    return found


_tethers: MutableMapping[asyncio.AbstractEventLoop, ref[Tether]] = WeakKeyDictionary()


async def _closes_at_end(connections: Iterable[asyncpg.Connection]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        # All tasks have ended, so nobody waits for an answer.
        for connection in list(connections):
            connection.terminate()
        await asyncio.sleep(0)  # the loop closes the sockets in its next round


def _socket(connection: asyncpg.Connection) -> Any:
    """The connection's socket, with the number -1 once it is closed; None: TLS knows it no more."""
    transport: asyncio.Transport = connection._transport  # type: ignore[attr-defined]
    return transport.get_extra_info("socket")


def _shut_down(connection: asyncpg.Connection) -> None:
    """Ends the connection by its socket alone, because its event loop is closed."""
    found = _socket(connection)
    if found is not None and found.fileno() >= 0:
        # By a copy, because what uvloop gives cannot be shut down.
        with suppress(OSError), socket.socket(fileno=os.dup(found.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)


def _let_go() -> None:
    """Closes the parent's connections in a forked child, and tells the server nothing."""
    null = os.open(os.devnull, os.O_RDWR)
    for found in filter(None, [held() for held in _tethers.values()]):
        for connection in list(found.connections):
            inherited = _socket(connection)
            # The number stays taken: the child's copy of the connection believes that it owns the
            # number, and would else close another file of the child's.
            if inherited is not None and inherited.fileno() >= 0:
                os.dup2(null, inherited.fileno(), inheritable=False)
        found.connections.clear()
    os.close(null)
    _tethers.clear()


os.register_at_fork(after_in_child=_let_go)
