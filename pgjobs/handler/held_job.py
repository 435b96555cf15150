"""A job that a worker holds, as its handler sees it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from pgjobs.connection.borrowed import borrowed, roll_back
from pgjobs.connection.executor import executor
from pgjobs.connection.link import BROKEN
from pgjobs.database import NULL_WHEN_CLAIMED, Database
from pgjobs.errors import ConnectionLost, JobNotHeld
from pgjobs.handler.host import Host
from pgjobs.handler.run import Run, Stop
from pgjobs.handler.signals import Cancel, Fail, Snooze
from pgjobs.job.job import NOT_DECODED, Job, P
from pgjobs.job.payload import encode
from pgjobs.job.progress import progress_text

if TYPE_CHECKING:
    from pgjobs.connection.executor import Conn


# A handler that is stopped may answer by any error, and its job has not failed by it.
_OUTCOMES_OF_STOPS = {
    Stop.LOST: "lost", Stop.SHUTDOWN: "released", Stop.CANCEL: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Holder:
    """What a run uses of its worker."""

    worker: str
    keep_completed: bool
    # Takes a run whose handler has just reported its progress.
    report: Callable[[Run], None] = lambda _: None


class HeldJob(Job[P]):
    """A claimed job. Handlers get ``pgjobs.RunningJob``, which adds the app's type."""

    __slots__ = ("_app", "_holder", "_run")

    def __init__(self, run: Run, app: Host, holder: Holder) -> None:
        # Decoded when the job runs: a bad payload must fail its job, not the claim.
        super().__init__(run.row, NOT_DECODED, app)
        self._run = run
        self._app = app
        self._holder = holder

    def call(self, task: Any) -> Any:
        """Calls the handler of a ``Task`` with this job; a worker does so without this method."""
        return task.handler(self)

    def _value(self, column: str) -> Any:
        if column == "progress" and self._run.progress is not None:
            return self._run.progress
        try:
            return self._row[column]
        except KeyError:
            return self._implied()[column]

    def _implied(self) -> dict[str, Any]:
        """The columns that a claim leaves out (see ``CLAIM_COLUMNS``)."""
        known = {
            "status": "processing", "worker": self._holder.worker,
            "updated_at": self._row["started_at"],
        }
        return {**dict.fromkeys(NULL_WHEN_CLAIMED), **known}

    @property
    def log_fields(self) -> dict[str, Any]:
        """``extra`` for a log line about this job."""
        return self._run.log_fields

    @property
    def stopping(self) -> bool:
        """Whether the handler should end soon.

        True from the moment at which the worker begins to stop, the timeout is over, the job's
        cancellation is requested, or the worker has lost the job. A coroutine function is cancelled
        too, at the end of the grace or at once. A plain function in a thread has to ask.
        """
        return self._run.stopping

    def outcome_of(self, error: BaseException | None) -> str:
        """What becomes of this run if it ends with this error, or without one: for a middleware.

        ``completed``; ``retried`` and ``failed``, of which only ``failed`` is for good;
        ``released`` by ``Snooze``, or because the worker stops; ``cancelled``; ``lost``;
        ``committed`` by the handler's own transaction. A timeout is an error, too. The log has the
        same words.
        """
        if self._run.is_committed:
            return "committed"
        if error is None:
            return "completed"
        if (why := self._run.why_stopped) in _OUTCOMES_OF_STOPS:
            return _OUTCOMES_OF_STOPS[why]
        match error:
            case Snooze():
                return "released"
            case Cancel():
                return "cancelled"
            case Fail():
                return "failed"
        return "retried" if self.retries_left else "failed"

    def raise_if_stopping(self) -> None:
        """Ends the run here if the handler should end: raises ``asyncio.CancelledError``.

        What becomes of the job depends on why: a worker that stops gives the job back, a timeout
        fails it, a cancellation cancels it. No ``except Exception`` catches the error.
        """
        if self._run.stopping:
            if self._run.stop is None:
                self._run.stop = Stop.SHUTDOWN
            raise asyncio.CancelledError(f"{self._run} is stopping: {self._run.stop.value}")

    def report_progress(
        self, done: float, total: float | None = None, note: str | None = None
    ) -> None:
        """Tells how far the handler is: ``job.report_progress(3, 10, "page 3")``.

        This call only notes the report in memory, so it may stand in a loop, and in a thread. The
        worker writes the latest reports of all its jobs once a second, to ``job.progress``.
        """
        self._run.progress = progress_text(done, total, note)
        self._holder.report(self._run)

    async def complete(self, result: object = None, *, conn: "Conn") -> None:
        """Completes the job in the transaction of ``conn``, together with the handler's writes.

        ``conn``: an asyncpg connection, or an SQLAlchemy ``AsyncSession`` or ``AsyncConnection``,
        which the handler commits. If the handler rolls back and raises, the job has failed as
        usual. Raises ``JobNotHeld`` if the job was lost meanwhile: then do not commit.
        """
        text = None if result is None else encode(result, "the result")
        done = await Database(executor(conn), self._app.schema).complete_many(
            self._holder.worker, [self.id], [self.attempt], [text], self._holder.keep_completed
        )
        if not done:
            raise JobNotHeld(f"job {self.id} is not held in attempt {self.attempt} any more")
        self._run.may_be_committed = True

    @asynccontextmanager
    async def transaction(self, *, result: object = None) -> AsyncIterator[asyncpg.Connection]:
        """A connection whose transaction commits the handler's writes and the job's completion.

        ``result`` is stored as the job's; a dict may still be filled inside the block. Leaving the
        block by an exception rolls everything back. Raises ``JobNotHeld``, and rolls the writes
        back, if the job was lost meanwhile; ``ConnectionLost`` if the answer to the COMMIT is lost,
        so that nobody knows whether it took place.
        """
        if self._run.is_committed:
            raise JobNotHeld(f"job {self.id} is completed already: one transaction per job")
        async with borrowed(await self._app.pool()) as connection:
            transaction = connection.transaction()
            try:
                await transaction.start()
                yield cast(asyncpg.Connection, connection)
                text = None if result is None else encode(result, "the result")
                done = await Database(connection, self._app.schema).complete_many(
                    self._holder.worker, [self.id], [self.attempt], [text],
                    self._holder.keep_completed,
                )
                if not done:
                    raise JobNotHeld(
                        f"job {self.id} is not held in attempt {self.attempt} any more"
                    )
            except BaseException:
                await roll_back(connection, transaction)
                raise
            try:
                await transaction.commit()
            except BROKEN as error:
                raise ConnectionLost(
                    f"the answer to COMMIT was lost ({error!r}): the writes and the completion of"
                    f" job {self.id} may be committed, or rolled back: look before you write again"
                ) from error
            # Now, and not after the connection is given back: that may fail or be cancelled.
            self._run.is_committed = True
