"""What tasks and held jobs use of the app: a Protocol, so they do not import it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, Unpack

import asyncpg

from pgjobs.job.job import Job
from pgjobs.producer.arguments import BatchOptions, EnqueueOptions

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn


class Host(Protocol):
    """The app as tasks and held jobs see it."""

    schema: str

    async def pool(self) -> asyncpg.Pool: ...

    async def enqueue(
        self, job_type: str, payload: object = None, *, conn: "Conn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Job[Any]: ...

    async def enqueue_many(
        self, job_type: str, payloads: Iterable[object], *, conn: "Conn | None" = None,
        **options: Unpack[BatchOptions],
    ) -> list[int]: ...
