"""Prolongs the leases of all that a worker holds."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

import asyncpg

from pgjobs.connection.link import BROKEN, Link
from pgjobs.database import Database
from pgjobs.errors import PgjobsError
from pgjobs.handler.run import Stop
from pgjobs.worker.held import Held

log = logging.getLogger("pgjobs.worker")


class Heartbeat:
    """Names all that the worker holds, every third of a lease; stops what is lost or cancelled.

    What the server knows this worker to hold and the heartbeat does not name is given back: the
    answer of its claim was lost. ``claims``: the link whose answers may be on their way.
    """

    def __init__(
        self, link: Link, schema: str, worker: str, lease: timedelta, held: Held, claims: Link
    ) -> None:
        self._database = Database(link, schema)
        self._worker = worker
        self._lease = lease
        self._held = held
        self._claims = claims
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Sends a heartbeat soon, to read what is to be cancelled."""
        self._asked.set()

    async def run(self) -> None:
        """Sends heartbeats; never returns."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease.total_seconds() / 3):
                    await self._asked.wait()
            self._asked.clear()
            if self._held.needs_heartbeat:
                await self._send()

    async def _send(self) -> None:
        ids, attempts = self._held.keys
        answer_within = timedelta(seconds=2 * self._claims.timeout_s)
        try:
            states = await self._database.worker_beat(
                self._worker, ids, attempts, self._lease, answer_within, self._held.registration
            )
        except BROKEN as error:
            # The listener has the same connection, makes it again and tells of it.
            log.debug("heartbeat failed, will retry: %r", error)
            return
        except (asyncpg.PostgresError, PgjobsError) as error:
            log.warning("heartbeat failed, will retry: %r", error)
            return
        for key, state in zip(zip(ids, attempts, strict=True), states, strict=True):
            if state != "held":
                self._held.stop_key(key, Stop.LOST if state == "lost" else Stop.CANCEL)
