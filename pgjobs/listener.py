"""A worker's LISTEN connection: its name, its wake-ups, and its regular look at the database."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import asyncpg

from .database import Database
from .errors import WorkerNameTaken
from .link import BROKEN, PATIENCE, Link, persist

log = logging.getLogger("pgjobs.listener")

TICK = 10.0  # seconds between looks when nobody else is at work: ping, poll and heartbeat in one
HINT = (0.1, 0.4)  # seconds until a worker looks whose turn it was not, in case nobody did
WATCH = 2.0  # seconds between looks while others are, so that a death is noticed at the second one


class Listener:
    """Registers the worker, hears NOTIFY, and notices its own deafness.

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
        self._database = Database(link, schema)
        self._worker = worker
        self._registration = (list(queues), list(job_types), concurrency, version)
        self._queues = frozenset(queues)
        self._on_wake = on_wake
        self._on_turn = on_turn
        self._on_cancel = on_cancel
        self._lost = asyncio.Event()
        self._listening = False
        self._stirred = asyncio.Event()
        self._next_look = 0.0
        self.resting = False
        self.peers = 0
        self._hint: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        """Connects, listens, registers, rests. Raises ``WorkerNameTaken`` for a living namesake."""
        self.resting = self._listening = False
        self._lost.clear()
        connection = await self._link.connect()
        connection.add_termination_listener(self._hear_termination)
        async with asyncio.timeout(PATIENCE):
            for topic, hear in (
                ("jobs", self._hear_hint), ("jobs_turn", self._hear_turn),
                ("jobs_cancel", self._hear_cancel),
            ):  # fmt: skip
                await connection.add_listener(await self._database.channel(topic), hear)
        await self._database.worker_start(self._worker, *self._registration)
        self._listening = True
        await self.rest()
        # What was notified while nobody listened is claimed now.
        self._on_wake()

    async def run(self) -> None:
        """Looks regularly, reconnects when the connection is lost; never returns."""
        clock = asyncio.get_running_loop().time
        self._next_look = clock()
        while True:
            # A hint brings the next look nearer, the loss of the connection makes it due.
            while not self._lost.is_set() and clock() < self._next_look:
                self._stirred.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._next_look):
                        await self._stirred.wait()
            try:
                self._next_look = clock() + await persist(self._look, "listening")
            except asyncpg.PostgresError as error:
                # A statement timeout, a failover, a password that changes: the worker outlives it.
                log.error("listening: the server refused, again in %.0f s: %r", WATCH, error)
                await asyncio.sleep(WATCH)

    async def _look(self) -> float:
        if self._lost.is_set():
            await self._reconnect()
        tick = await self._database.worker_tick(self._worker)
        if tick is None:
            # Taken for dead, for example after a long stop of the process: register again.
            await self._database.worker_start(self._worker, *self._registration)
            return WATCH
        self.peers = tick["peers"]
        due_in = tick["due_in"]
        if due_in is not None and due_in <= timedelta(0):
            self._on_wake()
        return WATCH if tick["watch"] else TICK

    async def _reconnect(self) -> None:
        log.warning("listening: connection lost, connecting again")
        try:
            await self.connect()
        except WorkerNameTaken:
            # Most likely our own old session, which the server does not know to be gone yet. It
            # holds the name for us; what matters is to hear again. The next look asks again.
            self._on_wake()
            self._lost.set()
            await asyncio.sleep(WATCH)
        except BaseException:
            self._link.drop()
            self._lost.set()
            raise

    async def rest(self) -> bool:
        """From now on producers notify; false: one counts on this worker looking by itself."""
        # On a new connection nobody listens yet.
        if not self.resting and self._listening and not self._lost.is_set():
            self.resting = await self._database.worker_listen(self._worker)
        return self.resting

    async def rise(self) -> None:
        """From now on this worker looks by itself every few milliseconds; producers are silent."""
        if self.resting:
            self.resting = False
            if not self._lost.is_set():
                await self._database.worker_poll(self._worker)

    async def close(self, *, leave: bool = True) -> None:
        """Hangs up; takes the worker off the register, unless others are to miss it."""
        self.looked()
        if leave:
            with suppress(*BROKEN, asyncpg.PostgresError):
                await self._database.worker_stop(self._worker)
        await self._link.close()

    def _hear_hint(self, _c: object, _pid: int, _channel: str, payload: object) -> None:
        if payload in self._queues and self._hint is None:
            loop = asyncio.get_running_loop()
            self._hint = loop.call_later(random.uniform(*HINT), self._on_wake)
            self._look_soon()

    def _hear_turn(self, _c: object, _pid: int, _channel: str, payload: object) -> None:
        hops, _, worker = str(payload).partition(" ")
        if worker == self._worker:
            self._on_turn(int(hops) if _is_number(hops) else 0)

    def _look_soon(self) -> None:
        """Somebody may be at work from now on: a death among them is to be noticed."""
        soon = asyncio.get_running_loop().time() + WATCH
        if self._next_look > soon:
            self._next_look = soon
            self._stirred.set()

    def looked(self) -> None:
        """The worker claims now: what was hinted so far needs no look of its own."""
        self._look_soon()
        if self._hint is not None:
            self._hint.cancel()
            self._hint = None

    def _hear_cancel(self, _c: object, _pid: int, _channel: str, payload: object) -> None:
        if isinstance(payload, str) and _is_number(payload):
            self._on_cancel(int(payload))

    def _hear_termination(self, _connection: object) -> None:
        self._lost.set()
        self._stirred.set()


def _is_number(text: str) -> bool:
    # Anybody may notify: int() takes other digits too, and raises for thousands of them.
    return text.isascii() and text.isdigit() and len(text) < 20
