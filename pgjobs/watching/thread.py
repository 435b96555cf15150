"""An event loop in a thread of its own, for sync code that waits.

Waits of all threads and apps run in that one event loop. So a process that waits by ``.sync`` has
one connection per app for it, however many threads wait, as an async program has.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from pgjobs.connection.tether import tether

T = TypeVar("T")

# At exit the thread has so long to say goodbye to the server.
CLOSE_TIMEOUT_S = 2.0


class LoopThread:
    """Runs coroutines for other threads. It is a daemon thread: no wait keeps a process alive."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="pgjobs wait", daemon=True)
        self._thread.start()

    def finish(self, call: Coroutine[Any, Any, T]) -> T:
        """Blocks until the call has ended. An interrupt of the blocked thread ends the call too."""
        # The call runs in a copy of the caller's context, so it knows the handler that waits.
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Ends all calls and their connections."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        await self._stop.wait()
        await asyncio.gather(*(connections.close() for connections in tether().kept.values()))


class _OfThisProcess:
    """The thread of this process, started when somebody waits."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self.thread: LoopThread | None = None
        self._of_parents: list[LoopThread | None] = []

    def started(self) -> LoopThread:
        with self._starting:
            if self.thread is None:
                self.thread = LoopThread()
            return self.thread

    def close(self) -> None:
        if self.thread is not None:
            self.thread.close()

    def let_go(self) -> None:
        """Forgets the parent's thread, which does not run in a forked child."""
        # Another thread may have held the lock at the fork.
        self._starting = threading.Lock()
        # Kept, because Python warns when an event loop that seems to run is forgotten.
        self._of_parents.append(self.thread)
        self.thread = None


_of_this_process = _OfThisProcess()
atexit.register(_of_this_process.close)
os.register_at_fork(after_in_child=_of_this_process.let_go)


def finished_in_thread(call: Coroutine[Any, Any, T]) -> T:
    """Runs a call that waits, in the event loop of the thread; returns what it returns."""
    return _of_this_process.started().finish(call)


def close_in_thread(call: Coroutine[Any, Any, None]) -> None:
    """Runs a call that closes what the thread has; does nothing if there is no thread."""
    if _of_this_process.thread is None:
        call.close()
    else:
        _of_this_process.thread.finish(call)
