"""``app.sync``: the verbs of an app for code without an event loop."""

import builtins
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from pgjobs.connection.blocking import finished
from pgjobs.job.job import Job
from pgjobs.job.outcome import Outcome
from pgjobs.job.payload import NO_PAYLOAD
from pgjobs.producer.arguments import BatchOptions, EnqueueOptions
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

    def enqueue_many(
        self,
        job_type: str,
        payloads: Iterable[object],
        *,
        conn: "SyncConn | None" = None,
        **options: Unpack[BatchOptions],
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
        self, job_id: int, reason: str | None = None, *, conn: "SyncConn | None" = None
    ) -> Job[Any]:
        """Does what ``App.cancel`` does."""
        return finished(self._app.cancel(job_id, reason, conn=self._app.sync_executor(conn)))

    def retry(self, job_id: int, *, conn: "SyncConn | None" = None) -> Job[Any]:
        """Does what ``App.retry`` does."""
        return finished(self._app.retry(job_id, conn=self._app.sync_executor(conn)))

    def wait(
        self, jobs: Iterable[Job[Any] | int], *, timeout: timedelta | None = None
    ) -> "builtins.list[Outcome]":
        """Does what ``App.wait`` does."""
        return finished_in_thread(self._app.wait([*jobs], timeout=timeout))

    def close(self) -> None:
        """Closes the connections of this process; the next call without ``conn`` makes others."""
        self._app.close_sync()
