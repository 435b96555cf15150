"""How a worker waits between two claims; ``mode.py`` has the modes."""

import asyncio
import random
import time

from pgjobs.worker.claimer import Claimer
from pgjobs.worker.held import Held
from pgjobs.worker.listener import HELP_EVERY_S, Listener
from pgjobs.worker.mode import Mode
from pgjobs.worker.wake import Wake

POLL_INTERVAL_S = 0.003
MAX_POLL_INTERVAL_S = 0.01
MAX_UNHEARD_INTERVAL_S = 0.1  # while the worker is in no mode, for want of a LISTEN connection
FORGET_FLOORS_EVERY_S = 1.0  # likewise
LISTEN_AFTER_IDLE_S = 0.1
FULL_AFTER_S = 0.1
# After a claim that passed over due jobs: their rows, or their groups, are locked.
RETRY_PASSED_OVER_AFTER_S = 0.005
MAX_RETRY_PASSED_OVER_AFTER_S = 0.1
MAX_PLACE_PAUSE_S = 0.5  # between claims while no thread is free

# From about 200 jobs per second on, polling costs less than NOTIFY. The bound must not be much
# higher: where each NOTIFY waits for a slow disk, producers reach only about 200 per second, so
# workers would never poll.
RATE_WINDOW_S = 0.05
JOBS_PER_WINDOW_TO_POLL = 10


class Waiting:
    """Waits until the worker should claim again: for a slot, for a signal or by the clock."""

    def __init__(self, wake: Wake, listener: Listener, claimer: Claimer, held: Held) -> None:
        self._wake = wake
        self._listener = listener
        self._claimer = claimer
        self._held = held
        self._rate = Rate()
        self._forgot_floors_at = 0.0
        self._place_pause_s = HELP_EVERY_S
        self._passed_over_pause_s = RETRY_PASSED_OVER_AFTER_S

    async def after_claim(self, found: int) -> None:
        """Waits after a claim that found this many jobs."""
        self._rate.count(found)
        if found:
            self._passed_over_pause_s = RETRY_PASSED_OVER_AFTER_S
        if self._claimer.is_short_of_places:
            await self._for_a_place()
            return
        self._place_pause_s = HELP_EVERY_S
        if self._rate.is_high:
            self._listener.want(Mode.POLLING)
        # A full claim may have left due jobs: claim again as soon as a slot is free.
        self._held.wakes_at_end = self._held.claims_ahead = self._claimer.was_full
        if self._claimer.was_full:
            await self._for_a_slot()
        elif self._listener.mode is Mode.LISTENING and self._listener.wanted is Mode.LISTENING:
            await self._for_a_signal()
        else:
            await self._for_the_next_poll()

    async def _for_a_place(self) -> None:
        """Waits while no place is free for some types, such as plain functions.

        While slots are free for others, signals still pick this worker. So it asks for help for the
        jobs that it cannot take.
        """
        # A full claim may have left due jobs of other types.
        self._held.wakes_at_end = self._held.claims_ahead = self._claimer.was_full
        if self._held.has_free_slot or self._listener.wanted is Mode.POLLING:
            self._listener.want(Mode.LISTENING)  # no producer may rely on this worker
        if not self._held.has_free_slot:
            await self._for_a_slot()
            return
        self._listener.ask_for_help()
        if await self._wake.wait(self._place_pause_s):
            self._place_pause_s = HELP_EVERY_S
        else:
            self._place_pause_s = min(2 * self._place_pause_s, MAX_PLACE_PAUSE_S)

    async def _for_a_slot(self) -> None:
        self._listener.ask_for_help()
        if not await self._wake.wait(FULL_AFTER_S):
            self._listener.want(Mode.FULL)
            # Producers were silent if this worker was polling.
            self._listener.ask_for_help()
            await self._wake.wait()

    async def _for_a_signal(self) -> None:
        # Let the jobs that were just claimed begin before the database is asked.
        await asyncio.sleep(0)
        pause_s = self._passed_over_pause_s
        while not self._wake.asks_for_claim:
            self._wake.clear()
            due_in = await self._claimer.look()
            if due_in == 0 and pause_s:
                self._passed_over_pause_s = min(2 * pause_s, MAX_RETRY_PASSED_OVER_AFTER_S)
            if not await self._wake.wait(pause_s if due_in == 0 else due_in):
                return
            pause_s = 0.0

    async def _for_the_next_poll(self) -> None:
        idle_s = self._rate.idle_s
        if self._listener.wanted is Mode.FULL or idle_s >= LISTEN_AFTER_IDLE_S:
            self._listener.want(Mode.LISTENING)
        longest_s = MAX_POLL_INTERVAL_S
        if self._listener.mode is None:
            longest_s = MAX_UNHEARD_INTERVAL_S
            if time.monotonic() > self._forgot_floors_at + FORGET_FLOORS_EVERY_S:
                # No signal tells of jobs below the floors.
                self._forgot_floors_at = time.monotonic()
                self._claimer.floors.forget()
        pause_s = min(max(POLL_INTERVAL_S, self._rate.claim_interval_s, idle_s / 20), longest_s)
        # At random, so that of two polling workers none is always the first.
        await self._wake.wait(pause_s * random.uniform(0.5, 1.5))


class Rate:
    """How quickly jobs come in."""

    def __init__(self) -> None:
        self._window_began = 0.0
        self._in_window = 0
        self._in_window_before = 0
        self._last_job = 0.0

    def count(self, jobs: int) -> None:
        """Counts the jobs of one claim."""
        now = time.monotonic()
        age = now - self._window_began
        if age >= RATE_WINDOW_S:
            self._in_window_before = self._in_window if age < 2 * RATE_WINDOW_S else 0
            self._window_began, self._in_window = now, 0
        self._in_window += jobs
        if jobs:
            self._last_job = now

    @property
    def _jobs_per_window(self) -> int:
        return max(self._in_window, self._in_window_before)

    @property
    def is_high(self) -> bool:
        """Whether this window or the last one was full, and a job has just come."""
        is_fresh = self.idle_s < 2 * RATE_WINDOW_S
        return self._jobs_per_window >= JOBS_PER_WINDOW_TO_POLL and is_fresh

    @property
    def claim_interval_s(self) -> float:
        """The interval of two claims per job, since another worker may poll too."""
        return RATE_WINDOW_S / 2 / max(1, self._jobs_per_window)

    @property
    def idle_s(self) -> float:
        """Seconds since a claim gave a job."""
        return time.monotonic() - self._last_job
