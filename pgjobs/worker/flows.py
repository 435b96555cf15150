"""Counts the ends of jobs that other jobs wait for, and so lets those go."""

import asyncio
import logging
import math
import random
from contextlib import suppress

import asyncpg

from pgjobs.connection.link import BROKEN
from pgjobs.database import Database

log = logging.getLogger("pgjobs.flows")

AT_ONCE = 1_000
BETWEEN_COUNTS_S = 0.05  # members of a large batch end all the time
COUNT_AGAIN_AFTER_REFUSAL_S = 1.0
FALLBACK_COUNT_AFTER_S = (0.5, 1.0)  # by workers that the notification did not pick
WAIT_FOR_OTHERS_S = 2.0  # who count, or are adding members
LOOK_AGAIN_AFTER_S = 0.02


class Flows:
    """When this worker counts next.

    A notification picks one worker, so that many ends are counted together. The others count a
    little later, in case the picked one hangs.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = -math.inf
        self.next_at = math.inf

    def hear(self, *, is_picked: bool) -> None:
        """Counts soon: at once if this worker was picked, unless it has counted just now."""
        delay_s = 0.0 if is_picked else random.uniform(*FALLBACK_COUNT_AFTER_S)
        self.next_at = min(self.next_at, max(self._now() + delay_s, self._last + BETWEEN_COUNTS_S))

    async def count(self) -> None:
        """Counts a part; the next part follows soon."""
        # A notification that comes meanwhile may ask for the next count.
        self.next_at = math.inf
        self._last = self._now()
        try:
            # Two statements: attaching locks running jobs until its end.
            attached = await self._database.flow_attach(AT_ONCE)
            counted = await self._database.flow_resolve(AT_ONCE)
            pending = not attached and counted <= 0 and await self._database.flow_pending()
        except BROKEN:
            self.next_at = self._now()
            raise
        except asyncpg.PostgresError as error:
            pause = COUNT_AGAIN_AFTER_REFUSAL_S
            log.warning("flows: the server refused, again in %.1f s: %r", pause, error)
            self.next_at = self._now() + pause
            return
        if attached >= AT_ONCE or counted >= AT_ONCE:
            self.next_at = self._now()
        elif attached or counted > 0:
            self.next_at = min(self.next_at, self._last + BETWEEN_COUNTS_S)
        elif pending:
            # Another session counts, ends a parent, or adds members.
            self.next_at = min(self.next_at, self._now() + FALLBACK_COUNT_AFTER_S[0])

    @staticmethod
    async def finish(database: Database) -> bool:
        """Counts a part, if anything is left to be counted; whether there was anything."""
        was_pending = False
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_FOR_OTHERS_S):
                while await database.flow_pending():
                    was_pending = True
                    await database.flow_attach(AT_ONCE)
                    if await database.flow_resolve(AT_ONCE) > 0:
                        break
                    await asyncio.sleep(LOOK_AGAIN_AFTER_S)
                return was_pending
        return False

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
