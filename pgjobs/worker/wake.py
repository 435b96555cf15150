"""What ends a worker's wait."""

import asyncio
from contextlib import suppress


class Wake:
    """A flag that the worker clears before it claims, and waits for after it has claimed.

    ``set`` asks for a claim, ``nudge`` for a look: is anything due?
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.asks_for_claim = False

    def set(self) -> None:
        """Asks for a claim."""
        self.asks_for_claim = True
        self._event.set()

    def nudge(self) -> None:
        """Asks for a look, which takes no job and locks nothing."""
        self._event.set()

    def clear(self) -> None:
        """Forgets what was asked for."""
        self.asks_for_claim = False
        self._event.clear()

    @property
    def is_set(self) -> bool:
        """Whether anything was asked for."""
        return self._event.is_set()

    async def wait_until(self, deadline: float) -> bool:
        """Waits for the flag until ``deadline``, by the loop's clock; False if it has passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._event.wait()
                return True
        return False

    async def wait(self, seconds: float | None = None) -> bool:
        """Waits for the flag; False on timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
                return True
        return False
