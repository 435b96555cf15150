"""The order that a worker process gets, and the report that it prints."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Kind = Literal["noop", "await", "burn", "probe"]
BURN = 0.001  # seconds of CPU
AWAIT = 0.001  # seconds; pgjobs, pgqueuer and graphile-worker only
EVERY = 500  # jobs per mark


@dataclass(frozen=True)
class Order:
    """One worker process.

    ``kind``: the handler does nothing, awaits 1 ms, burns 1 ms of CPU, or notes how late it was
    started.
    ``jobs``: how many are waiting. ``keys``: they have so many keys, and for each of these one runs
    after the other. ``until_empty``: drain them and return, else work until stdin is closed.
    """

    system: str
    dsn: str
    tuning: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "noop"
    jobs: int = 0
    until_empty: bool = True
    keys: int = 0

    def to_json(self) -> str:
        """The argument of the worker process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads the output of ``to_json``."""
        return cls(**json.loads(text))


@dataclass
class Report:
    """A worker process prints it at its end. Times are seconds of the monotonic clock."""

    began: float = 0.0  # before the first connection is opened
    ended: float = 0.0  # everything is completed and committed
    handled: int = 0
    marks: list[tuple[int, float]] = field(default_factory=list)  # jobs started until then
    delays: list[float] = field(default_factory=list)  # probe: enqueue called → handler started
    starts: list[tuple[float, str]] = field(default_factory=list)  # probe: when, and its label
    ends: list[tuple[float, str]] = field(default_factory=list)  # probe, jobs that sleep: the same

    @property
    def seconds(self) -> float:
        """From before the first connection until the last commit."""
        return self.ended - self.began

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads the line that the process printed."""
        return cls(**json.loads(text))


class Recorder:
    """Counts jobs in a worker process; a handler only calls ``tick``."""

    def __init__(self, kind: Kind, first: Callable[[], None]) -> None:
        self.report = Report()
        self._first = first
        self.tick: Callable[[Mapping[str, Any]], None] = {
            "noop": self._noop, "await": self._noop, "burn": self._burn, "probe": self._probe,
        }[kind]

    def finish(self) -> None:
        """Notes that everything is committed; only the first call counts."""
        self.report.ended = self.report.ended or time.monotonic()

    def end(self, payload: Mapping[str, Any]) -> None:
        """Notes the end of a job that sleeps."""
        if "label" in payload:
            self.report.ends.append((time.monotonic(), payload["label"]))

    def _noop(self, _: Mapping[str, Any]) -> None:
        report = self.report
        if report.handled % EVERY == 0:
            report.marks.append((report.handled, time.monotonic()))
            if not report.handled:
                self._first()
        report.handled += 1

    def _burn(self, payload: Mapping[str, Any]) -> None:
        self._noop(payload)
        # CPU time of this thread: time that other processes take on this core does not count.
        until = time.thread_time() + BURN
        while time.thread_time() < until:
            pass

    def _probe(self, payload: Mapping[str, Any]) -> None:
        now = time.monotonic()
        self._noop(payload)
        if "sent" in payload:
            self.report.delays.append(now - payload["sent"])
        if "label" in payload:
            self.report.starts.append((now, payload["label"]))
