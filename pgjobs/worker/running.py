"""The jobs that run in a worker, their leases and their timeouts."""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg

from pgjobs.connection.alarm import Alarm
from pgjobs.connection.link import BROKEN
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.handler.held_job import HeldJob, Stop

log = logging.getLogger("pgjobs.worker")

# Job id and attempt: this worker may claim a lost job again while the job's old handler still runs.
Key = tuple[int, int]


class Running:
    """Knows the running jobs, prolongs their leases, and stops lost and cancelled jobs.

    ``ended`` gives the jobs whose ends are not written yet: their leases are prolonged too.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        lease: timedelta,
        *,
        ended: Callable[[], Iterable[Key]],
    ) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease
        self._ended = ended
        self._jobs: dict[Key, tuple[HeldJob[Any], asyncio.Task[None]]] = {}
        self._cancel_requested = asyncio.Event()
        self._alarm = Alarm(self._expire)

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def job_ids(self) -> set[int]:
        """The ids of the running jobs."""
        return {job_id for job_id, _ in self._jobs}

    def start(self, key: Key, job: HeldJob[Any], run: Coroutine[Any, Any, None]) -> None:
        """Starts a job as a task of its own; ``run`` calls ``remove`` and does not raise."""
        # Not in a TaskGroup: its callback at each end costs a tenth of a short job.
        self._jobs[key] = (job, asyncio.get_running_loop().create_task(run))

    def expire_at(self, job: HeldJob[Any], deadline: float) -> None:
        """Stops a job that runs at ``deadline``, by the loop's clock."""
        job._deadline = deadline
        self._alarm.set(deadline)

    def _expire(self, now: float) -> float:
        soonest = math.inf
        for key, (job, _) in list(self._jobs.items()):
            if job._deadline <= now:
                job._deadline = math.inf
                self.cancel(key, Stop.TIMEOUT)
            else:
                soonest = min(soonest, job._deadline)
        return soonest

    def remove(self, key: Key) -> None:
        """Forgets a job that has ended."""
        self._jobs.pop(key, None)

    def on_notify_cancel(self, job_id: int) -> None:
        """Sends a heartbeat to read the job's row: any session may send notifications."""
        if job_id in self.job_ids:
            self._cancel_requested.set()

    def cancel(self, key: Key, why: Stop) -> None:
        """Cancels a handler; ``why`` decides what becomes of its job."""
        if key in self._jobs:
            job, task = self._jobs[key]
            # A handler that did not end at its timeout is cancelled again for another reason.
            if job._stop is None or job._stop is Stop.TIMEOUT:
                job._stop = why
                log.info(
                    "job %s (%s) is stopped: %s", job.id, job.job_type, why.value,
                    extra=job.log_fields,
                )
                # A task that is cancelled before its first step could not report its end.
                if job._begun:
                    task.cancel()

    def describe(self, task: asyncio.Task[Any]) -> str:
        """Names the job that a task runs, for the log."""
        for job, running in self._jobs.values():
            if running is task:
                return f"job {job.id} ({job.job_type})"
        return f"task {task.get_name()}"

    def cancel_all(self, why: Stop) -> None:
        """Cancels every handler and every timeout."""
        self._alarm.stop()
        for key in list(self._jobs):
            self.cancel(key, why)

    async def all_ended(self) -> None:
        """Waits until all running jobs have ended."""
        if tasks := [task for _, task in self._jobs.values()]:
            await asyncio.wait(tasks)

    async def heartbeats(self) -> None:
        """Sends heartbeats, every third of a lease and after a cancel request; never returns."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease.total_seconds() / 3):
                    await self._cancel_requested.wait()
            self._cancel_requested.clear()
            if held := sorted({*self._jobs, *self._ended()}):
                await self._heartbeat(held)

    async def _heartbeat(self, keys: list[Key]) -> None:
        try:
            states = await self._database.heartbeat(
                self._worker, [k[0] for k in keys], [k[1] for k in keys], self._lease
            )
        except (*BROKEN, asyncpg.PostgresError, PgjobsError) as error:
            log.warning("heartbeat failed, will retry: %r", error)
            return
        for key, state in zip(keys, states, strict=True):
            if state != "held":
                self.cancel(key, Stop.LOST if state == "lost" else Stop.CANCEL)
