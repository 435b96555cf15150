"""The jobs that run in a worker, and their leases."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg

from .database import Database
from .errors import PgjobsError
from .execution import Stop
from .link import BROKEN
from .task import RunningJob

log = logging.getLogger("pgjobs.worker")

Key = tuple[int, int]  # id and attempt: a job that was lost may be claimed again beside its zombie


class Running:
    """Knows what runs, prolongs its leases, and stops what is lost or to be cancelled."""

    def __init__(self, database: Database, worker: str, lease: timedelta) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease
        self._jobs: dict[Key, tuple[RunningJob[Any], asyncio.Task[None]]] = {}
        self._cancel_heard = asyncio.Event()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def job_ids(self) -> set[int]:
        """What runs."""
        return {job_id for job_id, _ in self._jobs}

    def add(self, key: Key, job: RunningJob[Any], task: asyncio.Task[None]) -> None:
        """A job has begun."""
        self._jobs[key] = (job, task)

    def remove(self, key: Key) -> None:
        """It has ended."""
        del self._jobs[key]

    def hear_cancel(self, job_id: int) -> None:
        """Somebody says that a job is to be cancelled; anybody may say so, so its row is asked."""
        if job_id in self.job_ids:
            self._cancel_heard.set()

    def halt(self, key: Key, why: Stop) -> None:
        """Cancels a handler; ``why`` decides what becomes of its job."""
        if key in self._jobs:
            job, task = self._jobs[key]
            if job._stop is None:
                job._stop = why
                log.info(
                    "job %s (%s) is stopped: %s", job.id, job.job_type, why.value,
                    extra=job.log_fields,
                )  # fmt: skip
                # A task that is cancelled before its first step would never say how it ended.
                if job._begun:
                    task.cancel()

    def describe(self, task: asyncio.Task[Any]) -> str:
        """Which job a task runs, for the log."""
        for job, running in self._jobs.values():
            if running is task:
                return f"job {job.id} ({job.job_type})"
        return f"task {task.get_name()}"

    def halt_all(self, why: Stop) -> None:
        """Cancels every handler."""
        for key in list(self._jobs):
            self.halt(key, why)

    async def beat(self) -> None:
        """Prolongs the leases at a third of them, and when a cancel is heard; never returns."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease.total_seconds() / 3):
                    await self._cancel_heard.wait()
            self._cancel_heard.clear()
            if self._jobs:
                await self._beat_once(sorted(self._jobs))

    async def _beat_once(self, keys: list[Key]) -> None:
        try:
            states = await self._database.heartbeat(
                self._worker, [k[0] for k in keys], [k[1] for k in keys], self._lease
            )
        except (*BROKEN, asyncpg.PostgresError, PgjobsError) as error:
            log.warning("heartbeat failed, the next one will tell: %r", error)
            return
        for key, state in zip(keys, states, strict=True):
            if state != "held":
                self.halt(key, Stop.LOST if state == "lost" else Stop.CANCEL)
