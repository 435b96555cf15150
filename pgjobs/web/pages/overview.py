"""The overview: what is wrong and what to do, then how much there is to do and who does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgjobs.database.workers import hangs
from pgjobs.job.job import Row
from pgjobs.web import questions
from pgjobs.web.chart import Chart, stacked
from pgjobs.web.counts import Count
from pgjobs.web.page import Asked, seconds, together

# In the order of a job's life. The first four are of jobs that are pending.
STATES = (
    "due", "throttled", "later", "retrying", "blocked", "processing", "completed", "failed",
    "cancelled",
)
RATES_WITHIN = timedelta(minutes=1)
CHART_WITHIN = timedelta(minutes=59)
# Their details quote errors, which not all viewers may see.
CHECKS_WITH_ERRORS = ("schedules with an error", "jobs that cannot be deleted")
# On which page to look further, by the name of the check.
PLACES = {
    "workers that hang": "/workers", "workers": "/workers", "workers that are gone": "/workers",
    "jobs without a handler": "/types", "failing types": "/failures",
    "oldest due job": "/types", "paused queues": "/queues", "long pauses": "/queues",
    "throttled queues": "/queues", "groups held by a retry": "/queues",
    "groups without a turn": "/queues", "growing waits": "/queues",
    "overdue schedules": "/schedules", "schedules without a handler": "/schedules",
    "schedules that end badly": "/schedules", "schedules that skip themselves": "/schedules",
    "schedules with an error": "/schedules", "oldest snapshot": "/system",
    "dead rows": "/system", "retention": "/system", "overdue retention": "/system",
}


@dataclass(frozen=True)
class Verdict:
    """What a check of the doctor has found."""

    check: str
    verdict: str
    detail: str
    advice: str | None

    @property
    def place(self) -> str | None:
        """The page on which to look further."""
        return PLACES.get(self.check)


@dataclass(frozen=True)
class Depth(Count):
    """How many jobs are in one state."""

    state: str
    status: str


@dataclass(frozen=True)
class Crew:
    """The workers: how many live, hang or are gone, and how many of their slots are taken."""

    alive: int
    hanging: int
    gone: int
    slots: int
    taken: int


@dataclass(frozen=True)
class Minute:
    """How many attempts ended in one minute."""

    starts_at: datetime
    completed: int
    retried: int
    failed: int
    cancelled: int


@dataclass(frozen=True)
class Overview:
    """What the overview shows; None: the database has not said it."""

    verdicts: list[Verdict] | None  # the bad ones first, then the warnings; those that are ok last
    depths: list[Depth] | None
    oldest_due_s: float | None  # None also if no job is due
    crew: Crew | None
    rates: dict[str, float] | None  # jobs a second, by the status that they reached
    minutes: list[Minute] | None

    @property
    def troubles(self) -> list[Verdict]:
        return [v for v in self.verdicts or [] if v.verdict != "ok"]

    @property
    def chart(self) -> Chart:
        return stacked([
            (f"{m.starts_at:%H:%M}", {
                "completed": m.completed, "retried": m.retried, "failed": m.failed,
                "cancelled": m.cancelled,
            })
            for m in self.minutes or []
        ])


async def overview(asked: Asked) -> Overview:
    """Looks up what is wrong and what there is to do."""
    verdicts, counts, workers, rates, minutes = await together(
        questions.verdicts(asked),
        questions.counts(asked, at_once_for_s=0.0),
        questions.workers(asked),
        asked.value("rates", lambda database: database.rates(RATES_WITHIN)),
        asked.value("minutes", lambda database: database.minutes(CHART_WITHIN)),
    )
    return Overview(
        verdicts=None if verdicts is None else _sorted(asked, verdicts),
        depths=None if counts is None else _depths(counts),
        oldest_due_s=_oldest_due_s(counts or []),
        crew=None if workers is None else _crew(workers),
        rates=rates,
        minutes=None if minutes is None else [
            Minute(*(row[name] for name in Minute.__dataclass_fields__)) for row in minutes
        ],
    )


def verdict_of(asked: Asked, row: Row) -> Verdict:
    """What a check has found, without errors that may not be seen or are to be redacted."""
    name, verdict, detail = row["check_name"], row["verdict"], row["detail"]
    is_hidden = not asked.rights.payloads or asked.options.redact is not None
    if is_hidden and name in CHECKS_WITH_ERRORS and verdict != "ok":
        detail = "the errors are hidden here"
    return Verdict(name, verdict, detail, row["advice"])


def _sorted(asked: Asked, rows: Sequence[Row]) -> list[Verdict]:
    worst_first = ("bad", "warn", "ok")
    found = [verdict_of(asked, row) for row in rows]
    return sorted(found, key=lambda v: worst_first.index(v.verdict))


def _depths(rows: Sequence[Row]) -> list[Depth]:
    found = []
    for state in STATES:
        of_state = [row for row in rows if row["state"] == state]
        status = of_state[0]["status"] if of_state else _status(state)
        found.append(Depth(
            sum(r["count"] for r in of_state), any(r["capped"] for r in of_state), state, status
        ))
    return found


def _status(state: str) -> str:
    return "pending" if state in STATES[:4] else state


def _oldest_due_s(rows: Sequence[Row]) -> float | None:
    ages = [row["oldest_due"] for row in rows if row["oldest_due"] is not None]
    return seconds(max(ages, default=None))


def _crew(rows: Sequence[Row]) -> Crew:
    here = [row for row in rows if row["mode"] != "gone"]
    hanging = sum(map(hangs, rows))
    return Crew(
        alive=len(here) - hanging, hanging=hanging, gone=len(rows) - len(here),
        slots=sum(row["concurrency"] for row in here), taken=sum(row["taken"] for row in here),
    )
