"""Batches, and the parents of jobs: what an app does with jobs that wait for other jobs."""

import builtins
import json
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from pgjobs.connection.executor import Executor, executor
from pgjobs.connection.open_transaction import open_transaction
from pgjobs.connection.patience import give_up_at
from pgjobs.database import Database
from pgjobs.errors import InvalidArgument, JobNotHeld, PgjobsError
from pgjobs.handler.task import Task
from pgjobs.job.flow import Batch, Parent
from pgjobs.job.job import Job, Source
from pgjobs.job.payload import NO_PAYLOAD, encode
from pgjobs.producer import arguments
from pgjobs.producer.arguments import EnqueueOptions
from pgjobs.producer.connections import Connections
from pgjobs.producer.middleware import EnqueueMiddleware, EnqueueRequest, surrounded
from pgjobs.producer.uncommitted import Uncommitted

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn

log = logging.getLogger("pgjobs.flows")


class OpenBatch:
    """A batch that takes members: ``async with app.batch(...) as batch``.

    ``await task.enqueue(payload, batch=batch)`` adds a member. The batch is closed at the end of
    the block, and its callback runs when all members have ended. An exception that leaves the block
    cancels the callback; the members that were added go on.
    """

    def __init__(
        self, app: "Flows", conn: "Conn | None", given: dict[str, Any], payload: str
    ) -> None:
        self._app = app
        self._conn = conn
        self._given = given
        self._payload = payload
        self._job: Job[Any] | None = None
        self.is_in_transaction = conn is not None

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
        self._job = await self._app._begin_batch(self._given, self._payload, conn)

    async def end(self, error: BaseException | None, conn: "Conn | None") -> None:
        """Closes the batch, or cancels its callback."""
        if error is None:
            await (await self._app._database(conn)).batch_close(self.id)
            return
        why = f"its producer raised {type(error).__name__}"
        try:
            await (await self._app._database(conn)).cancel(self.id, why)
        except JobNotHeld:
            pass  # it has ended
        except Exception as refused:  # noqa: BLE001 - the block's own error is the one to see
            # Of a caller's transaction that the error has ended, nothing is left.
            if not self.is_in_transaction:
                log.warning(
                    "batch %d: its callback is not cancelled, so the batch stays open: pgjobs"
                    " cancel %d: %r", self.id, self.id, refused,
                )

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

    schema: str
    tasks: dict[str, Task[Any, Any]]
    enqueue_middlewares: list[EnqueueMiddleware]

    @abstractmethod
    async def _database(self, conn: "Conn | None") -> Database: ...

    @abstractmethod
    def _connections(self) -> Connections: ...

    @abstractmethod
    def _task_of(self, job_type: str) -> Task[Any, Any] | None: ...

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
        if isinstance(job_type, Task):
            task: Task[Any, Any] | None = job_type
        else:
            task = self._task_of(job_type) if self.tasks else None
        if options.get("watch") is not None:
            raise InvalidArgument("watch is not for batches: wait by app.wait([batch.id])")
        if task is None:
            assert not isinstance(job_type, Task)
            given = arguments.job_arguments(job_type, options)
            text = encode(payload, "the payload")
        else:
            given, text = task.job(payload, options)
        return OpenBatch(self, conn, given, text)

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

    async def _begin_batch(
        self, given: dict[str, Any], text: str, conn: "Conn | None"
    ) -> Job[Any]:
        request = EnqueueRequest(given, lambda: [json.loads(text)])
        with surrounded(self.enqueue_middlewares, request) as answer:
            answer.append(await self._add_callback(request.arguments(), text, conn))
        job: Job[Any] = answer[0]
        return job

    async def _add_callback(
        self, given: dict[str, Any], text: str, conn: "Conn | None"
    ) -> Job[Any]:
        if conn is None:
            connections, deadline = self._connections(), give_up_at(text)
            asking: Executor = await connections.borrower(deadline, adds=False)
            adding: Executor = await connections.borrower(deadline)
        else:
            # A sync call whose connection is its own knows which statement adds a job.
            adding = executor(conn)
            asking = getattr(adding, "asking", adding)
        for moment in arguments.MOMENTS & given.keys():
            given[moment] = await Database(asking, self.schema).moment(given[moment])
        app = cast(Source, self)
        job = await Database(adding, self.schema, app).batch(payload=text, **given)
        if conn is not None:
            job._source = Uncommitted(app, open_transaction(conn))
        return job
