"""How many jobs a queue or a type has in each state, and how its attempts ended lately."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from pgjobs.job.job import Row
from pgjobs.web import words
from pgjobs.web.page import seconds

T = TypeVar("T")

MAX_SHOWN_ROWS = 100  # of a table; a filter leads to the others

Column = Literal["queue", "job_type"]


@dataclass(frozen=True)
class Count:
    """How many jobs; ``is_capped``: there may be more."""

    jobs: int
    is_capped: bool

    @property
    def told(self) -> str:
        return words.total(self.jobs, is_capped=self.is_capped)


@dataclass(frozen=True)
class Counts:
    """How many jobs are in each state, and for how long the oldest due one has waited."""

    states: dict[str, Count]
    oldest_due_s: float | None

    def told(self, state: str) -> str:
        return self.states[state].told if state in self.states else "0"

    def jobs(self, state: str) -> int:
        return self.states[state].jobs if state in self.states else 0


@dataclass(frozen=True)
class Ends:
    """How attempts ended since a moment, and how long they waited and ran."""

    since: datetime
    attempts: int
    bad: int  # failed, retried or lost
    wait_p50_s: float | None
    wait_p95_s: float | None
    run_p50_s: float | None
    run_p95_s: float | None

    @property
    def bad_percent(self) -> float:
        return 100 * self.bad / self.attempts


NO_JOBS = Counts({}, None)


def counts_by(column: Column, rows: Sequence[Row]) -> dict[str | None, Counts]:
    """Adds up the rows of ``stats``; None stands for those that were counted together."""
    sums: dict[str | None, dict[str, tuple[int, bool]]] = {}
    oldest: dict[str | None, timedelta] = {}
    for row in rows:
        name, state, age = row[column], row["state"], row["oldest_due"]
        of_name = sums.setdefault(name, {})
        jobs, is_capped = of_name.get(state, (0, False))
        of_name[state] = jobs + row["count"], is_capped or row["capped"]
        if age is not None:
            oldest[name] = max(age, oldest.get(name, age))
    return {
        name: Counts(
            {state: Count(*told) for state, told in states.items()}, seconds(oldest.get(name))
        )
        for name, states in sums.items()
    }


def ends_by_name(rows: Sequence[Row]) -> dict[str | None, Ends]:
    """The rows of ``recent_ends``, by the name of the queue or the type."""
    fields = Ends.__dataclass_fields__
    return {row["name"]: Ends(*(row[field] for field in fields)) for row in rows}


def narrowed(named: Mapping[str, T], text: str | None) -> list[T]:
    """Those whose name has this text in it, in upper or lower case."""
    wanted = (text or "").casefold()
    return [each for name, each in named.items() if wanted in name.casefold()]
