"""What tasks and held jobs use of the app: a Protocol, so they do not import it."""

from typing import TYPE_CHECKING, Any, Protocol, Unpack

import asyncpg

from pgjobs.job.job import Job
from pgjobs.producer.arguments import BatchOptions, EnqueueOptions
from pgjobs.producer.batch import Batch

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn


class Host(Protocol):
    """The app as tasks and held jobs see it."""

    schema: str

    async def pool(self) -> asyncpg.Pool: ...

    async def enqueue_text(
        self, job_type: str, text: str, *, conn: "Conn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Job[Any]: ...

    async def enqueue_batch(
        self, job_type: str, batch: Batch, *, conn: "Conn | None" = None,
        **options: Unpack[BatchOptions],
    ) -> list[int]: ...
