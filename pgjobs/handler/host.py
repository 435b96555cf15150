"""What tasks and held jobs use of the app: a Protocol, so they do not import it."""

from collections.abc import Awaitable, Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg

from pgjobs.connection.executor import Executor
from pgjobs.handler.middleware import Around
from pgjobs.job.job import Job, Source
from pgjobs.job.outcome import Outcome
from pgjobs.producer.batch import Batch

if TYPE_CHECKING:
    from pgjobs.connection.blocking import SyncConn
    from pgjobs.connection.executor import Conn


class Host(Source, Protocol):
    """The app as tasks and held jobs see it."""

    schema: str
    middlewares: list[Around]

    def with_state(self, state: Any) -> AbstractContextManager[None]: ...

    def sync_executor(
        self, conn: "SyncConn | None", *, adds: bool = False, reads: bool = False
    ) -> Executor: ...

    async def pool(self) -> asyncpg.Pool: ...

    def enqueue_text(
        self, given: dict[str, Any], text: str, conn: "Conn | None"
    ) -> Awaitable[Job[Any, Any]]: ...

    async def enqueue_batch(
        self, given: dict[str, Any], batch: Batch, conn: "Conn | None"
    ) -> list[int]: ...

    async def wait(
        self,
        jobs: Iterable[Job[Any] | int],
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109
    ) -> list[Outcome]: ...
