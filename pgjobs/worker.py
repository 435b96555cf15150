"""The worker: clear the flag, claim, wait. Handlers run as tasks of their own beside it."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .arguments import check_worker
from .claimer import Claimer
from .database import Database
from .errors import InvalidArgument
from .execution import End, Stop, execute, log_end
from .interrupts import interrupts
from .link import Link
from .listener import Listener
from .models import Row
from .names import default_name
from .running import Running
from .settlement import Settlement
from .task import RunningJob
from .waiting import Waiting
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .app import App

log = logging.getLogger("pgjobs.worker")

# A claim need not be flushed to disk: a completion that is flushed later flushes it too, and one
# that a crash of the server undoes is simply claimed again. So a claim costs no disk write.
_CLAIM_SETTINGS = {"synchronous_commit": "off"}
# A row that somebody has locked must not hold up the others' ends (see Settlement). And a statement
# that this worker gives up would wait on at the server, and keep what it has locked.
_SETTLE_SETTINGS = {"lock_timeout": "200ms"}
# A half-open LISTEN connection: the server drops it, and with it the worker's name, after 25 s.
_LISTEN_SETTINGS = {
    "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
}  # fmt: skip

HALF = 200  # jobs: a smaller claim costs the server more than taking turns gains


class Worker:
    """Claims jobs of its queues that the app has handlers for, and runs them.

    Made by ``App.worker``, which describes the arguments. ``run`` it once.
    """

    def __init__(
        self,
        app: "App",
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
        self.keep_completed = keep_completed
        self.threads = ThreadPoolExecutor(concurrency, thread_name_prefix="pgjobs")
        self._lease = lease
        self._grace = grace
        self._types = list(app.tasks)
        self._wake = asyncio.Event()
        self._hungry = False  # whoever frees a slot is to set the flag
        self._backlog = False  # there was more to be had than the last claim took
        self._ahead: asyncio.Task[Sequence[Row]] | None = None  # the next claim, under way
        self._given: Sequence[Row] = ()  # what the last one gave, and is not started yet
        self._one_by_one = False
        self._fault: Exception | None = None
        self._until_empty = False
        self._stopping = False

        schema, label = app.schema, f"pgjobs {self.name}"
        self._claim_link = Link(app.dsn, name=f"{label} claim", settings=_CLAIM_SETTINGS)
        self._settle_link = Link(app.dsn, name=f"{label} settle", settings=_SETTLE_SETTINGS)
        listen_link = Link(
            listen_dsn or app.dsn, name=f"{label} listen", settings=_LISTEN_SETTINGS, patience=4.0,
            private=True,
        )  # fmt: skip
        self._database = Database(self._claim_link, schema)
        self._running = Running(
            self._database, self.name, lease, ended=lambda: self._settlement.keys
        )
        self._claimer = Claimer(
            self._database, self.name, queues=self.queues, job_types=self._types, lease=lease,
            known_ids=self._known_ids,
            stopping=lambda: self._stopping, on_doubt=self._wake.set,
        )  # fmt: skip
        self._settlement = Settlement(
            Database(self._settle_link, schema), self.name, keep_completed=keep_completed,
            on_empty=self._settled, on_given_up=self._claimer.doubt,
        )  # fmt: skip
        self._listener = Listener(
            listen_link, schema, self.name, queues=self.queues, job_types=self._types,
            concurrency=concurrency, version=app.version, on_wake=self._wake.set,
            on_turn=lambda hops: self._waiting.hear_turn(hops),  # noqa: PLW0108 - made below
            on_cancel=self._running.hear_cancel,
        )  # fmt: skip
        self._waiting = Waiting(
            self._wake, self._listener, self._claimer,
            pass_on=lambda hops: self._database.signal(self.queues, hops=hops),
        )  # fmt: skip

    def stop(self) -> None:
        """Begins a graceful stop: no more claims; running jobs have the grace period to end."""
        if not self._stopping:
            log.info("worker %s stops: %d jobs are running", self.name, len(self._running))
        self._stopping = True
        self._settlement.make_room()
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
                    # Off the register only if nothing is held that others would have to take back.
                    await self._listener.close(leave=not self._claimer.is_doubtful)
                    await self._claim_link.close()
                    await self._settle_link.close()
                    self.threads.shutdown(wait=False, cancel_futures=True)

    async def _connect(self) -> None:
        # All are waited for, also where one fails: none is left to be made behind our back.
        links = (self._listener, self._claim_link, self._settle_link)
        for made in await asyncio.gather(*(x.connect() for x in links), return_exceptions=True):
            if isinstance(made, BaseException):
                raise made
        # What a predecessor of this name held: it is gone, else the name were taken.
        await self._database.recover(self.name)

    async def _work(self) -> None:
        log.info(
            "worker %s: queues %s, concurrency %d, types %s",
            self.name, self.queues, self.concurrency, self._types,
        )  # fmt: skip
        failure: BaseException | None = None
        async with asyncio.TaskGroup() as settling:
            settling.create_task(self._settlement.run())
            try:
                async with asyncio.TaskGroup() as background:
                    beside = [
                        background.create_task(self._listener.run()),
                        background.create_task(self._running.beat()),
                    ]
                    try:
                        await self._loop()
                        await self._drain()
                        if self._fault is not None:
                            raise self._fault
                    finally:
                        if self._ahead:
                            self._ahead.cancel()
                        self._running.halt_all(Stop.SHUTDOWN)
                        await self._running.all_ended()
                    for task in beside:
                        task.cancel()
            except BaseExceptionGroup as group:
                failure = group
                while isinstance(failure, BaseExceptionGroup):
                    failure = failure.exceptions[0]
            except asyncio.CancelledError as cancelled:
                failure = cancelled
            # Whatever happened, what has ended and what is given back is written first.
            self._settlement.close()
        if failure is not None or len(self._running) or self._claimer.is_doubtful:
            await self._claimer.give_back_all()
        log.info("worker %s has stopped", self.name)
        if failure is not None:
            raise failure

    async def _loop(self) -> None:
        free = 0
        while self._ahead or not self._stopping:
            if not self._ahead:
                await self._settlement.room()
                if self._stopping:
                    return
                free = self._free()
            rows = await (self._ahead or self._look(free))
            self._ahead = None
            self._waiting.count(len(rows))
            self._backlog = len(rows) == free and self.concurrency >= 2 * HALF
            if self._backlog and self._settlement.has_room and self._free(len(rows)) > 0:
                # While one half runs, the server claims the other: it is told to before these run.
                free = self._free(len(rows))
                self._given = rows
                self._ahead = asyncio.create_task(self._look(free))
                await asyncio.sleep(0)
            for row in rows:
                self._start(row)
            self._given = ()
            if self._ahead:
                continue
            # There may be more than there were slots: whoever frees one sets the flag.
            was_hungry, self._hungry = self._hungry, self._until_empty or len(rows) >= free
            if self._until_empty:
                if not (rows or self._running or self._wake.is_set()) and self._settlement.is_empty:
                    return
                await self._wake.wait()
            elif self._hungry:
                await self._waiting.for_a_slot(first=not was_hungry)
            else:
                await self._waiting.for_jobs()

    def _known_ids(self) -> set[int]:
        given = {row["id"] for row in self._given}
        return self._running.job_ids | {job_id for job_id, _ in self._settlement.keys} | given

    def _free(self, taken: int = 0) -> int:
        """Slots for the next claim, when so many jobs more have been taken."""
        free = self.concurrency - len(self._running) - taken
        return min(free, (self.concurrency + 1) // 2) if self._backlog else free

    async def _look(self, free: int) -> Sequence[Row]:
        """Clear → claim → wait, never claim → clear: a NOTIFY in between would be lost."""
        self._wake.clear()
        if free <= 0:
            return ()
        self._listener.looked()
        return await self._claimer.claim(free)

    def _start(self, row: Row) -> None:
        job: RunningJob[Any] = RunningJob(row, self.app, self)
        key = (row["id"], row["attempt"])
        self._running.start(key, job, self._run(key, job))

    async def _run(self, key: tuple[int, int], job: RunningJob[Any]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            task = self.app.tasks[job._row["job_type"]]
            if task.timeout is not None:
                self._running.expire_at(job, began + task.timeout.total_seconds())
            outcome = await execute(task, job)
            self._running.remove(key)
            if self._hungry:
                # First, so that the claim for this slot is sent before what is to be written.
                self._wake.set()
            if outcome.end is not End.LOST and outcome.end is not End.SETTLED:
                self._settlement.add(*key, outcome)
            if job._row["crash_count"]:
                # Of those that were lost often a worker is given one at a time: the next one then.
                self._one_by_one = True
                self._settled()
            log_end(job, outcome, clock() - began)
        except Exception as error:  # noqa: BLE001
            # No handler's fault, but one of this code: the worker ends by it, as by any other.
            self._running.remove(key)
            self._fault = error
            self.stop()

    def _settled(self) -> None:
        if self._until_empty or self._stopping or self._one_by_one:
            self._one_by_one = not self._settlement.is_empty
            self._wake.set()

    async def _drain(self) -> None:
        """Lets running jobs end within the grace period, then gives the rest back."""
        deadline = asyncio.get_running_loop().time() + self._grace.total_seconds()
        self._hungry = True  # each end sets the flag
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self._running:
                    self._wake.clear()
                    await self._wake.wait()
