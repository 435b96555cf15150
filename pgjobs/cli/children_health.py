"""What worker processes tell their parent of their health, and what the parent makes of it."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pgjobs.worker.health import Report

# One read takes all that the pipe holds, and each report is written in one piece.
_PIPE_BYTES = 65_536
SILENT_AFTER_S = 10.0  # a child that lives tells twice a second


@dataclass(frozen=True)
class _Child:
    doing: str  # while the process has told nothing
    report: Report | None = None
    told_at: float = 0.0


class ChildrenHealth:
    """The health of all worker processes of one parent, as one report.

    The parent is live if all its processes are, and ready if all its processes are. A process that
    starts, or has ended and is started again, is not ready but live: a restart of the parent would
    only end the others.
    """

    def __init__(self, count: int, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._children = [_Child("starts")] * count

    @contextmanager
    def heard(self, slot: int) -> Iterator[int]:
        """Yields the end of a pipe for the process in that slot, and reads what comes through."""
        reading, writing = os.pipe()
        loop = asyncio.get_running_loop()
        self._children[slot - 1] = _Child("starts")
        loop.add_reader(reading, self._hear, slot, reading)
        try:
            yield writing
        finally:
            loop.remove_reader(reading)
            os.close(reading)
            os.close(writing)

    def _hear(self, slot: int, reading: int) -> None:
        last = os.read(reading, _PIPE_BYTES).splitlines()[-1]
        self._children[slot - 1] = _Child("", Report(**json.loads(last)), time.monotonic())

    def ended(self, slot: int, status: int) -> None:
        """Notes that the process in that slot has ended."""
        self._children[slot - 1] = _Child(f"ended with status {status} and is started again")

    def report(self) -> Report:
        """Returns one report for all processes, with the oldest of their ages."""
        now = time.monotonic()
        reports = [_judged(slot, child, now) for slot, child in enumerate(self._children, start=1)]
        dead = next((report.dead for report in reports if report.dead), None)
        unready = next((report.unready for report in reports if report.unready), None)
        if self._is_stopping():
            unready = "stopping: its worker processes claim no more jobs"
        return Report(
            dead, dead or unready,
            _oldest(report.lease_s for report in reports),
            _oldest(report.loop_turned_s for report in reports),
            _oldest(report.claimed_s for report in reports),
            _oldest(report.ticked_s for report in reports),
            next((report.schema for report in reports if report.schema), None),
        )


def _judged(slot: int, child: _Child, now: float) -> Report:
    """The report of one process, as it is now: an old report has older ages."""
    who = f"worker process {slot}"
    told = child.report
    if told is None:
        return Report(None, f"{who} {child.doing}")
    silent_s = now - child.told_at
    dead = told.dead and f"{who}: {told.dead}"
    if told.lease_s is not None and silent_s > told.lease_s:
        dead = (
            f"{who} has told nothing for {silent_s:.0f} s, which is longer than the lease of"
            f" {told.lease_s:.0f} s: other workers take its jobs"
        )
    unready = told.unready and f"{who}: {told.unready}"
    if unready is None and silent_s > SILENT_AFTER_S:
        unready = f"{who} has told nothing for {silent_s:.0f} s"
    return replace(
        told,
        dead=dead,
        unready=unready,
        loop_turned_s=_later(told.loop_turned_s, silent_s),
        claimed_s=_later(told.claimed_s, silent_s),
        ticked_s=_later(told.ticked_s, silent_s),
    )


def _later(age: float | None, seconds: float) -> float | None:
    return None if age is None else age + seconds


def _oldest(ages: Iterable[float | None]) -> float | None:
    return max((age for age in ages if age is not None), default=None)
