"""The worker: clear the flag, claim, wait. Handlers run as tasks of their own beside it."""

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from .database import Database
from .errors import InvalidArgument, PgjobsError
from .execution import End, Outcome, Stop, execute
from .floors import Floors
from .link import BROKEN, Link, persist
from .listener import Listener
from .models import Row
from .pace import Pace
from .settlement import Settlement
from .task import RunningJob

if TYPE_CHECKING:
    from .app import App

log = logging.getLogger("pgjobs.worker")

# A claim need not be flushed to disk: a completion that is flushed later flushes it too, and one
# that a crash of the server undoes is simply claimed again. So a claim costs no disk write.
_CLAIM_SETTINGS = {"synchronous_commit": "off"}
# A half-open LISTEN connection: the server drops it, and with it the worker's name, after 25 s.
_LISTEN_SETTINGS = {
    "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
}  # fmt: skip

POLL = 0.003  # seconds between claims while awake: producers are silent then
LINGER = 0.1  # seconds without a job, or without a slot, until a worker that is awake rests
LOCKED = 0.1  # seconds to wait for a due job that somebody else has locked


def default_name() -> str:
    """Host, process and a random part: unlike any other worker's."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


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
        if concurrency < 1:
            raise InvalidArgument(f"concurrency must be 1 or more, not {concurrency}")
        if isinstance(queues, str) or not queues:
            raise InvalidArgument("queues must be a list of one or more names")
        if lease < timedelta(seconds=3):
            raise InvalidArgument(f"lease must be at least 3 seconds, not {lease}")
        self.app = app
        self.name = name or default_name()
        self.queues = list(dict.fromkeys(queues))
        self.concurrency = concurrency
        self.keep_completed = keep_completed
        self.threads = ThreadPoolExecutor(concurrency, thread_name_prefix="pgjobs")
        self._lease = lease
        self._grace = grace
        self._running: dict[int, tuple[RunningJob[Any], asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._cancel_heard = asyncio.Event()
        self._pace = Pace()
        self._hungry = False
        self._until_empty = False
        self._stopping = False
        self._signals = 0
        self._floors = Floors()

        self._types = list(app.tasks)
        dsn, schema = app.dsn, app.schema
        label = f"pgjobs {self.name}"
        self._claim_link = Link(dsn, name=f"{label} claim", settings=_CLAIM_SETTINGS)
        self._settle_link = Link(dsn, name=f"{label} settle")
        self._database = Database(self._claim_link, schema)
        self._settlement = Settlement(
            self._settle_link, schema, self.name, keep_completed=keep_completed,
            on_lost=lambda job_id: self._halt(job_id, Stop.LOST), on_empty=self._settled,
        )  # fmt: skip
        self._listener = Listener(
            Link(
                listen_dsn or dsn, name=f"{label} listen", settings=_LISTEN_SETTINGS, patience=5.0
            ),
            schema, self.name, queues=self.queues, job_types=self._types,
            concurrency=concurrency, version=app.version, on_wake=self._wake.set,
            on_cancel=self._hear_cancel,
        )  # fmt: skip

    def stop(self) -> None:
        """Begins a graceful stop: no more claims; running jobs have the grace period to end."""
        if not self._stopping:
            log.info("worker %s stops: %d jobs are running", self.name, len(self._running))
        self._stopping = True
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
        with _Signals(self):
            async with self.app.lifespan():
                try:
                    await self._listener.connect()
                    # What a predecessor of this name held: it is gone, else the name were taken.
                    await self._database.recover(self.name)
                    await self._work()
                finally:
                    await self._listener.close()
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
                        background.create_task(self._beat()),
                    ]
                    async with asyncio.TaskGroup() as jobs:
                        await self._loop(jobs)
                        await self._drain()
                    for task in beside:
                        task.cancel()
            except BaseExceptionGroup as group:
                failure = group.exceptions[0]
            except asyncio.CancelledError as cancelled:
                failure = cancelled
            # Whatever happened, what has ended and what is given back is written first.
            self._settlement.close()
        log.info("worker %s has stopped", self.name)
        if failure is not None:
            raise failure

    async def _loop(self, jobs: asyncio.TaskGroup) -> None:
        """Clear → claim → wait, never claim → clear: a NOTIFY in between would be lost."""
        while not self._stopping:
            self._wake.clear()
            await self._settlement.room()
            free = self.concurrency - len(self._running)
            rows = await self._claim(free) if free > 0 else []
            for row in rows:
                self._start(jobs, row)
            self._pace.count(len(rows))
            # There may be more than there were slots: whoever frees one sets the flag.
            self._hungry = self._until_empty or len(rows) >= free
            if self._until_empty:
                if not (rows or self._running or self._wake.is_set()) and self._settlement.is_empty:
                    return
                await self._wait(None)
            elif self._hungry:
                await self._when_full()
            else:
                await self._when_short()

    async def _when_full(self) -> None:
        """Waits for a slot; if that takes long, others must be woken instead of counting on us."""
        if self._pace.is_busy and self._listener.resting:
            await self._quietly(self._listener.rise)
        awake = not self._listener.resting
        if not await self._wait(LINGER if awake else None) and await self._quietly(
            self._listener.rest
        ):
            await self._quietly(lambda: self._database.wake(self.queues))

    async def _when_short(self) -> None:
        """Waits for jobs: by NOTIFY at rest, by polling as long as they come in quickly."""
        if self._listener.resting and not self._pace.is_busy:
            await self._wait(await self._until_due())
        elif self._listener.resting:
            await self._quietly(self._listener.rise)
        elif self._pace.idle_for < LINGER or not await self._quietly(self._listener.rest):
            await self._wait(POLL)

    async def _claim(self, free: int) -> Sequence[Row]:
        """Claims; with floors where it may, and without them before it believes in emptiness."""
        floors = self._floors.known()
        try:
            rows = await self._database.claim(
                self.name, self.queues, free, self._lease, self._types, floors
            )
            self._floors.learn(rows, complete=floors is None)
            if len(rows) < free and floors is not None:
                rest = await self._database.claim(
                    self.name, self.queues, free - len(rows), self._lease, self._types
                )
                self._floors.learn(rest, complete=True)
                rows = [*rows, *rest]
            return rows
        except BROKEN as error:
            log.warning("claiming: connection lost (%r)", error)
            await persist(self._give_back_unknown, "claiming", stop=lambda: self._stopping)
            self._wake.set()
            return []

    async def _give_back_unknown(self) -> None:
        """A claim whose answer was lost may have been made: nobody would run those jobs."""
        known = self._settlement.job_ids.union(self._running)
        await self._database.release_unknown(self.name, list(known))

    async def _until_due(self) -> float | None:
        """Seconds until the next job is due; the listener's regular look covers all else."""
        try:
            due_in = await self._database.due_in(self.queues, self._types)
        except BROKEN as error:
            log.warning("claiming: connection lost (%r)", error)
            return LOCKED
        if due_in is None:
            return None
        return max(due_in.total_seconds(), LOCKED if due_in <= timedelta(0) else 0.001)

    async def _wait(self, seconds: float | None) -> bool:
        """Waits for the flag; False: in vain."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                return True
        return False

    async def _quietly(self, action: Any) -> Any:
        """Something that may fail with the LISTEN connection, which is the listener's to mend."""
        try:
            return await action()
        except BROKEN as error:
            log.warning("listening: connection lost (%r)", error)
            return None

    def _start(self, jobs: asyncio.TaskGroup, row: Row) -> None:
        job: RunningJob[Any] = RunningJob(row, self.app, self)
        self._running[row["id"]] = (job, jobs.create_task(self._run_one(job)))

    async def _run_one(self, job: RunningJob[Any]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        row = job._row
        outcome = await execute(self.app.tasks[row["job_type"]], job)
        job_id = row["id"]
        del self._running[job_id]
        if outcome.end is not End.LOST and outcome.end is not End.SETTLED:
            self._settlement.add(job_id, row["attempt"], outcome)
        if self._hungry:
            self._wake.set()
        level = logging.DEBUG if outcome.end in (End.COMPLETED, End.SETTLED) else logging.INFO
        if log.isEnabledFor(level):
            self._log(level, job, outcome, clock() - began)

    def _log(
        self, level: int, job: RunningJob[Any], outcome: Outcome, seconds: float
    ) -> None:
        head = outcome.error.split("\n", 1)[0]
        log.log(
            level, "job %s (%s) %s in attempt %s after %.3f s%s",
            job.id, job.job_type, outcome.end.value, job.attempt, seconds,
            f": {head}" if head else "",
            extra={**job.log_fields, "duration": seconds, "outcome": outcome.end.value},
        )  # fmt: skip

    async def _beat(self) -> None:
        """Prolongs the leases of what runs at a third of the lease, and when a cancel is heard."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease.total_seconds() / 3):
                    await self._cancel_heard.wait()
            self._cancel_heard.clear()
            if self._running:
                await self._beat_once(list(self._running))

    async def _beat_once(self, job_ids: list[int]) -> None:
        attempts = [self._running[i][0].attempt for i in job_ids]
        try:
            states = await self._database.heartbeat(self.name, job_ids, attempts, self._lease)
        except (*BROKEN, asyncpg.PostgresError, PgjobsError) as error:
            log.warning("heartbeat failed, the next one will tell: %r", error)
            return
        for job_id, state in states.items():
            if state != "held":
                self._halt(job_id, Stop.LOST if state == "lost" else Stop.CANCEL)

    def _settled(self) -> None:
        if self._until_empty or self._stopping:
            self._wake.set()

    def _hear_cancel(self, job_id: int) -> None:
        if job_id in self._running:
            # Anybody may notify: the heartbeat asks the row itself.
            self._cancel_heard.set()

    def _halt(self, job_id: int, why: Stop) -> None:
        """Cancels a running handler."""
        if job_id in self._running:
            job, task = self._running[job_id]
            if job._stop is None:
                log.info("job %s (%s) is stopped: %s", job_id, job.job_type, why.value,
                         extra=job.log_fields)  # fmt: skip
                job._stop = why
                task.cancel()

    async def _drain(self) -> None:
        """Lets running jobs end within the grace period, then gives the rest back."""
        deadline = asyncio.get_running_loop().time() + self._grace.total_seconds()
        self._hungry = True  # each end sets the flag
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self._running:
                    self._wake.clear()
                    await self._wake.wait()
        for job_id in list(self._running):
            self._halt(job_id, Stop.SHUTDOWN)

    def _signalled(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            log.warning("second signal: exiting at once; leases will end, nothing is lost")
            os._exit(128 + number)
        log.info("worker %s: %s", self.name, signal.Signals(number).name)
        self.stop()


class _Signals:
    """SIGTERM and SIGINT stop the worker, where this thread may say so."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._taken: list[int] = []

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not in the main thread, or not on this platform: the owner calls stop().
            with suppress(ValueError, NotImplementedError, RuntimeError):
                loop.add_signal_handler(number, self._worker._signalled, number)
                self._taken.append(number)

    def __exit__(self, *_: object) -> None:
        for number in self._taken:
            asyncio.get_running_loop().remove_signal_handler(number)
