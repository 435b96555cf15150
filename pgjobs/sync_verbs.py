"""``app.sync``: the verbs of an app for code without an event loop."""

import builtins
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack, overload

from pgjobs.connection.blocking import finished
from pgjobs.flows import OpenBatch
from pgjobs.handler.task import Task
from pgjobs.job.flow import Batch, Parent
from pgjobs.job.job import Job
from pgjobs.job.outcome import Outcome
from pgjobs.job.payload import NO_PAYLOAD
from pgjobs.producer.arguments import EnqueueOptions, ManyOptions
from pgjobs.producer.new_job import NewJob
from pgjobs.verbs import ListOptions, Verbs
from pgjobs.watching.thread import finished_in_thread

if TYPE_CHECKING:
    from pgjobs.connection.blocking import SyncConn


class SyncVerbs:
    """The verbs of an app as plain functions, which block the calling thread.

    ``conn``: a psycopg ``Connection``, an SQLAlchemy ``Session`` or ``Connection``, or Django's
    connection: the call acts in its transaction. Without ``conn``, all threads of a process share
    one connection, and a call returns after its commit. Whoever waits shares another connection.
    Options and errors are those of the app.
    """

    def __init__(self, app: Verbs) -> None:
        self._app = app

    def enqueue(
        self,
        job_type: str,
        payload: object = NO_PAYLOAD,
        *,
        conn: "SyncConn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Job[Any]:
        """Does what ``App.enqueue`` does."""
        executor = self._app.sync_executor(conn, adds=True)
        return finished(self._app.enqueue(job_type, payload, conn=executor, **options))

    @overload
    def enqueue_many(
        self,
        job_type: str,
        payloads: Iterable[object],
        *,
        conn: "SyncConn | None" = None,
        **options: Unpack[ManyOptions],
    ) -> builtins.list[int]: ...
    @overload
    def enqueue_many(
        self, job_type: Iterable[NewJob[Any]], /, *, conn: "SyncConn | None" = None
    ) -> builtins.list[int]: ...
    def enqueue_many(
        self,
        job_type: Any,
        payloads: Any = None,
        *,
        conn: "SyncConn | None" = None,
        **options: Unpack[ManyOptions],
    ) -> builtins.list[int]:
        """Does what ``App.enqueue_many`` does."""
        executor = self._app.sync_executor(conn, adds=True)
        return finished(self._app.enqueue_many(job_type, payloads, conn=executor, **options))

    def get(self, job_id: int, *, conn: "SyncConn | None" = None) -> Job[Any]:
        """Does what ``App.get`` does."""
        return finished(self._app.get(job_id, conn=self._app.sync_executor(conn, reads=True)))

    def list(
        self, *, conn: "SyncConn | None" = None, **options: Unpack[ListOptions]
    ) -> builtins.list[Job[Any]]:
        """Does what ``App.list`` does."""
        return finished(self._app.list(conn=self._app.sync_executor(conn, reads=True), **options))

    def cancel(
        self,
        job_id: int,
        reason: str | None = None,
        *,
        downstream: bool = False,
        conn: "SyncConn | None" = None,
    ) -> Job[Any]:
        """Does what ``App.cancel`` does."""
        executor = self._app.sync_executor(conn)
        return finished(self._app.cancel(job_id, reason, downstream=downstream, conn=executor))

    def retry(self, job_id: int, *, conn: "SyncConn | None" = None) -> Job[Any]:
        """Does what ``App.retry`` does."""
        return finished(self._app.retry(job_id, conn=self._app.sync_executor(conn)))

    @contextmanager
    def batch(
        self,
        job_type: "str | Task[Any, Any]",
        payload: object = NO_PAYLOAD,
        *,
        conn: "SyncConn | None" = None,
        **options: Unpack[EnqueueOptions],
    ) -> Iterator[OpenBatch]:
        """Does what ``App.batch`` does: ``with app.sync.batch(...) as batch``."""
        batch = self._app.batch(job_type, payload, **options)
        batch.is_in_transaction = conn is not None
        executor = self._app.sync_executor
        finished(batch.begin(executor(conn, adds=True)))
        try:
            yield batch
        except BaseException as error:
            finished(batch.end(error, executor(conn)))
            raise
        finished(batch.end(None, executor(conn)))

    def get_batch(self, batch_id: int, *, conn: "SyncConn | None" = None) -> Batch:
        """Does what ``App.get_batch`` does."""
        executor = self._app.sync_executor(conn, reads=True)
        return finished(self._app.get_batch(batch_id, conn=executor))

    def parents(
        self, job_id: int, *, conn: "SyncConn | None" = None
    ) -> builtins.list[Parent]:
        """Does what ``App.parents`` does; for a handler that is a plain function."""
        executor = self._app.sync_executor(conn, reads=True)
        return finished(self._app.parents(job_id, conn=executor))

    def wait(
        self, jobs: Iterable[Job[Any] | int], *, timeout: timedelta | None = None
    ) -> "builtins.list[Outcome]":
        """Does what ``App.wait`` does."""
        return finished_in_thread(self._app.wait([*jobs], timeout=timeout))

    def close(self) -> None:
        """Closes the connections of this process; the next call without ``conn`` makes others."""
        self._app.close_sync()
