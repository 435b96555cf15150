"""Whether a worker lives and whether it is ready: what a probe asks."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from pgjobs.connection.link import BROKEN
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.worker.claimer import Claimer
from pgjobs.worker.listener import FULL_TICK_S, Listener
from pgjobs.worker.outage import Outage

log = logging.getLogger("pgjobs.worker")

BEAT_S = 0.5
READ_SCHEMA_EVERY_S = 5.0
TICKS_STOPPED_AFTER_S = 3 * FULL_TICK_S  # then doctor says of the worker that it hangs


@dataclass(frozen=True)
class Report:
    """What is told of a worker's health; ages are in seconds, None: not known yet."""

    dead: str | None  # why the worker is not live
    unready: str | None  # why the worker is not ready
    lease_s: float | None = None
    loop_turned_s: float | None = None
    claimed_s: float | None = None
    ticked_s: float | None = None
    schema: str | None = None


class Health:
    """The health of one worker. Any thread may ask for a report, which takes no lock.

    Nobody asks the database for a report: the worker's own statements tell enough. Only the version
    of the schema is read, every few seconds, and only where ``watch`` runs.
    """

    def __init__(
        self,
        lease: timedelta,
        claimer: Claimer,
        listener: Listener,
        outage: Outage,
        database: Database,
        *,
        is_stopping: Callable[[], bool],
        needs_schema: str,
    ) -> None:
        self._lease_s = lease.total_seconds()
        self._claimer = claimer
        self._listener = listener
        self._outage = outage
        self._database = database
        self._is_stopping = is_stopping
        self._needs_schema = needs_schema
        self._schema: str | None = None
        self._loop_turned_at = time.monotonic()

    async def watch(self) -> None:
        """Notes when the event loop turns, and which version the schema has; never returns."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._beat())
            both.create_task(self._read_schema())

    async def _beat(self) -> None:
        while True:
            self._loop_turned_at = time.monotonic()
            await asyncio.sleep(BEAT_S)

    async def _read_schema(self) -> None:
        while True:
            # Before its first tick the worker connects. While it stops, it disconnects.
            if self._listener.ticked_at is not None and not self._is_stopping():
                try:
                    self._schema = await self._database.version()
                except (*BROKEN, asyncpg.PostgresError, PgjobsError) as error:
                    log.debug("the version of the schema was not read: %r", error)
            await asyncio.sleep(BEAT_S if self._schema is None else READ_SCHEMA_EVERY_S)

    def report(self) -> Report:
        """Returns what the worker tells of its health now."""
        now = time.monotonic()
        loop_turned_s = now - self._loop_turned_at
        claimed_s = _age(now, self._claimer.claimed_at)
        ticked_s = _age(now, self._listener.ticked_at)
        dead = None
        if loop_turned_s > self._lease_s:
            dead = (
                f"the event loop has been blocked for {loop_turned_s:.0f} s, which is longer than"
                f" the lease of {self._lease_s:.0f} s: other workers take its jobs"
            )
        return Report(
            dead, dead or self._unready(now, claimed_s, ticked_s), self._lease_s, loop_turned_s,
            claimed_s, ticked_s, self._schema,
        )

    def _unready(self, now: float, claimed_s: float | None, ticked_s: float | None) -> str | None:
        # An error's text may name users and hosts, and whoever reaches the port reads the reason.
        if self._is_stopping():
            return "stopping: it claims no more jobs"
        for since in (self._outage.began_at, self._claimer.failing_since):
            if since is not None:
                return f"no good answer from the database for {now - since:.0f} s: the log says why"
        if claimed_s is None or ticked_s is None or self._schema is None:
            return "starting: it has not claimed, ticked and read the schema's version yet"
        if ticked_s > TICKS_STOPPED_AFTER_S:
            every = f"a tick comes every {FULL_TICK_S:.0f} s"
            return f"its last tick was {ticked_s:.0f} s ago, and {every}"
        if _release(self._schema) < _release(self._needs_schema):
            return (
                f"the schema has version {self._schema}, and this worker needs"
                f" {self._needs_schema}: run pgjobs migrate"
            )
        return None


def _age(now: float, then: float | None) -> float | None:
    return None if then is None else now - then


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version; one before a release counts as that release."""
    return tuple(map(int, re.split(r"[^\d.]", version)[0].strip(".").split(".")))
