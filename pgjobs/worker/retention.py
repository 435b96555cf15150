"""Deletes ended jobs that no rule keeps, while a rule is due."""

import asyncio
import logging
import math

import asyncpg

from pgjobs.connection.link import BROKEN
from pgjobs.database import Database

log = logging.getLogger("pgjobs.retention")

DELETE_AGAIN_AFTER_S = 0.05  # while more is to be deleted


class Retention:
    """When this worker deletes next. Of all workers one deletes at a time; the others are refused.

    A batch takes some 20 ms on the listen connection, whose heartbeats and ticks have room between
    two batches.
    """

    def __init__(self, database: Database, worker: str) -> None:
        self._database = database
        self._worker = worker
        self._is_told = False
        self.next_at = math.inf

    def ticked(self, deletes: bool | None) -> None:
        """Reads the answer of a complete tick: whether a rule is due; None: there is no rule."""
        if deletes:
            self.next_at = self._now()
        elif deletes is None and not self._is_told:
            log.info(
                "worker %s: no rule says how long ended jobs stay, so workers delete none: set one"
                " by app.retain(...) or pgjobs retain set completed 7d", self._worker,
            )
        self._is_told = True

    async def enforce(self) -> None:
        """Deletes one batch."""
        self.next_at = math.inf
        try:
            row = await self._database.retention_enforce()
        except BROKEN:
            raise
        except asyncpg.PostgresError as error:
            # A lock on the table, for example. The next tick asks again.
            log.warning("retention: refused, again in some seconds: %r", error)
            return
        if row["deleted"]:
            log.debug("worker %s deleted ended jobs: %d", self._worker, row["deleted"])
        if row["more"]:
            self.next_at = self._now() + DELETE_AGAIN_AFTER_S

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
