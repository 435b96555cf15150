"""Batches, and the parents of jobs: what an app does with jobs that wait for other jobs."""

import builtins
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from pgjobs.database import Database
from pgjobs.errors import InvalidArgument, JobNotHeld, PgjobsError
from pgjobs.handler.task import Task
from pgjobs.job.flow import Batch, Parent
from pgjobs.job.job import Job
from pgjobs.job.payload import NO_PAYLOAD, encode
from pgjobs.producer import arguments
from pgjobs.producer.arguments import EnqueueOptions

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn


class OpenBatch:
    """A batch that takes members: ``async with app.batch(...) as batch``.

    ``await task.enqueue(payload, batch=batch)`` adds a member. The batch is closed at the end of
    the block, and its callback runs when all members have ended. An exception that leaves the block
    cancels the callback; the members that were added go on.
    """

    def __init__(
        self, app: "Flows", conn: "Conn | None", given: dict[str, Any], is_in_transaction: bool
    ) -> None:
        self._app = app
        self._conn = conn
        self._is_in_transaction = is_in_transaction
        self._given = given
        self._job: Job[Any] | None = None

    @property
    def job(self) -> Job[Any]:
        """The callback, which is blocked."""
        if self._job is None:
            raise PgjobsError("the batch has not begun: async with app.batch(...) as batch")
        return self._job

    @property
    def id(self) -> int:
        """The batch's id, which is that of its callback."""
        return self.job.id

    async def begin(self, conn: "Conn | None") -> None:
        """Adds the callback."""
        self._job = await self._app._begin_batch(self._given, conn)

    async def end(self, error: BaseException | None, conn: "Conn | None") -> None:
        """Closes the batch, or cancels its callback."""
        if error is None:
            await (await self._app._database(conn)).batch_close(self.id)
        elif not self._is_in_transaction:
            database = await self._app._database(conn)
            with suppress(JobNotHeld):  # it has ended
                await database.cancel(self.id, f"its producer raised {type(error).__name__}")
        # In the caller's transaction, which the error ends, nothing was added.

    async def __aenter__(self) -> Self:
        await self.begin(self._conn)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.end(error, self._conn)


class Flows(ABC):
    """The methods of an app for jobs that wait for others. With ``conn`` in its transaction."""

    tasks: dict[str, Task[Any, Any]]

    @abstractmethod
    async def _database(self, conn: "Conn | None") -> Database: ...

    def batch(
        self,
        job_type: "str | Task[Any, Any]",
        payload: object = NO_PAYLOAD,
        *,
        conn: "Conn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> OpenBatch:
        """Begins a batch: ``async with app.batch(report, payload) as batch``.

        ``job_type`` is that of the callback, or its handler, and the options are those of
        ``enqueue``. The callback runs once all members have ended, whatever became of them; with
        ``on_parent_failed="cancel"`` the first one that fails cancels the callback.
        """
        task = job_type if isinstance(job_type, Task) else self.tasks.get(job_type)
        if options.get("watch") is not None:
            raise InvalidArgument("watch is not for batches: wait by app.wait([batch.id])")
        if task is None:
            given = arguments.job_arguments(str(job_type), options)
            text = encode(payload, "the payload")
        else:
            given, text = task.job(payload, options)
        return OpenBatch(self, conn, {**given, "payload": text}, conn is not None)

    async def get_batch(self, batch_id: int, *, conn: "Conn | None" = None) -> Batch:
        """Returns how many members a batch has, and what became of them; raises ``JobNotFound``."""
        found = arguments.id_of("batch_id", batch_id)
        return Batch.from_row(await (await self._database(conn)).batch_counts(found))

    async def parents(
        self, job_id: int, *, conn: "Conn | None" = None
    ) -> "builtins.list[Parent]":
        """Returns what a job waits or has waited for; of a batch's callback its members too."""
        found = arguments.id_of("job_id", job_id)
        return [Parent.from_row(r) for r in await (await self._database(conn)).parents(found)]

    async def _begin_batch(self, given: dict[str, Any], conn: "Conn | None") -> Job[Any]:
        database = await self._database(conn)
        for moment in arguments.MOMENTS & given.keys():
            given[moment] = await database.moment(given[moment])
        return await database.batch(**given)
