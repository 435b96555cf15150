"""The interface of the systems that are compared."""

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Protocol

from ..orders import Order, Recorder

Payload = Mapping[str, Any]
Tuning = Mapping[str, Any]


class NotAvailable(Exception):
    """This system is not installed; the message says how to get it."""


class Producer(Protocol):
    """An open producer, with its connections made."""

    async def one(self, payload: Payload) -> None:
        """Enqueues one job in a commit of its own."""
        ...

    async def many(self, payloads: Sequence[Payload], *, queue: int = 0, priority: int = 0) -> None:
        """Enqueues all jobs in one call; waits for the ids or what the system returns instead.

        ``queue``: 0 is the queue that every worker serves; 1 is another, if the system has several.
        ``priority``: 0 to 2, higher first.
        """
        ...


class System(ABC):
    """``tunings`` has at least ``best`` and ``default``; ``c1``, ``c10`` and ``c100`` are ``best``
    with as many jobs at once. ``share``: the part of the jobs that a slower system gets;
    ``shares``: the same by tuning.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    tunings: ClassVar[Mapping[str, Tuning]]
    share: ClassVar[float] = 1.0
    shares: ClassVar[Mapping[str, float]] = {}
    unfinished: ClassVar[str]  # SQL: how many jobs are waiting or running

    def version(self) -> str:
        """The installed version; raises ``NotAvailable`` if there is none."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            raise NotAvailable(
                f"{self.name} is not installed: pip install -r benchmarks/requirements.txt"
            ) from None

    def command(self, order: Order) -> Sequence[str]:
        """The command that starts a worker process."""
        return [sys.executable, "-m", "benchmarks.worker", order.to_json()]

    @abstractmethod
    async def install(self, dsn: str) -> None:
        """Creates the system's tables in an empty database."""

    @abstractmethod
    def producer(self, dsn: str) -> AbstractAsyncContextManager[Producer]:
        """Opens a producer in this process."""

    @abstractmethod
    async def work(self, order: Order, recorder: Recorder, stop: asyncio.Event) -> None:
        """Works in a worker process, until no job is left or until ``stop`` is set."""

    async def enqueue_many_seconds(self, dsn: str, jobs: int, chunk: int) -> float:
        """Seconds for ``jobs`` in calls of ``chunk``, by the system's own client."""
        clock = asyncio.get_running_loop().time
        async with self.producer(dsn) as producer:
            await producer.many([{"n": 0}] * 10)
            began = clock()
            for start in range(0, jobs, chunk):
                await producer.many([{"n": n} for n in range(start, min(start + chunk, jobs))])
            return clock() - began
