"""Waiting for real processes: there is no row to age."""

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable

Start = Callable[..., subprocess.Popen[bytes]]


async def eventually(
    condition: Callable[[], Awaitable[object]], what: str, seconds: float = 60
) -> float:
    """Waits until it holds; how many seconds that took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)
    return time.monotonic() - began
