"""The worker: clear the flag, claim, wait. Handlers run as tasks of their own beside it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from .arguments import check_worker
from .claimer import Claimer
from .database import Database
from .errors import InvalidArgument
from .execution import End, Stop, execute, log_end
from .interrupts import interrupts
from .link import BROKEN, Link
from .listener import Listener
from .models import Row
from .names import default_name
from .pace import Pace
from .running import Running
from .settlement import Settlement
from .task import RunningJob
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

POLL = 0.003  # seconds between claims while awake: producers are silent then
HOPS = 3  # times that workers without a free slot hand on the news of a job
HALF = 50  # jobs: a smaller claim costs the server more than taking turns gains
LINGER = 0.1  # seconds without a job, or without a slot, until a worker that is awake rests


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
        self._pace = Pace()
        self._turn = 0  # how often the turn that this worker was given may still be passed on
        self._hungry = False  # whoever frees a slot is to set the flag
        self._backlog = False  # there was more to be had than the last claim took
        self._one_by_one = False
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
        self._running = Running(self._database, self.name, lease)
        self._claimer = Claimer(
            self._database, self.name, queues=self.queues, job_types=self._types, lease=lease,
            known_ids=lambda: self._running.job_ids | self._settlement.job_ids,
            stopping=lambda: self._stopping, on_doubt=self._wake.set,
        )  # fmt: skip
        self._settlement = Settlement(
            Database(self._settle_link, schema), self.name, keep_completed=keep_completed,
            on_empty=self._settled, on_given_up=self._claimer.doubt,
        )  # fmt: skip
        self._listener = Listener(
            listen_link, schema, self.name, queues=self.queues, job_types=self._types,
            concurrency=concurrency, version=app.version, on_wake=self._wake.set,
            on_turn=self._hear_turn, on_cancel=self._running.hear_cancel,
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
                    await self._listener.connect()
                    # What a predecessor of this name held: it is gone, else the name were taken.
                    await self._database.recover(self.name)
                    with Watchdog(self._lease / 3, self._running.describe):
                        await self._work()
                finally:
                    # Off the register only if nothing is held that others would have to take back.
                    await self._listener.close(leave=not self._claimer.is_doubtful)
                    await self._claim_link.close()
                    await self._settle_link.close()
                    self.threads.shutdown(wait=False, cancel_futures=True)

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
                    async with asyncio.TaskGroup() as jobs:
                        try:
                            await self._loop(jobs)
                            await self._drain()
                        finally:
                            self._running.halt_all(Stop.SHUTDOWN)
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

    async def _loop(self, jobs: asyncio.TaskGroup) -> None:
        """Clear → claim → wait, never claim → clear: a NOTIFY in between would be lost."""
        while not self._stopping:
            self._wake.clear()
            await self._settlement.room()
            if self._stopping:
                return
            free = self.concurrency - len(self._running)
            if self._backlog:
                free = min(free, (self.concurrency + 1) // 2)
            rows: Sequence[Row] = ()
            if free > 0:
                self._listener.looked()
                rows = await self._claimer.claim(free)
            for row in rows:
                self._start(jobs, row)
            self._pace.count(len(rows))
            # While one half runs, the server claims the other.
            self._backlog = len(rows) == free and self.concurrency >= 2 * HALF
            if self._backlog and len(self._running) < self.concurrency:
                continue
            # There may be more than there were slots: whoever frees one sets the flag.
            was_hungry, self._hungry = self._hungry, self._until_empty or len(rows) >= free
            if self._until_empty:
                if not (rows or self._running or self._wake.is_set()) and self._settlement.is_empty:
                    return
                await self._wait(None)
            elif self._hungry:
                await self._when_full(HOPS if not was_hungry else self._turn - 1)
            else:
                await self._when_short()

    async def _when_full(self, hops: int) -> None:
        """Waits for a slot; what is due meanwhile is for others."""
        self._turn = 0
        if self._pace.is_busy and self._listener.resting:
            await self._quietly(self._listener.rise)
        elif hops > 0:
            await self._quietly(lambda: self._pass_on(hops))
        awake = not self._listener.resting
        if not await self._wait(LINGER if awake else None) and await self._quietly(
            self._listener.rest
        ):
            # Producers have been silent because this worker was awake.
            await self._quietly(lambda: self._pass_on(HOPS))

    async def _pass_on(self, hops: int) -> None:
        if self._listener.peers and await self._claimer.is_due():
            await self._database.wake(self.queues, hops=hops)

    def _hear_turn(self, hops: int) -> None:
        self._turn = min(hops, HOPS)  # anybody may notify, and say any number
        self._wake.set()

    async def _when_short(self) -> None:
        """Waits for jobs: by NOTIFY at rest, by polling as long as they come in quickly."""
        if self._listener.resting and not self._pace.is_busy:
            await self._wait(await self._claimer.until_due())
        elif self._listener.resting:
            await self._quietly(self._listener.rise)
        elif self._pace.idle_for < LINGER or not await self._quietly(self._listener.rest):
            # Refused while a producer's transaction is open: the longer, the less often asked.
            await self._wait(min(max(POLL, self._pace.idle_for / 20), LINGER))

    async def _wait(self, seconds: float | None) -> bool:
        """Waits for the flag; False: in vain."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                return True
        return False

    async def _quietly(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """Something that may fail with its connection, which is not this loop's to mend."""
        try:
            return await action()
        except (*BROKEN, asyncpg.PostgresError) as error:
            log.warning("resting or waking others: %r", error)
            await asyncio.sleep(LINGER)
            return None

    def _start(self, jobs: asyncio.TaskGroup, row: Row) -> None:
        job: RunningJob[Any] = RunningJob(row, self.app, self)
        key = (row["id"], row["attempt"])
        self._running.add(key, job, jobs.create_task(self._run_one(key, job)))

    async def _run_one(self, key: tuple[int, int], job: RunningJob[Any]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        outcome = await execute(self.app.tasks[job._row["job_type"]], job)
        self._running.remove(key)
        if outcome.end is not End.LOST and outcome.end is not End.SETTLED:
            self._settlement.add(*key, outcome)
        if job._row["crash_count"]:
            # Of those that were lost often a worker is given one at a time: the next one then.
            self._one_by_one = True
            self._settled()
        if self._hungry:
            self._wake.set()
        log_end(job, outcome, clock() - began)

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
