"""The worker's loop: clear ``_wake``, claim, wait. Each handler runs in its own task."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from typing import Any, Protocol

from pgjobs.database import Database
from pgjobs.errors import InvalidArgument
from pgjobs.handler.held_job import HeldJob, Holder, Stop
from pgjobs.handler.host import Host
from pgjobs.handler.task import Task
from pgjobs.job.job import Row
from pgjobs.worker.arguments import check_worker, default_name
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.execution import execute, log_end
from pgjobs.worker.interrupts import interrupts
from pgjobs.worker.links import Links
from pgjobs.worker.listener import Listener
from pgjobs.worker.outcome import End
from pgjobs.worker.running import Running
from pgjobs.worker.settlement import Settlement
from pgjobs.worker.waiting import Waiting
from pgjobs.worker.watchdog import Watchdog

log = logging.getLogger("pgjobs.worker")

# From here on the server claims jobs for half of the slots while the other half runs. With fewer,
# smaller claims cost the server more than the overlap gains.
PREFETCH_FROM_SLOTS = 400


class WorkerApp(Host, Protocol):
    """The app as its worker sees it."""

    tasks: dict[str, Task[Any, Any]]

    @property
    def dsn(self) -> str: ...
    @property
    def version(self) -> str: ...
    def lifespan(self) -> AbstractAsyncContextManager[None]: ...
    def held_job(self, row: Row, holder: Holder) -> HeldJob[Any]: ...


class Worker:
    """Claims jobs of its queues that the app has handlers for, and runs them.

    Made by ``App.worker``, which describes the arguments. ``run`` it once.
    """

    def __init__(
        self,
        app: WorkerApp,
        *,
        queues: Sequence[str],
        concurrency: int,
        name: str | None,
        lease: timedelta,
        grace: timedelta,
        keep_completed: bool,
        listen_dsn: str | None,
    ) -> None:
        check_worker(queues, concurrency, name, lease, grace)
        self.app = app
        self.name = name or default_name()
        self.queues = list(dict.fromkeys(queues))
        self.concurrency = concurrency
        self.threads = ThreadPoolExecutor(concurrency, thread_name_prefix="pgjobs")
        self._holder = Holder(self.name, keep_completed, self.threads)
        self._lease = lease
        self._grace = grace
        self._types = list(app.tasks)
        self._wake = asyncio.Event()
        self._claim_when_slot_frees = False
        self._prefetching = False  # the last claim was full, with 400+ slots
        self._next_claim: asyncio.Task[Sequence[Row]] | None = None  # sent before _claimed runs
        self._claimed: Sequence[Row] = ()  # rows of the last claim that are not started yet
        self._ended_suspect = False
        self._internal_error: Exception | None = None
        self._until_empty = False
        self._stopping = False

        schema = app.schema
        self._links = Links(app.dsn, listen_dsn, self.name)
        self._database = Database(self._links.claim, schema)
        self._running = Running(
            self._database, self.name, lease, ended=lambda: self._settlement.keys
        )
        self._claimer = Claimer(
            self._database, self.name, queues=self.queues, job_types=self._types, lease=lease,
            known_ids=self._known_ids, stopping=lambda: self._stopping,
            on_release_due=self._wake.set,
        )
        self._settlement = Settlement(
            Database(self._links.settle, schema), self.name, keep_completed=keep_completed,
            on_all_written=self._on_all_written, on_given_up=self._claimer.release_at_next_claim,
        )
        self._listener = Listener(
            self._links.listen, schema, self.name, queues=self.queues, job_types=self._types,
            concurrency=concurrency, version=app.version, on_wake=self._wake.set,
            on_turn=lambda left: self._waiting.on_turn(left),  # noqa: PLW0108 - made below
            on_cancel=self._running.on_notify_cancel,
        )
        self._waiting = Waiting(
            self._wake, self._listener, self._claimer,
            pass_on=lambda left: self._database.signal(self.queues, hops=left),
        )

    def stop(self) -> None:
        """Begins a graceful stop: no more claims; running jobs have the grace period to end."""
        if not self._stopping:
            log.info("worker %s stops: %d jobs are running", self.name, len(self._running))
        self._stopping = True
        self._settlement.stop_throttling()
        self._wake.set()

    async def run(self, *, until_empty: bool = False) -> None:
        """Works until stopped by ``stop``, SIGTERM or SIGINT; or until nothing is due.

        Raises ``WorkerNameTaken`` if a living worker has its name, ``SchemaMismatch`` if the tables
        are missing, and the driver's error if the database cannot be reached at the start. Later,
        lost connections are made again, with a warning.
        """
        if not self._types:
            raise InvalidArgument("the app has no handlers: decorate one with @app.job(...)")
        self._until_empty = until_empty
        with interrupts(self.stop):
            async with self.app.lifespan():
                try:
                    await self._connect()
                    with Watchdog(self._lease / 3, self._running.describe):
                        await self._work()
                finally:
                    # If jobs may still be held, other workers must find this one dead.
                    await self._listener.close(leave=not self._claimer.may_hold_unknown)
                    await self._links.claim.close()
                    await self._links.settle.close()
                    self.threads.shutdown(wait=False, cancel_futures=True)

    async def _connect(self) -> None:
        # Wait for all even if one fails: a later connection would never be closed.
        links = (self._listener, self._links.claim, self._links.settle)
        for made in await asyncio.gather(*(x.connect() for x in links), return_exceptions=True):
            if isinstance(made, BaseException):
                raise made
        # The name was free, so its last holder is dead: take back its jobs.
        await self._database.recover(self.name)

    async def _work(self) -> None:
        log.info(
            "worker %s: queues %s, concurrency %d, types %s",
            self.name, self.queues, self.concurrency, self._types,
        )
        failure: BaseException | None = None
        async with asyncio.TaskGroup() as settling:
            settling.create_task(self._settlement.run())
            try:
                async with asyncio.TaskGroup() as background:
                    background_tasks = [
                        background.create_task(self._listener.run()),
                        background.create_task(self._running.heartbeats()),
                    ]
                    try:
                        await self._loop()
                        await self._wait_for_running()
                        if self._internal_error is not None:
                            raise self._internal_error
                    finally:
                        if self._next_claim:
                            self._next_claim.cancel()
                        self._running.cancel_all(Stop.SHUTDOWN)
                        await self._running.all_ended()
                    for task in background_tasks:
                        task.cancel()
            except BaseExceptionGroup as group:
                failure = group
                while isinstance(failure, BaseExceptionGroup):
                    failure = failure.exceptions[0]
            except asyncio.CancelledError as cancelled:
                failure = cancelled
            # Whatever happened, first write the ends of jobs and the releases.
            self._settlement.close()
        if failure is not None or len(self._running) or self._claimer.may_hold_unknown:
            await self._claimer.release_all()
        log.info("worker %s has stopped", self.name)
        if failure is not None:
            raise failure

    async def _loop(self) -> None:
        slots = 0
        while self._next_claim or not self._stopping:
            if not self._next_claim:
                await self._settlement.wait_for_room()
                if self._stopping:
                    return
                slots = self._free_slots()
            rows = await (self._next_claim or self._claim(slots))
            self._next_claim = None
            self._waiting.count(len(rows))
            self._prefetching = len(rows) == slots and self.concurrency >= PREFETCH_FROM_SLOTS
            left = self._free_slots(taken=len(rows)) if self._prefetching else 0
            if left > 0 and self._settlement.has_room:
                # Send the next claim before starting these rows: the server works while we do.
                slots, self._claimed = left, rows
                self._next_claim = asyncio.create_task(self._claim(slots))
                await asyncio.sleep(0)
            for row in rows:
                self._start(row)
            self._claimed = ()
            if self._next_claim:
                continue
            # A full claim may have left due jobs: claim again as soon as a slot is free.
            waited_for_slot = self._claim_when_slot_frees
            self._claim_when_slot_frees = self._until_empty or len(rows) >= slots
            if self._until_empty:
                if not (rows or self._running or self._wake.is_set()) and self._settlement.is_empty:
                    return
                await self._wake.wait()
            elif self._claim_when_slot_frees:
                await self._waiting.for_a_slot(first=not waited_for_slot)
            else:
                await self._waiting.for_jobs()

    def _known_ids(self) -> set[int]:
        """The jobs that this worker knows it holds: claimed, running, or ended and not written."""
        claimed = {row["id"] for row in self._claimed}
        return self._running.job_ids | {job_id for job_id, _ in self._settlement.keys} | claimed

    def _free_slots(self, taken: int = 0) -> int:
        """Slots for the next claim, once ``taken`` jobs have started."""
        free = self.concurrency - len(self._running) - taken
        return min(free, (self.concurrency + 1) // 2) if self._prefetching else free

    async def _claim(self, slots: int) -> Sequence[Row]:
        """Clears ``_wake``, then claims: the other order could lose a notification."""
        self._wake.clear()
        if slots <= 0:
            return ()
        self._listener.claim_made()
        return await self._claimer.claim(slots)

    def _start(self, row: Row) -> None:
        job = self.app.held_job(row, self._holder)
        key = (row["id"], row["attempt"])
        self._running.start(key, job, self._run(key, job))

    async def _run(self, key: tuple[int, int], job: HeldJob[Any]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            task = self.app.tasks[job._row["job_type"]]
            if task.timeout is not None:
                self._running.expire_at(job, began + task.timeout.total_seconds())
            outcome = await execute(task, job)
            self._running.remove(key)
            if self._claim_when_slot_frees:
                # Before add(), so that the claim for this slot goes out before the write.
                self._wake.set()
            if outcome.end is not End.LOST and outcome.end is not End.COMMITTED:
                self._settlement.add(*key, outcome)
            if job._row["crash_count"]:
                # A worker holds one suspect at most: claim the next when this end is written.
                self._ended_suspect = True
                self._on_all_written()
            log_end(job, outcome, clock() - began)
        except Exception as error:  # noqa: BLE001
            # A bug in pgjobs itself: stop the worker and raise the error from run().
            self._running.remove(key)
            self._internal_error = error
            self.stop()

    def _on_all_written(self) -> None:
        if self._until_empty or self._stopping or self._ended_suspect:
            self._ended_suspect = not self._settlement.is_empty
            self._wake.set()

    async def _wait_for_running(self) -> None:
        """Lets running jobs end within the grace period."""
        deadline = asyncio.get_running_loop().time() + self._grace.total_seconds()
        self._claim_when_slot_frees = True  # each end sets _wake
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self._running:
                    self._wake.clear()
                    await self._wake.wait()
