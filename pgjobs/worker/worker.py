"""The worker: room, claim, start, wait. Each handler runs in its own task."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import asyncpg

from pgjobs.connection.dsn import once_reachable
from pgjobs.connection.link import BROKEN
from pgjobs.database import Database
from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.handler.current import current_run, in_worker
from pgjobs.handler.held_job import HeldJob, Holder
from pgjobs.handler.host import Host
from pgjobs.handler.run import Run, Stop
from pgjobs.handler.slots import of_worker
from pgjobs.handler.task import Task
from pgjobs.worker.arguments import check_worker, default_name
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.declarations import Declarations
from pgjobs.worker.description import describe
from pgjobs.worker.ends import Ends
from pgjobs.worker.execution import execute
from pgjobs.worker.functions import Functions, check_importable
from pgjobs.worker.health import Health
from pgjobs.worker.heartbeat import Heartbeat
from pgjobs.worker.held import Held
from pgjobs.worker.interrupts import interrupts
from pgjobs.worker.links import Links
from pgjobs.worker.listener import Listener
from pgjobs.worker.outage import Outage
from pgjobs.worker.outcome import COMMITTED, EXPIRED, LOST, RELEASED, End, Outcome
from pgjobs.worker.places import Places
from pgjobs.worker.progress import Progress
from pgjobs.worker.report import log_end
from pgjobs.worker.settlement import Settlement
from pgjobs.worker.tally import Tally
from pgjobs.worker.waiting import Waiting
from pgjobs.worker.wake import Wake
from pgjobs.worker.watchdog import Watchdog

log = logging.getLogger("pgjobs.worker")


DECLARED_WITHIN_S = 2.0  # schedules and the like, before the first claim
# What a worker that stops waits for, after the grace or after `stop` was called.
CLAIM_ENDS_WITHIN_S = 1.0
STOPPED_HANDLERS_END_WITHIN_S = 2.0
ENDS_ARE_WRITTEN_WITHIN_S = 3.0
RELEASED_WITHIN_S = 1.0


class WorkerApp(Host, Protocol):
    """The app as its worker sees it."""

    tasks: dict[str, Task[Any, Any]]
    declared_in: str

    @property
    def declarations(self) -> dict[str, str]: ...
    @property
    def dsn(self) -> str: ...
    @property
    def version(self) -> str: ...
    def lifespan(self) -> AbstractAsyncContextManager[None]: ...
    def held_job(self, run: Run, holder: Holder) -> HeldJob[Any]: ...


class Worker:
    """Claims jobs of its queues that the app has handlers for, and runs them.

    Made by ``App.worker``, which describes the arguments. ``run`` it once.
    """

    def __init__(
        self,
        app: WorkerApp,
        *,
        queues: Sequence[str] | None,
        concurrency: int,
        name: str | None,
        lease: timedelta,
        grace: timedelta,
        keep_completed: bool,
        listen_dsn: str | None,
        plain_concurrency: int,
    ) -> None:
        of_handlers = {t.options.get("queue") or "default": None for t in app.tasks.values()}
        self._handlers_queues = list(of_handlers) or ["default"]
        if queues is None:
            queues = self._handlers_queues
        check_worker(queues, concurrency, plain_concurrency, name, lease, grace)
        self.app = app
        self.name = name or default_name()
        self.queues = list(dict.fromkeys(queues))
        self.concurrency = concurrency
        self._lease = lease
        self.grace = grace
        self._types = list(app.tasks)
        self._until_empty = False
        self._flows_are_counted = False  # before the last claim
        self._stopping = False
        self._stopped_at: float | None = None
        self._event_loop: asyncio.AbstractEventLoop  # kept: see Held
        self._stop_begun = asyncio.Event()
        self._is_torn_down = False
        self.causes: dict[int, BaseException] | None = None  # by job, where somebody asks for them
        self.left_running = False  # whether handlers ran on when ``run`` returned
        plain = [t for t, task in app.tasks.items() if not task.is_async]
        if len(plain) == len(app.tasks):
            concurrency, plain = min(concurrency, plain_concurrency), []
        limited = [task for task in app.tasks.values() if task.concurrency is not None]
        places = [Places([task.job_type], task.concurrency or 1) for task in limited]
        if plain:
            places.append(Places(plain, plain_concurrency))

        schema, name = app.schema, self.name
        self._links = links = Links(app.dsn, listen_dsn, name)
        self._progress = Progress(links.listen, schema, name)
        self._holder = Holder(name, keep_completed, self._progress.take)
        self._functions = Functions(name, app.declared_in, self._progress.take)
        self._in_thread = self._functions.in_thread
        self._wake = Wake()
        self._outage = outage = Outage(name)
        self._held = Held(
            concurrency, self._wake, begin=self._run, give_back=self._give_back,
            places=places,
        )
        self._claimer = Claimer(
            links.claim, schema, name, self._held, self._wake, outage,
            queues=self.queues, job_types=self._types, places=places, lease=lease,
        )
        self._heartbeat = Heartbeat(links.listen, schema, name, lease, self._held, links.claim)
        ends = Ends(Database(links.listen, schema))
        self._listener = Listener(
            links.listen, schema, name, self._held, self._wake, self._claimer, self._heartbeat,
            ends, outage, queues=self.queues, job_types=self._types, concurrency=concurrency,
            version=app.version,
        )
        self._tally = Tally(name, self._held)
        self._settlement = Settlement(
            Database(links.settle, schema), name, self._held, self._tally, ends, outage,
            keep_completed=keep_completed,
        )
        self._declarations = Declarations(
            Database(links.settle, schema), outage, app.declared_in, app.declarations
        )
        self._waiting = Waiting(self._wake, self._listener, self._claimer, self._held)

    @property
    def has_free_slot(self) -> bool:
        """Whether a job that is claimed now could begin at once."""
        return self._held.has_free_slot

    def health(self, *, needs_schema: str) -> Health:
        """Returns what a probe may ask; ``needs_schema``: the version of this code's functions."""
        return Health(
            self._lease, self._claimer, self._listener, self._outage,
            Database(self._links.listen, self.app.schema),
            is_stopping=lambda: self._stopping, needs_schema=needs_schema,
        )

    def stop(self) -> None:
        """Begins a graceful stop: no more claims; running jobs have the grace period to end."""
        if not self._stopping:
            log.info("worker %s stops; running jobs: %d", self.name, self._held.running)
            self._stopped_at = time.monotonic()
        self._stopping = True
        self._stop_begun.set()
        self._held.close()
        self._claimer.stop()
        self._listener.stop()
        self._settlement.stop_throttling()
        self._wake.set()

    async def run(self, *, until_empty: bool = False, signals: bool = True) -> None:
        """Works until stopped by ``stop``, SIGTERM or SIGINT; or until nothing is due.

        ``signals``: False leaves SIGTERM and SIGINT to the program, which then calls ``stop``.

        Raises ``WorkerNameTaken`` if a living worker has its name, ``SchemaMismatch`` if the tables
        are missing, and the driver's error if the database cannot be reached at the start. Later,
        lost connections are made again, with a warning. Returns at most about eight seconds after
        the grace, whatever handlers, threads and the database do.
        """
        if not self._types:
            raise InvalidArgument(
                "the app has no handlers: decorate one with @app.job(...), or import the module"
                " that has them (pgjobs worker --import MODULE)"
            )
        check_importable(self.app.tasks.values())
        self._until_empty = until_empty
        of_worker.set(self)
        with interrupts(self.stop) if signals else nullcontext(), in_worker(self.name):
            async with self.app.lifespan():
                self._held.open()
                is_registered = False
                try:
                    await self._connect()
                    is_registered = True
                    with Watchdog(self._held.describe):
                        await self._work()
                finally:
                    self._functions.close()
                    # If jobs may still be held, other workers must find this one dead.
                    await self._disconnect(leave=is_registered and await self._release_all())
                    if is_registered:
                        self._tally.tell()
                        log.info("worker %s has stopped", self.name)

    async def _connect(self) -> None:
        self._event_loop = asyncio.get_running_loop()
        # Wait for all even if one fails: a later connection would never be closed.
        links = (self._listener, self._links.claim, self._links.settle)
        for made in await asyncio.gather(*(x.connect() for x in links), return_exceptions=True):
            if isinstance(made, BaseException):
                if isinstance(made, OSError):
                    made.add_note(f"Try again {once_reachable(self.app.dsn)}.")
                raise made

    async def _work(self) -> None:
        log.info(
            "worker %s: queues %s; concurrency %d; types %s",
            self.name, _listed(self.queues), self.concurrency, _listed(self._types),
        )
        unusual = [queue for queue in self.queues if queue not in self._handlers_queues]
        if unusual:
            log.warning(
                "worker %s: none of its handlers enqueues into queue %s, unless a call names that "
                "queue: is the name right? The queues of its handlers are %s",
                self.name, _listed(unusual), _listed(self._handlers_queues),
            )
        failure: BaseException | None = None
        async with asyncio.TaskGroup() as settling:
            settlement = settling.create_task(self._settlement.run())
            try:
                async with asyncio.TaskGroup() as background:
                    background_tasks = [
                        background.create_task(self._listener.run()),
                        background.create_task(self._heartbeat.run()),
                        background.create_task(self._progress.run()),
                        background.create_task(self._tally.run()),
                        background.create_task(self._cut_late_claim()),
                        declaring := background.create_task(self._declarations.write()),
                    ]
                    try:
                        # A locked row delays declarations, and no jobs.
                        await asyncio.wait([declaring], timeout=DECLARED_WITHIN_S)
                        await self._loop()
                        await self._wait_for_running()
                    finally:
                        self._held.close()
                        self._held.stop_all(Stop.SHUTDOWN)
                        await self._held.all_ended(STOPPED_HANDLERS_END_WITHIN_S)
                    for task in background_tasks:
                        task.cancel()
            except BaseExceptionGroup as group:
                failure = group
                while isinstance(failure, BaseExceptionGroup):
                    failure = failure.exceptions[0]
            except asyncio.CancelledError as cancelled:
                failure = cancelled
            # Nobody here cancels the settlement: all tasks of the event loop were, for example by
            # the SystemExit of a task that a handler made.
            self._is_torn_down = settlement.cancelled()
            # Whatever happened, first write the ends of jobs and the releases.
            self._settlement.close()
            asyncio.get_running_loop().call_later(ENDS_ARE_WRITTEN_WITHIN_S, settlement.cancel)
        if failure is not None:
            raise failure

    async def _loop(self) -> None:
        while not self._stopping:
            await self._settlement.wait_for_room()
            if self._stopping:
                return
            # Cleared before the claim: the other order could lose a signal.
            self._wake.clear()
            rows = await self._claimer.claim(self._held.room())
            self._held.take(rows)
            if self._stopping or (self._until_empty and await self._is_drained(len(rows))):
                return
            if not self._until_empty:
                await self._waiting.after_claim(len(rows))

    async def _is_drained(self, found: int) -> bool:
        """Whether nothing is due any more and everything is written; else waits for a change."""
        self._held.wakes_at_end = self._held.wakes_when_empty = True
        self._held.claims_ahead = self._claimer.was_full
        if not found and not self._held and not self._wake.is_set and self._claimer.is_settled:
            if self._flows_are_counted:
                return True
            # Then claims once more: whoever counted since the last claim may have let jobs go.
            self._flows_are_counted = not await self._claimer.finish_flows()
            return False
        self._flows_are_counted = False
        await self._wake.wait()
        return False

    async def _cut_late_claim(self) -> None:
        """Ends the claim that is under way when the worker stops, if its answer does not come."""
        await self._stop_begun.wait()
        await asyncio.sleep(CLAIM_ENDS_WITHIN_S)
        self._links.claim.drop()

    async def _run(self, run: Run) -> None:
        began = self._event_loop.time()
        current_run.set(run)  # each run has a context of its own
        try:
            task = self.app.tasks[run.row["job_type"]]
            if run.stop is None and run.has_expired(began):
                outcome = EXPIRED
            elif task.runs_in_child:
                outcome = await self._in_child(task, run)
            else:
                if task.timeout is not None:
                    self._held.expire_at(run, began + task.timeout.total_seconds())
                job = self.app.held_job(run, self._holder)
                outcome = await execute(
                    task, job, run, self._in_thread, self.app.middlewares
                )
        except BaseException as error:  # noqa: BLE001 - only this job fails
            # Not by `log.exception`: to format the error may raise, or take minutes.
            text = describe(error)
            log.error("%s: an error of pgjobs itself: %s", run, text, extra=run.log_fields)
            outcome = Outcome(End.FAILED, error=text, cause=error)
        if run.may_be_committed:
            outcome = replace(outcome, may_be_committed=True)
        try:
            now = self._event_loop.time()
            run.took_s = now - began
            # Before the settlement, so that the claim for this slot goes out before the write.
            self._held.end(run, now)
            if self.causes is not None and outcome.cause is not None:
                self.causes[run.key[0]] = outcome.cause
            if outcome is LOST or outcome is COMMITTED:
                self._held.drop(run.key)
                self._tally.add("completed" if outcome is COMMITTED else "lost")
            else:
                self._settlement.add(run.key, outcome)
            log_end(run, outcome)
        except Exception:
            log.exception("%s: its end is not written, the server gives the job back", run)
            self._held.end(run, began)
            self._held.drop(run.key)
            self._held.doubt(self._lease.total_seconds())

    def _in_child(self, task: Task[Any, Any], run: Run) -> Awaitable[Outcome]:
        def begin_timeout() -> None:
            if task.timeout is not None:
                now = asyncio.get_running_loop().time()
                self._held.expire_at(run, now + task.timeout.total_seconds())

        return self._functions.in_child(task, run, begin_timeout)

    def _give_back(self, run: Run) -> None:
        self._claimer.floors.lower(run.row["run_at"], run.row["queue"])
        self._settlement.add(run.key, RELEASED)

    async def _wait_for_running(self) -> None:
        """Lets running jobs end within the grace period."""
        now = asyncio.get_running_loop().time()
        gone_s = 0.0 if self._stopped_at is None else time.monotonic() - self._stopped_at
        deadline = now + self.grace.total_seconds() - gone_s
        self._held.close()
        self._held.wakes_at_end = True
        while self._held.running and await self._wake.wait_until(deadline):
            self._wake.clear()

    async def _release_all(self) -> bool:
        """Gives back all jobs that this worker may still hold; False: it may hold some still."""
        if self._is_torn_down:
            # Whatever ran may have ended this process, and must count as lost.
            return False
        self.left_running = self._held.abandon()
        if not self.left_running and not self._held.needs_heartbeat and self._claimer.is_settled:
            return True
        try:
            async with asyncio.timeout(RELEASED_WITHIN_S):
                await self._claimer.release_all()
        except (*BROKEN, asyncpg.PostgresError, PgjobsError) as error:
            log.error("this worker may still hold jobs, other workers take them back: %r", error)
            return False
        return self._claimer.is_settled

    async def _disconnect(self, *, leave: bool) -> None:
        claim, settle = self._links.claim, self._links.settle
        await asyncio.gather(self._listener.close(leave=leave), claim.close(), settle.close())


def _listed(names: Sequence[str]) -> str:
    """Lists names for the log, which cannot write every character that a name may have."""
    return ", ".join(repr(name)[1:-1] for name in names)
