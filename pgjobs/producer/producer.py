"""Enqueues jobs one by one; calls that come at once share a statement, and one flush to disk."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
from pydantic_core import PydanticSerializationError, to_json

from pgjobs.connection.alarm import Alarm
from pgjobs.connection.link import BROKEN, Link
from pgjobs.connection.patience import give_up_at, lost
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.job.job import Job, Row, Source
from pgjobs.producer.arguments import ALONE, MOMENTS, RARE, as_item
from pgjobs.producer.batch import with_payload

# A larger statement gains nothing.
MAX_BATCH_JOBS = 500
# A statement that ends by itself, or that waits for its connection, is looked at again so often.
_LOOK_AGAIN_S = 0.5


@dataclass(slots=True, eq=False)
class Request:
    """A call that waits for a statement, or for the answer to it."""

    arguments: dict[str, Any]
    payload: str
    done: "asyncio.Future[Job[Any]]"
    give_up_at: float
    is_sent: bool = False

    def give_up(self, error: BaseException, link: Link) -> None:
        """Gives the caller, if there still is one, an error of its own."""
        if not self.done.done():
            if isinstance(error, BROKEN):
                error = lost(error, is_sent=self.is_sent, unreached=link.unreached)
            self.done.set_exception(error)


class Producer:
    """Calls that come in while a statement is under way share the next one.

    Each call gets its own row or its own error, and returns only after the commit. A call without
    an answer gives up after ``PATIENCE_S``, wherever it stands then.
    """

    def __init__(self, link: Link, schema: str) -> None:
        self._link = link
        self._database = Database(link, schema)
        self._waiting: list[Request] = []
        self._batch: Sequence[Request] = ()  # the calls that the task sends now
        self._sending: asyncio.Future[None] | None = None  # done when the statement has ended
        self._last_was_shared = False
        self._alarm = Alarm(self._give_up)
        self._lone_gives_up_at = math.inf  # of the call that is sent without a task

    @staticmethod
    def takes(arguments: dict[str, Any]) -> bool:
        """Whether a job with these arguments may share a statement with other jobs.

        Two callers may give the same unique key, and only the database's clock can add a delay.
        """
        return ALONE.isdisjoint(arguments) and not any(
            isinstance(arguments.get(moment), timedelta) for moment in MOMENTS
        )

    async def enqueue(self, arguments: dict[str, Any], payload: str, app: Source) -> Job[Any]:
        """Adds one job. ``arguments`` are those of ``Database.enqueue``, ``payload`` JSON text.

        ``app``: what the job is read again by; not kept here, because this producer must not keep
        its app alive. Raises ``ConnectionLost`` if no answer comes.
        """
        loop = asyncio.get_running_loop()
        deadline = give_up_at(payload)
        self._alarm.set(deadline)
        is_idle = self._sending is None or self._sending.done()
        if is_idle and not self._last_was_shared:
            # Most calls come one after the other. Send them here: a task costs 4 % of a statement.
            # When the last statement was shared, queue up, or each round needs two statements.
            self._sending = sent = loop.create_future()
            self._lone_gives_up_at = deadline
            is_sent = False
            try:
                await self._link.connect()
                is_sent = True
                job = await self._database.enqueue(payload=payload, **arguments)
                job._source = app
                return job
            except BROKEN as error:
                raise lost(error, is_sent=is_sent, unreached=self._link.unreached) from error
            finally:
                self._lone_gives_up_at = math.inf
                sent.set_result(None)
                if self._waiting:
                    self._sending = asyncio.create_task(self._send(), name="pgjobs producer")
        done: asyncio.Future[Job[Any]] = loop.create_future()
        self._waiting.append(Request(arguments, payload, done, deadline))
        if is_idle:
            self._sending = asyncio.create_task(self._send(), name="pgjobs producer")
        job = await done
        job._source = app
        return job

    async def close(self) -> None:
        """Sends the waiting calls, then disconnects."""
        while self._sending is not None and not self._sending.done():
            await asyncio.wait([self._sending])
        self._alarm.stop()
        await self._link.close()

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH_JOBS], self._waiting[MAX_BATCH_JOBS:]
            self._batch = batch
            try:
                await self._link.connect()
                # A caller that was cancelled or gave up before its job was sent does not want the
                # job any more.
                batch = [request for request in batch if not request.done.done()]
                self._last_was_shared = len(batch) > 1
                if len(batch) < 2 or not await self._send_shared(batch):
                    for request in batch:
                        await self._send_one(request)
            except BaseException as error:
                for request in batch:
                    request.give_up(error, self._link)
                if not isinstance(error, Exception):
                    raise
            finally:
                self._batch = ()

    async def _send_one(self, request: Request) -> None:
        try:
            await self._link.connect()
            if request.done.done():
                return
            request.is_sent = True
            job = await self._database.enqueue(payload=request.payload, **request.arguments)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            request.give_up(error, self._link)
        else:
            if not request.done.done():
                request.done.set_result(job)

    async def _send_shared(self, batch: Sequence[Request]) -> bool:
        """Sends one statement for all; False: one call was refused, so no job was added."""
        try:
            items = list(_items(batch))
            for request in batch:
                request.is_sent = True
            is_plain = all(RARE.isdisjoint(request.arguments) for request in batch)
            rows: Sequence[Row] = await self._database.enqueue_together(items, is_plain)
        except BROKEN:
            # The commit may have happened; only the callers can decide to try again.
            raise
        except (asyncpg.PostgresError, PgjobsError, PydanticSerializationError):
            for request in batch:
                request.is_sent = False
            return False
        for request, row in zip(batch, rows, strict=True):
            if not request.done.done():
                request.done.set_result(Job.from_row(row, is_new=True))
        return True

    def _give_up(self, now: float) -> float:
        """Ends the calls whose patience is over; returns when the next call's will be."""
        for request in (*self._batch, *self._waiting):
            if request.give_up_at <= now:
                request.give_up(TimeoutError(), self._link)
        is_over = self._lone_gives_up_at <= now
        if is_over or (self._batch and all(request.done.done() for request in self._batch)):
            # Nobody waits for this statement. Dropping it lets the calls behind it have a turn.
            self._link.drop()
            return now + _LOOK_AGAIN_S
        open_calls = (r.give_up_at for r in (*self._batch, *self._waiting) if not r.done.done())
        # Not at once again, or a thousand calls of one moment would be looked at a thousand times.
        return max(min(self._lone_gives_up_at, *open_calls, math.inf), now + _LOOK_AGAIN_S / 10)


def _items(batch: Sequence[Request]) -> Iterator[str]:
    """The objects of the calls, as JSON text."""
    last: dict[str, Any] = {}
    item = ""
    for request in batch:
        # Most calls that come at once have the same options.
        if request.arguments != last:
            last, item = request.arguments, to_json(as_item(request.arguments)).decode()
        yield with_payload(item, request.payload)
