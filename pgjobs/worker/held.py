"""The register of all that a worker holds: claimed, running, and ended but not written."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from pgjobs.connection.alarm import Alarm
from pgjobs.handler.run import Key, Phase, Run, Stop
from pgjobs.job.job import Row
from pgjobs.worker.wake import Wake

log = logging.getLogger("pgjobs.worker")

# Jobs are claimed ahead of free slots: as many as ended within this time, so that they begin about
# as soon. What waits longer than the second is given back.
AHEAD_S = 0.01
RETURN_AHEAD_AFTER_S = 0.02


class Held:
    """One run per job and attempt. A run is forgotten when its end is written.

    ``begin`` makes the coroutine of a run; the coroutine calls ``end`` and does not raise.
    ``give_back`` is told of a run that has waited for a slot for too long.
    """

    def __init__(
        self,
        slots: int,
        wake: Wake,
        *,
        begin: Callable[[Run], Coroutine[Any, Any, None]],
        give_back: Callable[[Run], None],
    ) -> None:
        self._slots = slots
        self._wake = wake
        self._begin = begin
        self._give_back = give_back
        self._runs: dict[Key, Run] = {}
        self._running = 0  # runs that have a slot
        self._ahead: deque[Run] = deque()
        self._ends: deque[float] = deque(maxlen=1_000)
        self._alarm = Alarm(self._expire)
        self._return_timer: asyncio.TimerHandle | None = None
        self.claims_ahead = False
        self.wakes_at_end = False  # whether the end of a run asks for a claim
        self.wakes_when_empty = False

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def running(self) -> int:
        """How many slots are taken."""
        return self._running

    @property
    def has_free_slot(self) -> bool:
        """Whether a claimed job could begin at once."""
        return self._running < self._slots

    @property
    def keys(self) -> tuple[list[int], list[int]]:
        """The ids and the attempts of all runs."""
        keys = sorted(self._runs)
        return [job_id for job_id, _ in keys], [attempt for _, attempt in keys]

    def holds(self, job_id: int) -> bool:
        """Whether there is a run of that job."""
        return any(held == job_id for held, _ in self._runs)

    def room(self) -> int:
        """How many jobs the worker may claim now: for free slots, and ahead of them."""
        free = self._slots - self._running - len(self._ahead)
        return max(0, free + self._ends_lately() if self.claims_ahead else free)

    def _ends_lately(self) -> int:
        since = asyncio.get_running_loop().time() - AHEAD_S
        while self._ends and self._ends[0] < since:
            self._ends.popleft()
        return len(self._ends)

    def take(self, rows: Sequence[Row]) -> None:
        """Begins as many of the claimed jobs as there are slots; the others wait for a slot."""
        now = asyncio.get_running_loop().time()
        for row in rows:
            run = Run(row, now)
            if run.key in self._runs:
                self._meet(self._runs[run.key], run)
                continue
            self._runs[run.key] = run
            if self._running < self._slots:
                self._start(run)
            elif row["crash_count"] or row["group_key"] is not None:
                # Such a job must not wait here while it could run elsewhere.
                self._return(run)
            else:
                self._ahead.append(run)
        if self._ahead and self._return_timer is None:
            loop = asyncio.get_running_loop()
            self._return_timer = loop.call_later(RETURN_AHEAD_AFTER_S, self._return_late)

    def _meet(self, old: Run, new: Run) -> None:
        """A crash of the server undid the claim of ``old``, and this worker has claimed again."""
        if old.row["created_at"] != new.row["created_at"]:
            # Another job has the id: its old one was never flushed, or not sent to a standby.
            self.stop(old, Stop.LOST)
            self._give_back(new)
        # Else it is the same attempt of the same job, and its handler runs on.

    def _start(self, run: Run) -> None:
        self._running += 1
        # Not in a TaskGroup: its callback at each end costs a tenth of a short job.
        run.task = asyncio.get_running_loop().create_task(self._begin(run))

    def _return(self, run: Run) -> None:
        run.phase = Phase.ENDED
        self._give_back(run)

    def _return_late(self) -> None:
        self._return_timer = None
        loop = asyncio.get_running_loop()
        while self._ahead and loop.time() - self._ahead[0].claimed_at >= RETURN_AHEAD_AFTER_S:
            self._return(self._ahead.popleft())
        if self._ahead:
            due = self._ahead[0].claimed_at + RETURN_AHEAD_AFTER_S
            self._return_timer = loop.call_at(due, self._return_late)

    def end(self, run: Run, now: float) -> None:
        """Frees the slot of a run, for the next one that waits; a second call changes nothing."""
        if run.phase is Phase.ENDED:
            return
        run.phase = Phase.ENDED
        run.deadline = math.inf
        self._running -= 1
        self._ends.append(now)
        if self._ahead:
            self._start(self._ahead.popleft())
        # The next claim goes out while half of what was claimed ahead is left.
        if self.wakes_at_end and 2 * len(self._ahead) <= min(len(self._ends), self._slots):
            self._wake.set()

    def forget(self, keys: Iterable[Key]) -> None:
        """Removes runs whose ends are written, or whose jobs the worker does not hold."""
        for key in keys:
            run = self._runs.get(key)
            if run is None or run.phase is not Phase.ENDED:
                continue
            del self._runs[key]
            if run.row["crash_count"]:
                # The worker may claim the next job that was lost.
                self._wake.set()
        if self.wakes_when_empty and not self._runs:
            self._wake.set()

    def expire_at(self, run: Run, deadline: float) -> None:
        """Stops a run at ``deadline``, by the loop's clock."""
        run.deadline = deadline
        self._alarm.set(deadline)

    def _expire(self, now: float) -> float:
        soonest = math.inf
        for run in list(self._runs.values()):
            if run.deadline <= now:
                run.deadline = math.inf
                self.stop(run, Stop.TIMEOUT)
            else:
                soonest = min(soonest, run.deadline)
        return soonest

    def stop_key(self, key: Key, why: Stop) -> None:
        """Stops the run of that key, if there is one."""
        if key in self._runs:
            self.stop(self._runs[key], why)

    def stop(self, run: Run, why: Stop) -> None:
        """Cancels the handler of a run; ``why`` decides what becomes of its job."""
        if run.phase is Phase.ENDED or run.stop not in (None, Stop.TIMEOUT):
            return
        # A handler that did not end at its timeout is cancelled again for another reason.
        run.stop = why
        log.info("%s is stopped: %s", run, why.value, extra={"job_id": run.key[0]})
        if run.task is None:
            # It waits for a slot. It gets one now, to report its end.
            self._ahead.remove(run)
            self._start(run)
        elif run.phase is Phase.RUNNING:
            # A task that is cancelled before its first step could not report its end.
            run.task.cancel()

    def stop_all(self, why: Stop) -> None:
        """Stops every run, and every timeout."""
        self._alarm.stop()
        for run in list(self._runs.values()):
            self.stop(run, why)

    def return_ahead(self) -> None:
        """Gives back all that waits for a slot."""
        self.claims_ahead = False
        while self._ahead:
            self._return(self._ahead.popleft())

    async def all_ended(self) -> None:
        """Waits until no handler runs."""
        tasks = [run.task for run in self._runs.values() if run.phase is not Phase.ENDED]
        if running := [task for task in tasks if task is not None]:
            await asyncio.wait(running)

    def describe(self, task: asyncio.Task[Any]) -> str:
        """Names the job that a task runs, for the log."""
        for run in self._runs.values():
            if run.task is task:
                return str(run)
        return f"task {task.get_name()}"
