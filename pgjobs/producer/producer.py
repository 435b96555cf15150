"""Enqueues one by one, and together when many ask at once: one statement, one flush to disk."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from pgjobs.connection.link import BROKEN, Link
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.job.job import Job, Row

# As many jobs go into one statement; more gain nothing.
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
        self._sending: asyncio.Future[None] | None = None  # a statement is under way until then
        self._crowded = False  # the last statement was shared

    async def enqueue(self, arguments: dict[str, Any], payload: str) -> Job[Any]:
        """Adds one job. ``arguments`` are those of ``Database.enqueue``, ``payload`` JSON text."""
        loop = asyncio.get_running_loop()
        is_idle = self._sending is None or self._sending.done()
        if is_idle and not self._crowded:
            # One after the other, as most come: a task apart costs 4 % of the statement.
            # Among many at once, though, nobody goes ahead, or each round would take two of them.
            self._sending = turn = loop.create_future()
            try:
                return await self._database.enqueue(payload=payload, **arguments)
            finally:
                turn.set_result(None)
                if self._waiting:
                    self._sending = asyncio.create_task(self._send(), name="pgjobs producer")
        done: asyncio.Future[Job[Any]] = loop.create_future()
        self._waiting.append((arguments, payload, done))
        if is_idle:
            self._sending = asyncio.create_task(self._send(), name="pgjobs producer")
        return await done

    async def close(self) -> None:
        """Sends what waits, then hangs up."""
        while self._sending is not None and not self._sending.done():
            await asyncio.wait([self._sending])
        await self._link.close()

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH_JOBS], self._waiting[MAX_BATCH_JOBS:]
            # Whoever has stopped waiting before it was sent does not want it any more.
            batch = [request for request in batch if not request[2].done()]
            self._crowded = len(batch) > 1
            try:
                if len(batch) < 2 or not await self._together(batch):
                    for request in batch:
                        await self._alone(request)
            except BaseException as error:
                for _, _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                if not isinstance(error, Exception):
                    raise

    async def _alone(self, request: Request) -> None:
        arguments, payload, done = request
        try:
            job = await self._database.enqueue(payload=payload, **arguments)
        except Exception as error:  # noqa: BLE001 - it is the caller's, who waits for it
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(job)

    async def _together(self, batch: Sequence[Request]) -> bool:
        """False: one of them was refused, so none was added; each then hears for itself."""
        try:
            rows: Sequence[Row] = await self._database.enqueue_together(
                [_as_json(arguments, payload) for arguments, payload, _ in batch]
            )
        except BROKEN:
            # Perhaps they were added: nobody may send them again but those who asked for them.
            raise
        except (asyncpg.PostgresError, PgjobsError):
            return False
        for (_, _, done), row in zip(batch, rows, strict=True):
            if not done.done():
                done.set_result(Job.from_row(row))
        return True


def _as_json(arguments: dict[str, Any], payload: str) -> str:
    """The object that _jobs_unpack reads; the payload is text that is JSON already."""
    head = json.dumps({key: value for key, value in arguments.items() if value is not None})
    return f'{head[:-1]}{", " if len(head) > 2 else ""}"payload": {payload}}}'
