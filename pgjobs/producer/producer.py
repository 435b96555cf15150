"""Enqueues jobs one by one; calls that come at once share a statement, and one flush to disk."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from pgjobs.connection.link import BROKEN, Link
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.job.job import Job, Row
from pgjobs.producer.arguments import as_item

# A larger statement gains nothing.
MAX_BATCH_JOBS = 500

Request = tuple[dict[str, Any], str, "asyncio.Future[Job[Any]]"]


class Producer:
    """Calls that come in while a statement is under way share the next one.

    Each call gets its own row or its own error, and returns only after the commit.
    """

    def __init__(self, link: Link, schema: str) -> None:
        self._link = link
        self._database = Database(link, schema)
        self._waiting: list[Request] = []
        self._sending: asyncio.Future[None] | None = None  # done when the statement has ended
        self._last_was_shared = False

    @staticmethod
    def takes(arguments: dict[str, Any]) -> bool:
        """Whether a job with these arguments may share a statement with other jobs.

        Two callers may give the same unique key, and only the database's clock can add a delay.
        """
        return "unique_key" not in arguments and not isinstance(arguments.get("run_at"), timedelta)

    async def enqueue(self, arguments: dict[str, Any], payload: str) -> Job[Any]:
        """Adds one job. ``arguments`` are those of ``Database.enqueue``, ``payload`` JSON text."""
        loop = asyncio.get_running_loop()
        is_idle = self._sending is None or self._sending.done()
        if is_idle and not self._last_was_shared:
            # Most calls come one after the other. Send them here: a task costs 4 % of a statement.
            # When the last statement was shared, queue up, or each round needs two statements.
            self._sending = sent = loop.create_future()
            try:
                return await self._database.enqueue(payload=payload, **arguments)
            finally:
                sent.set_result(None)
                if self._waiting:
                    self._sending = asyncio.create_task(self._send(), name="pgjobs producer")
        done: asyncio.Future[Job[Any]] = loop.create_future()
        self._waiting.append((arguments, payload, done))
        if is_idle:
            self._sending = asyncio.create_task(self._send(), name="pgjobs producer")
        return await done

    async def close(self) -> None:
        """Sends the waiting calls, then disconnects."""
        while self._sending is not None and not self._sending.done():
            await asyncio.wait([self._sending])
        await self._link.close()

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH_JOBS], self._waiting[MAX_BATCH_JOBS:]
            # A caller that was cancelled before its job was sent does not want the job any more.
            batch = [request for request in batch if not request[2].done()]
            self._last_was_shared = len(batch) > 1
            try:
                if len(batch) < 2 or not await self._send_shared(batch):
                    for request in batch:
                        await self._send_one(request)
            except BaseException as error:
                for _, _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                if not isinstance(error, Exception):
                    raise

    async def _send_one(self, request: Request) -> None:
        arguments, payload, done = request
        try:
            job = await self._database.enqueue(payload=payload, **arguments)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(job)

    async def _send_shared(self, batch: Sequence[Request]) -> bool:
        """Sends one statement for all; False: one call was refused, so no job was added."""
        try:
            rows: Sequence[Row] = await self._database.enqueue_together(
                [_as_json(arguments, payload) for arguments, payload, _ in batch]
            )
        except BROKEN:
            # The commit may have happened; only the callers can decide to try again.
            raise
        except (asyncpg.PostgresError, PgjobsError):
            return False
        for (_, _, done), row in zip(batch, rows, strict=True):
            if not done.done():
                done.set_result(Job.from_row(row))
        return True


def _as_json(arguments: dict[str, Any], payload: str) -> str:
    """The object that _jobs_unpack reads; the payload is JSON text already."""
    return f'{json.dumps(as_item(arguments))[:-1]}, "payload": {payload}}}'
