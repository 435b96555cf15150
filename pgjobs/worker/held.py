"""The register of all that a worker holds: claimed, running, and ended but not written."""

import asyncio
import contextvars
import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from pgjobs.connection.alarm import Alarm
from pgjobs.handler.run import ENDED, RUNNING, Key, Run, Stop
from pgjobs.job.job import Row
from pgjobs.worker.places import Places
from pgjobs.worker.wake import Wake

log = logging.getLogger("pgjobs.worker")

# Jobs are claimed ahead of free slots: as many as ended within this time, so that they begin about
# as soon. What waits longer than the second is given back.
AHEAD_S = 0.01
RETURN_AHEAD_AFTER_S = 0.02
MAX_AHEAD = 300  # more gain nothing: a statement for that many costs little per job
DOUBT_WHEN_ABANDONED_S = 5.0
# Jobs begin in groups of this size, so that the loop can send the next claim between two groups.
BEGIN_AT_ONCE = 200
# For that many jobs a claim is worth its cost, so it does not wait until half have ended.
CLAIM_AT_ONCE_FROM = 400

_KEY = itemgetter(0, 1)


class Held:
    """One run per job and attempt. A run is forgotten when its end is written.

    ``begin`` makes the coroutine of a run; the coroutine calls ``end`` and does not raise.
    ``give_back`` is told of a run that does not begin here. ``places``: those that the runs of some
    types need, too.
    """

    def __init__(
        self,
        slots: int,
        wake: Wake,
        *,
        begin: Callable[[Run], Coroutine[Any, Any, None]],
        give_back: Callable[[Run], None],
        places: Sequence[Places] = (),
    ) -> None:
        self._slots = slots
        self._places_of = {
            job_type: tuple(other for other in places if job_type in other.types)
            for one in places for job_type in one.types
        }
        self._lost_but_running: set[int] = set()  # job ids
        self._behind: dict[int, Run] = {}  # by job id, until the handler of its last run has ended
        self._wake = wake
        self._begin = begin
        self._give_back = give_back
        self._runs: dict[Key, Run] = {}
        self._running = 0  # runs that have a slot
        self._ahead: deque[Run] = deque()
        self._ends = Recent(AHEAD_S)
        self._alarm = Alarm(self._expire)
        self._return_timer: asyncio.TimerHandle | None = None
        self._next_claim_at = 0
        self._is_filling = False  # whether `_fill` is called again soon
        self.registration: int | None = None  # of the worker's name, since its last start
        self._in_doubt_until = 0.0
        self._is_closed = False
        self._context: contextvars.Context | None = None
        # Kept, because Python 3.11 asks the system for its process at each get_running_loop().
        self._loop: asyncio.AbstractEventLoop
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
    def free_slots(self) -> int:
        """How many claimed jobs could begin at once."""
        return max(0, self._slots - self._running - len(self._ahead))

    @property
    def has_free_slot(self) -> bool:
        """Whether a claimed job could begin at once."""
        return self._running < self._slots

    def open(self) -> None:
        """Runs begin in the loop of the caller, and see its context variables, not each other's."""
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()

    @property
    def keys(self) -> tuple[list[int], list[int]]:
        """The ids and the attempts of all runs."""
        keys = sorted(self._runs)
        return [job_id for job_id, _ in keys], [attempt for _, attempt in keys]

    def doubt(self, seconds: float) -> None:
        """For this long the server may know jobs of this worker that are not in this register."""
        now = asyncio.get_running_loop().time()
        self._in_doubt_until = max(self._in_doubt_until, now + seconds)

    @property
    def needs_heartbeat(self) -> bool:
        """Whether there is anything to name, or to have given back."""
        return bool(self._runs) or asyncio.get_running_loop().time() < self._in_doubt_until

    def find(self, key: Key) -> Run | None:
        """The run of that key."""
        return self._runs.get(key)

    def find_all(self, ended: Iterable[tuple[int, int, object]]) -> Iterator[Run | None]:
        """The runs of ends: of each its job's id, its attempt and its outcome."""
        return map(self._runs.get, map(_KEY, ended))

    def holds(self, job_id: int) -> bool:
        """Whether there is a run of that job."""
        return any(held == job_id for held, _ in self._runs)

    def room(self) -> int:
        """How many jobs the worker may claim now: for free slots, and ahead of them."""
        free = self._slots - self._running - len(self._ahead)
        return max(0, free + self._may_wait(asyncio.get_running_loop().time()))

    def _may_wait(self, now: float) -> int:
        """How many claimed jobs may wait for a slot."""
        return min(MAX_AHEAD, self._ends.count(now)) if self.claims_ahead else 0

    def take(self, rows: Sequence[Row]) -> None:
        """Begins as many of the claimed jobs as there are slots; the others wait for a slot."""
        now = asyncio.get_running_loop().time()
        free = self._slots - self._running - len(self._ahead)
        for row in rows:
            run = Run(row, now)
            if run.key in self._runs:
                self._meet(self._runs[run.key], run)
                continue
            self._runs[run.key] = run
            free -= 1
            if self._places_of:
                run.places = self._places_of.get(row["job_type"], ())
                for places in run.places:
                    places.taken += 1
            if run.key[1] > 1 and not self._is_closed and self._still_runs(run.key):
                # It was lost, and must not run beside its old handler. It is safe here: no other
                # worker may run it meanwhile.
                self._behind[run.key[0]] = run
                continue
            # A job that was lost, or of a group, must not wait here while it could run elsewhere.
            if self._is_closed or (free < 0 and (run.is_crashed or row["group_key"] is not None)):
                self._return(run)
            else:
                self._ahead.append(run)
        # The next claim goes out while half of the jobs are left.
        self._next_claim_at = (self._slots + self._may_wait(now)) // 2
        if self.claims_ahead and self.room() >= CLAIM_AT_ONCE_FROM:
            self._wake.set()
        self._fill()

    def _still_runs(self, key: Key) -> bool:
        """Whether the handler of an earlier attempt, which was lost, still runs here."""
        job_id, attempt = key
        last = self._runs.get((job_id, attempt - 1))
        if last is not None:
            self.stop(last, Stop.LOST)  # the heartbeat has not told it yet
        return job_id in self._lost_but_running

    def _fill(self) -> None:
        """Begins what waits while slots are free, not too many at once."""
        for _ in range(min(len(self._ahead), self._slots - self._running, BEGIN_AT_ONCE)):
            self._start(self._ahead.popleft())
        self._is_filling = bool(self._ahead) and self._running < self._slots
        if self._ahead:
            loop = asyncio.get_running_loop()
            if self._is_filling:
                loop.call_soon(self._fill)
            elif self._return_timer is None:
                self._return_timer = loop.call_later(RETURN_AHEAD_AFTER_S, self._return_late)

    def _meet(self, old: Run, new: Run) -> None:
        """A crash of the server undid the claim of ``old``, and this worker has claimed again."""
        if old.row["created_at"] != new.row["created_at"]:
            # Another job has the id: its old one was never flushed, or not sent to a standby.
            self.stop(old, Stop.LOST)
        if old.stop is Stop.LOST:
            self._give_back(new)
        # Else it is the same attempt of the same job, and its handler runs on.

    def _start(self, run: Run) -> None:
        self._running += 1
        # Not in a TaskGroup: its callback at each end costs a tenth of a short job.
        context = None if self._context is None else self._context.copy()
        run.task = self._loop.create_task(self._begin(run), context=context)

    def _return(self, run: Run) -> None:
        run.phase = ENDED
        for places in run.places:
            places.leave()
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
        if run.phase is ENDED:
            return
        run.phase = ENDED
        run.deadline = math.inf
        run.task = None  # its context has the run: a circle would wait for the garbage collector
        self._running -= 1
        for places in run.places:
            if places.leave():
                self._wake.set()
        ends, ahead = self._ends, self._ahead
        if run.stop is Stop.LOST:
            self._lost_but_running.discard(run.key[0])
            if (behind := self._behind.pop(run.key[0], None)) is not None:
                ahead.appendleft(behind)
        if now < ends.until:
            ends.now += 1
        else:
            ends.begin(now)
        if ahead and not self._is_filling and self._running < self._slots:
            self._start(ahead.popleft())
        if self.wakes_at_end and (
            not ahead or self._running + len(ahead) <= self._next_claim_at
        ):
            self._wake.set()

    def forget(self, written: Iterable[tuple[int, int, object]], but: Collection[object]) -> None:
        """Removes the runs whose ends are written: of each its id, its attempt and its outcome."""
        runs = self._runs
        for ended in written:
            run = runs.get((ended[0], ended[1]))
            if run is not None and run.phase is ENDED and (not but or ended not in but):
                del runs[run.key]
                if run.is_crashed:
                    # The worker may claim the next job that was lost.
                    self._wake.set()
        if self.wakes_when_empty and not self._runs:
            self._wake.set()

    def drop(self, key: Key) -> None:
        """Removes a run that has ended."""
        self.forget([(*key, None)], but=())

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
        if run.phase is ENDED:
            return
        # A handler that did not end at its timeout is cancelled again for another reason, and one
        # that did not end at all when the worker stops.
        if run.stop in (None, Stop.TIMEOUT):
            run.stop = why
        elif why is not Stop.SHUTDOWN:
            return
        if why is Stop.LOST:
            self._lost_but_running.add(run.key[0])
        log.info("%s is asked to end: %s", run, why.value, extra={"job_id": run.key[0]})
        if run.task is None:
            # It waits for a slot. It gets one now, to report its end.
            if self._behind.get(run.key[0]) is run:
                del self._behind[run.key[0]]
            else:
                self._ahead.remove(run)
            self._start(run)
        elif run.halt is not None:
            run.halt()
        elif run.phase is RUNNING:
            # A task that is cancelled before its first step could not report its end.
            run.task.cancel()

    def stop_all(self, why: Stop) -> None:
        """Stops every run, and every timeout."""
        self._alarm.stop()
        for run in list(self._runs.values()):
            self.stop(run, why)

    def close(self) -> None:
        """Gives back all that waits for a slot, and what is claimed from now on.

        From the first call on, handlers that ask are told that they should end.
        """
        self._is_closed = True
        self.claims_ahead = False
        while self._ahead:
            self._return(self._ahead.popleft())
        while self._behind:
            self._return(self._behind.popitem()[1])
        for run in self._runs.values():
            if not run.is_asked_to_stop and run.phase is not ENDED:
                run.is_asked_to_stop = True
                if run.ask_to_stop is not None:
                    run.ask_to_stop()

    async def all_ended(self, within_s: float) -> None:
        """Waits until no handler runs, for a limited time."""
        tasks = [run.task for run in self._runs.values() if run.phase is not ENDED]
        if running := [task for task in tasks if task is not None]:
            await asyncio.wait(running, timeout=within_s)

    def abandon(self) -> bool:
        """Empties the register, so that the server gives back what it has; False: nothing ran."""
        running = [run for run in self._runs.values() if run.phase is not ENDED]
        for run in running:
            run.is_abandoned = True
            log.warning(
                "%s still runs, and cannot be stopped: it is given back, and may run elsewhere"
                " beside its handler until this process ends", run, extra=run.log_fields,
            )
        if self._runs:
            self.doubt(DOUBT_WHEN_ABANDONED_S)
            self._runs.clear()
        return bool(running)

    def describe(self, task: asyncio.Task[Any]) -> str:
        """Names the job that a task runs, for the log."""
        for run in self._runs.values():
            if run.task is task:
                return str(run)
        return f"task {task.get_name()}"


class Recent:
    """How many things happened lately: in the last whole window, or in this one if more.

    Whoever counts adds to ``now`` before ``until``, and else calls ``begin``: a call per job would
    cost a hundredth of a short job.
    """

    __slots__ = ("_window_s", "before", "now", "until")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self.until = 0.0
        self.now = 0
        self.before = 0

    def begin(self, now: float) -> None:
        """Begins a window, and counts one."""
        self.before = self.now if now < self.until + self._window_s else 0
        self.until, self.now = now + self._window_s, 1

    def count(self, now: float) -> int:
        """The larger count of the two windows; 0 if they are over."""
        return 0 if now >= self.until + self._window_s else max(self.before, self.now)
