"""A worker's LISTEN connection: its registration, its mode, what it hears, its ticks."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import asyncpg

from pgjobs.connection.link import BROKEN, Link
from pgjobs.connection.notifications import Notifications
from pgjobs.database import Database, as_recovered
from pgjobs.errors import WorkerNameTaken
from pgjobs.worker.claimer import RETRY_REFUSED_AFTER_S, Claimer
from pgjobs.worker.ends import Ends
from pgjobs.worker.floors import ALL_LEVELS
from pgjobs.worker.flows import Flows
from pgjobs.worker.heartbeat import Heartbeat
from pgjobs.worker.held import Held
from pgjobs.worker.mode import Mode
from pgjobs.worker.outage import Outage
from pgjobs.worker.report import log_recovered
from pgjobs.worker.retention import Retention
from pgjobs.worker.rounds import Rounds
from pgjobs.worker.wake import Wake

log = logging.getLogger("pgjobs.listener")

PART = "listening"
FULL_TICK_S = 10.0
MIN_BETWEEN_FULL_TICKS_S = 0.1  # that signals ask for
TICK_WHILE_OTHERS_WORK_S = 2.0  # a worker's death is noticed at the second tick
HELP_EVERY_S = 0.05  # while claims leave due jobs
WATCH_S = 0.15  # while producers may be silent
FALLBACK_LOOK_AFTER_S = (0.1, 0.2)  # by workers that the signal did not pick
POLL_AGAIN_AFTER_REFUSAL_S = 1.0
RECOVER_AT_ONCE = 1_000
FIRE_AGAIN_AFTER_S = 1.0  # while another worker fires what is due
LEAVES_WITHIN_S = 1.0
OLD_SESSION_ENDS_AFTER_S = 30.0  # by the server's keepalives after 25 s

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Listener:
    """Registers the worker, hears signals, and detects a dead connection.

    Losing this connection costs no job: handlers run on, and after reconnecting the worker looks
    for what it did not hear. No other part of the worker waits for this connection.
    """

    def __init__(
        self,
        link: Link,
        schema: str,
        worker: str,
        held: Held,
        wake: Wake,
        claimer: Claimer,
        heartbeat: Heartbeat,
        ends: Ends,
        outage: Outage,
        *,
        queues: Sequence[str],
        job_types: Sequence[str],
        concurrency: int,
        version: str,
    ) -> None:
        self._link = link
        self._notifications = Notifications(link, on_lost=self._connection_lost)
        self._database = Database(link, schema)
        self._worker = worker
        self._registration = (list(queues), list(job_types), concurrency, version)
        self._queues = frozenset(queues)
        self._rounds = Rounds(queues, job_types)
        self._held = held
        self._wake = wake
        self._claimer = claimer
        self._heartbeat = heartbeat
        self._ends = ends
        self._outage = outage
        self._own_key = ""
        self._name_taken_since: float | None = None
        self._first_started_at: datetime | None = None
        self._has_predecessor = True
        self._lost = asyncio.Event()
        self._changed = asyncio.Event()
        self._next_tick = self._next_full_tick = self._next_watch = 0.0
        self._next_fire = math.inf
        self._next_opening = math.inf
        self._retention = Retention(self._database, worker)
        self._flows = Flows(self._database)
        self._last_full_tick = 0.0
        self.ticked_at: float | None = None  # by time.monotonic(): the last tick that was answered
        self._others_work = True
        self._seen: str | None = None  # what the last watch returned
        self._fallback_look: asyncio.TimerHandle | None = None
        self._polling_refused_until = 0.0
        self._stopping = False
        self._needs_help = False
        self._help_asked_at = 0.0
        self.mode: Mode | None = None  # None: not registered, so the worker claims by the clock
        self.wanted = Mode.LISTENING

    async def connect(self) -> None:
        """Connects and registers. Raises ``WorkerNameTaken`` if a living worker has the name."""
        self.mode = None
        self._lost.clear()
        await self._notifications.listen(
            {
                await self._database.channel("jobs_signal"): self._on_notify_signal,
                await self._database.channel("jobs_cancel"): self._on_notify_cancel,
                await self._database.channel("jobs_flow"): self._on_notify_flow,
            }
        )
        row = await self._database.worker_start(self._worker, *self._registration)
        self._held.registration = row["listening_key"]
        self._own_key = str(row["listening_key"])
        self._name_taken_since = None
        if self._first_started_at is None:
            self._first_started_at = row["started_at"]
        # This worker missed all signals until now.
        self._rounds.hear_of_all()
        self._seen = None
        self._next_watch = self._next_full_tick = 0.0
        await self._change_mode()

    def want(self, mode: Mode) -> None:
        """Asks for a mode; the worker goes on in the old one until ``mode`` changes."""
        is_refused = mode is Mode.POLLING and self._now() < self._polling_refused_until
        if mode is not self.wanted and not self._stopping and not is_refused:
            self.wanted = mode
            self._changed.set()

    def ask_for_help(self) -> None:
        """Has other workers claim, if due jobs are left that this one has no slots for."""
        if not self._needs_help and self._now() >= self._help_asked_at + HELP_EVERY_S:
            self._needs_help = True
            self._changed.set()

    def stop(self) -> None:
        """Makes the worker full for good: no signal picks it, no producer relies on it."""
        self.want(Mode.FULL)
        self._stopping = True

    async def run(self) -> None:
        """Changes modes, watches, ticks and reconnects; never returns."""
        while True:
            self._changed.clear()
            next_step = min(
                self._next_watch, self._next_tick, self._next_full_tick, self._next_fire,
                self._retention.next_at, self._flows.next_at, self._next_opening,
            )
            is_due = self._lost.is_set() or self.mode is not self.wanted or self._needs_help
            if not is_due and self._now() < next_step:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(next_step):
                        await self._changed.wait()
            try:
                await self._outage.persist(self._step, PART)
            except WorkerNameTaken:
                raise
            except asyncpg.PostgresError as error:
                # A statement timeout, a failover, a changed password: try again.
                pause = RETRY_REFUSED_AFTER_S
                log.warning("listening: the server refused, again in %.1f s: %r", pause, error)
                await asyncio.sleep(pause)

    async def _step(self) -> None:
        if self._lost.is_set():
            await self._reconnect()
        if self.mode is not self.wanted:
            await self._change_mode()
        if self._needs_help:
            self._needs_help, self._help_asked_at = False, self._now()
            await self._database.worker_help(self._worker, self._claimer.floors.for_look())
        if self._now() >= self._next_fire:
            await self._fire()
        if self._now() >= self._next_watch:
            await self._watch()
        if self._now() >= self._next_opening:
            # Looks have gone past the jobs of the queue while it was paused.
            self._next_opening = math.inf
            self._rounds.hear_of_all()
            self._next_full_tick = 0.0
        if self._now() >= min(self._next_tick, self._next_full_tick):
            await self._tick()
        if self._now() >= self._flows.next_at:
            await self._flows.count()
        if self._now() >= self._retention.next_at:
            await self._retention.enforce()

    async def _reconnect(self) -> None:
        self._outage.begin(PART)
        try:
            await self.connect()
            self._wake.set()
        except WorkerNameTaken as error:
            # Most likely the server still keeps this worker's old session, which holds the name.
            # Until the next step registers again, only LISTEN matters.
            self._name_taken_since = self._name_taken_since or self._now()
            if self._now() > self._name_taken_since + OLD_SESSION_ENDS_AFTER_S:
                # It is another worker, and two of one name would give back each other's jobs.
                raise
            self._wake.set()
            self._lost.set()
            raise ConnectionError("the server still has this worker's old session") from error
        except BaseException:
            self._link.drop()
            self._lost.set()
            raise

    async def _change_mode(self) -> None:
        wanted = self.wanted
        if await self._database.worker_mode(self._worker, wanted.value):
            log.debug("worker %s is %s", self._worker, wanted.value)
            self.mode = wanted
        elif wanted is not Mode.POLLING:
            self._unregistered()
            return
        else:
            self._polling_refused_until = self._now() + POLL_AGAIN_AFTER_REFUSAL_S
            if self.wanted is Mode.POLLING:
                self.wanted = self.mode or Mode.LISTENING
        if wanted is Mode.LISTENING:
            # Signals pick this worker from now on: claim what came before.
            self._wake.set()
        if wanted is not Mode.FULL:
            self._next_watch = 0.0

    async def _watch(self) -> None:
        # A signal that comes meanwhile may ask for the next watch.
        self._next_watch = math.inf
        lowered = self._claimer.floors.lowered
        try:
            row = await self._database.worker_watch(
                self._worker, self._claimer.floors.for_look(), self._seen
            )
        except BaseException:
            self._next_watch = 0.0
            raise
        if row is None:
            self._unregistered()
            return
        self._seen = row["seen"]
        if row["may_be_silent"] or self.mode is Mode.POLLING:
            self._next_watch = min(self._next_watch, self._now() + WATCH_S)
        if row["due"] is not None:
            self._claimer.floors.looked(row["due"], row["due"], lowered)
            self._wake.set()
            if row["others_poll"] and self.mode is Mode.LISTENING:
                self.want(Mode.POLLING)

    async def _fire(self) -> None:
        """Fires the schedules that are due."""
        # A signal that comes meanwhile may bring the next moment nearer.
        self._next_fire = math.inf
        try:
            row = await self._database.worker_fire()
        except BaseException:
            self._next_fire = self._now() + FIRE_AGAIN_AFTER_S
            raise
        pause_s = 0.0 if row["fired"] else FIRE_AGAIN_AFTER_S
        self._fire_in(row["fires_in"], at_least_s=pause_s)

    def _fire_in(self, delay: timedelta | None, *, at_least_s: float = 0.0) -> None:
        if delay is not None:
            is_over = delay <= timedelta(0)
            delay_s = at_least_s if is_over else delay.total_seconds()
            self._next_fire = min(self._next_fire, self._now() + delay_s)

    async def _tick(self) -> None:
        is_full = self._now() >= self._next_full_tick
        if is_full:
            # A signal that comes meanwhile may ask for the next full tick.
            self._next_full_tick = math.inf
            self._last_full_tick = self._now()
        queues = self._rounds.next() if is_full else None
        try:
            if self._has_predecessor:
                await self._recover_predecessor()
            if is_full:
                await self._ends.tell()
            tick = await self._database.worker_tick(self._worker, is_full=is_full, queues=queues)
        except BaseException:
            if is_full:
                self._rounds.hear_of_all()
                self._next_full_tick = 0.0
            raise
        if tick is None:
            self._unregistered()
            return
        self.ticked_at = time.monotonic()
        log_recovered(as_recovered(tick["recovered"]))
        now = self._now()
        if is_full:
            after = now if tick["more"] else now + FULL_TICK_S
            self._next_full_tick = min(self._next_full_tick, after)
            self._others_work = tick["others_work"]
            self._retention.ticked(tick["deletes"])
            if tick["opens_in"] is not None:
                self._next_opening = now + max(0.0, tick["opens_in"].total_seconds())
        self._next_tick = now + TICK_WHILE_OTHERS_WORK_S if self._others_work else math.inf
        if tick["more"]:
            self._next_tick = now
        if tick["due"] is not None:
            self._claimer.may_be_due_from(tick["due"])
        if tick["may_be_silent"]:
            self._next_watch = min(self._next_watch, now)
        self._fire_in(tick["fires_in"])

    def _unregistered(self) -> None:
        """Others took this worker for dead, for example while its process was stopped."""
        # On a new connection: the session has locks of the old registration.
        self._link.drop()
        self._lost.set()

    async def _recover_predecessor(self) -> None:
        """The name was free, so its last holder is dead: takes back that holder's jobs."""
        assert self._first_started_at is not None
        count = RECOVER_AT_ONCE
        while count == RECOVER_AT_ONCE:
            recovered = await self._database.recover_own(
                self._worker, self._first_started_at, RECOVER_AT_ONCE
            )
            log_recovered(recovered)
            count = sum(lost["jobs"] for lost in recovered)
        self._has_predecessor = False

    async def close(self, *, leave: bool = True) -> None:
        """Disconnects. ``leave`` takes the worker off the register; else others find it dead."""
        if self._fallback_look is not None:
            self._fallback_look.cancel()
        with suppress(*BROKEN, asyncpg.PostgresError):
            async with asyncio.timeout(LEAVES_WITHIN_S):
                await self._ends.tell()
                if leave and self._name_taken_since is None:
                    await self._database.worker_stop(self._worker)
        await self._link.close()

    def work_seen(self) -> None:
        """Ticks soon, to notice the death of a worker that is at work now."""
        if not self._others_work:
            self._others_work = True
            self._next_tick = self._now() + TICK_WHILE_OTHERS_WORK_S
            self._changed.set()

    def _on_notify_signal(self, payload: str) -> None:
        # Any session may notify anything.
        first, _, rest = payload.partition(" ")
        if first in ("polling", "started"):
            if rest in self._queues:
                self.work_seen()
                if first == "polling":
                    self._next_watch = 0.0
                    self._changed.set()
            return
        if first == "schedule":
            # New or changed. The answer says how far away its moment is, by the server's clock.
            self._next_fire = 0.0
            self._changed.set()
            return
        levels, _, rest = rest.partition(" ")
        run_at, _, queue = rest.partition(" ")
        if queue not in self._queues or not (_is_number(levels) and _is_number(run_at)):
            return
        self.work_seen()
        if run_at == "0":
            # It is not known from when on jobs may be due.
            self._rounds.hear(queue)
            self._next_full_tick = self._last_full_tick + MIN_BETWEEN_FULL_TICKS_S
            self._changed.set()
            return
        with suppress(OverflowError):
            self._claimer.floors.lower(
                _EPOCH + timedelta(microseconds=int(run_at)), queue, int(levels) & ALL_LEVELS
            )
        if first == self._own_key:
            self._wake.set()
        elif self._fallback_look is None:
            delay = random.uniform(*FALLBACK_LOOK_AFTER_S)
            self._fallback_look = asyncio.get_running_loop().call_later(delay, self._fall_back)

    def _fall_back(self) -> None:
        self._fallback_look = None
        self._wake.nudge()

    def _on_notify_cancel(self, payload: str) -> None:
        ids = payload.split(",")
        if any(_is_number(job_id) and self._held.holds(int(job_id)) for job_id in ids):
            self._heartbeat.ask()

    def _on_notify_flow(self, payload: str) -> None:
        self._flows.hear(is_picked=payload == self._own_key)
        self._changed.set()

    def _connection_lost(self) -> None:
        # No signal is heard any more, so the worker claims by the clock.
        self.mode = None
        self._lost.set()
        self._changed.set()
        self._wake.set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _is_number(text: str) -> bool:
    # int() takes non-ASCII digits, and raises above 4,300 digits.
    return text.isascii() and text.isdigit() and len(text) < 20
