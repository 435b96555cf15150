"""A worker's LISTEN connection: its registration, its mode, its wake-ups and its regular tick."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import asyncpg

from pgjobs.connection.link import BROKEN, Link, persist
from pgjobs.connection.notifications import Notifications
from pgjobs.database import Database
from pgjobs.errors import WorkerNameTaken

log = logging.getLogger("pgjobs.listener")

TICK_S = 10.0  # between ticks while no other worker is at work
TICK_WHILE_OTHERS_WORK_S = 2.0  # a worker's death is noticed at the second tick
FALLBACK_CLAIM_AFTER_S = (0.1, 0.4)  # by workers that the signal did not pick


class Listener:
    """Registers the worker, hears notifications, and detects a dead connection.

    Losing this connection costs no job: handlers run on, and after reconnecting the worker claims
    once, for what was notified meanwhile.
    """

    def __init__(
        self,
        link: Link,
        schema: str,
        worker: str,
        *,
        queues: Sequence[str],
        job_types: Sequence[str],
        concurrency: int,
        version: str,
        on_wake: Callable[[], None],
        on_turn: Callable[[int], None],
        on_cancel: Callable[[int], None],
    ) -> None:
        self._link = link
        self._notifications = Notifications(link, on_lost=self._connection_lost)
        self._database = Database(link, schema)
        self._worker = worker
        self._registration = (list(queues), list(job_types), concurrency, version)
        self._queues = frozenset(queues)
        self._on_wake = on_wake
        self._on_turn = on_turn
        self._on_cancel = on_cancel
        self._lost = asyncio.Event()
        self._registered = False
        self._tick_changed = asyncio.Event()
        self._next_tick = 0.0
        self._fallback_claim: asyncio.TimerHandle | None = None
        self.is_listening = False
        self.peers = 0

    async def connect(self) -> None:
        """Connects and registers. Raises ``WorkerNameTaken`` if a living worker has the name."""
        self.is_listening = self._registered = False
        self._lost.clear()
        await self._notifications.listen(
            {
                await self._database.channel("jobs"): self._on_notify_queue,
                await self._database.channel("jobs_turn"): self._on_notify_turn,
                await self._database.channel("jobs_cancel"): self._on_notify_cancel,
            }
        )
        await self._database.worker_start(self._worker, *self._registration)
        self._registered = True
        await self.start_listening()
        # This worker missed all notifications until now: claim once.
        self._on_wake()

    async def run(self) -> None:
        """Ticks regularly, reconnects when the connection is lost; never returns."""
        clock = asyncio.get_running_loop().time
        self._next_tick = clock()
        while True:
            # Notifications bring the next tick nearer; a lost connection makes it due at once.
            while not self._lost.is_set() and clock() < self._next_tick:
                self._tick_changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._next_tick):
                        await self._tick_changed.wait()
            try:
                self._next_tick = clock() + await persist(self._tick, "listening")
            except asyncpg.PostgresError as error:
                # A statement timeout, a failover, a changed password: try again.
                pause = TICK_WHILE_OTHERS_WORK_S
                log.error("listening: the server refused, again in %.0f s: %r", pause, error)
                await asyncio.sleep(pause)

    async def _tick(self) -> float:
        """One tick; returns the seconds until the next."""
        if self._lost.is_set():
            await self._reconnect()
        tick = await self._database.worker_tick(self._worker)
        if tick is None:
            # Others took this worker for dead, for example while its process was stopped.
            await self._database.worker_start(self._worker, *self._registration)
            return TICK_WHILE_OTHERS_WORK_S
        self.peers = tick["peers"]
        due_in = tick["due_in"]
        if due_in is not None and due_in <= timedelta(0):
            self._on_wake()
        return TICK_WHILE_OTHERS_WORK_S if tick["watch"] else TICK_S

    async def _reconnect(self) -> None:
        log.warning("listening: connection lost, connecting again")
        try:
            await self.connect()
        except WorkerNameTaken:
            # Most likely the server still keeps this worker's old session, which holds the name.
            # Until the next tick registers again, only LISTEN matters.
            self._on_wake()
            self._lost.set()
            await asyncio.sleep(TICK_WHILE_OTHERS_WORK_S)
        except BaseException:
            self._link.drop()
            self._lost.set()
            raise

    async def start_listening(self) -> bool:
        """Mode listening: producers notify. False: a producer counts on this worker polling."""
        # A connection that is new or lost hears nothing yet.
        if not self.is_listening and self._registered and not self._lost.is_set():
            self.is_listening = await self._database.worker_listen(self._worker)
        return self.is_listening

    async def start_polling(self) -> None:
        """Mode polling: the worker claims every few milliseconds, and producers are silent."""
        if self.is_listening:
            self.is_listening = False
            if not self._lost.is_set():
                await self._database.worker_poll(self._worker)

    async def close(self, *, leave: bool = True) -> None:
        """Disconnects. ``leave`` takes the worker off the register; else others find it dead."""
        self.claim_made()
        if leave:
            with suppress(*BROKEN, asyncpg.PostgresError):
                await self._database.worker_stop(self._worker)
        await self._link.close()

    def claim_made(self) -> None:
        """Cancels the fallback claim, since the worker claims now."""
        self._tick_soon()
        if self._fallback_claim is not None:
            self._fallback_claim.cancel()
            self._fallback_claim = None

    def _tick_soon(self) -> None:
        """Ticks soon, to notice the death of a worker that is at work now."""
        soon = asyncio.get_running_loop().time() + TICK_WHILE_OTHERS_WORK_S
        if self._next_tick > soon:
            self._next_tick = soon
            self._tick_changed.set()

    def _on_notify_queue(self, payload: str) -> None:
        if payload in self._queues and self._fallback_claim is None:
            delay = random.uniform(*FALLBACK_CLAIM_AFTER_S)
            self._fallback_claim = asyncio.get_running_loop().call_later(delay, self._on_wake)
            self._tick_soon()

    def _on_notify_turn(self, payload: str) -> None:
        handovers_left, _, worker = payload.partition(" ")
        if worker == self._worker:
            self._on_turn(int(handovers_left) if _is_number(handovers_left) else 0)

    def _on_notify_cancel(self, payload: str) -> None:
        if _is_number(payload):
            self._on_cancel(int(payload))

    def _connection_lost(self) -> None:
        self._lost.set()
        self._tick_changed.set()


def _is_number(text: str) -> bool:
    # int() takes non-ASCII digits, and raises above 4,300 digits.
    return text.isascii() and text.isdigit() and len(text) < 20
