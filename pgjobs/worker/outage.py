"""What the log tells of lost connections."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pgjobs.connection.link import BROKEN, MAX_PAUSE_S

log = logging.getLogger("pgjobs.worker")


class Outage:
    """Tells the lost connections of one worker as one story: each try, then the return.

    Mostly the server is gone, and several parts of the worker try to reach it: the log would tell
    the same several times. So only the tries of the part that noticed first are warnings, until
    that part has its connection again.
    """

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self.began_at: float | None = None  # by time.monotonic(), while a part has no connection
        self._waiting: dict[str, None] = {}  # parts without a connection, in the order of noticing

    def begin(self, part: str) -> None:
        """Notes that a part of the worker has lost its connection."""
        if not self._waiting:
            self.began_at = time.monotonic()
        self._waiting[part] = None

    def tell(self, part: str, error: BaseException, pause_s: float) -> None:
        """Tells that this error ended a part's try, and that the next try comes after the pause."""
        self.begin(part)
        is_first = part == next(iter(self._waiting))
        log.log(
            logging.WARNING if is_first else logging.DEBUG,
            "worker %s: %s: connection lost (%s), again in %.1f s",
            self._worker, part, _brief(error), pause_s,
        )

    def end(self, part: str) -> None:
        """Notes that a part has its connection; tells so if it was the last one without."""
        if part in self._waiting:
            del self._waiting[part]
            if not self._waiting and self.began_at is not None:
                took_s = time.monotonic() - self.began_at
                self.began_at = None
                log.warning("worker %s: connected again after %.1f s", self._worker, took_s)

    async def persist(
        self,
        action: Callable[[], Awaitable[Any]],
        part: str,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Repeats ``action`` while the connection breaks, first after 0.1 s, then every 0.4 s.

        Raises the last error once ``stop()`` is true, and every error that is not about the
        connection.
        """
        pause_s = 0.1
        while True:
            try:
                done = await action()
            except BROKEN as error:
                if stop():
                    raise
                self.tell(part, error, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
            else:
                self.end(part)
                return done


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
