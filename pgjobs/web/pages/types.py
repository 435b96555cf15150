"""The types of jobs: how many wait, who serves them, and how their attempts ended lately."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pgjobs.job.job import Row
from pgjobs.web import questions
from pgjobs.web.counts import (
    MAX_SHOWN_ROWS,
    NO_JOBS,
    Counts,
    Ends,
    counts_by,
    ends_by_name,
    narrowed,
)
from pgjobs.web.page import Asked, together
from pgjobs.web.questions import AT_ONCE_FOR_S

MAX_SHOWN_WORKERS = 3


@dataclass(frozen=True)
class Type:
    """A type of jobs; None of what the database has not said."""

    name: str
    counts: Counts | None
    ends: Ends | None
    workers: list[str] | None  # some of those that live and serve it in a queue where it has jobs
    more_workers: int  # than are shown


@dataclass(frozen=True)
class Types:
    """What the page shows; None: the database has not said it."""

    q: str | None
    types: list[Type] | None
    total: int  # how many have the text in their names
    together: Counts | None  # of the jobs whose types were not told apart
    since: datetime | None  # the ends of attempts are counted from here


async def types(asked: Asked) -> Types:
    """Looks up the types: those first whose jobs wait longest, then those that fail most."""
    q = asked.one("q")
    rows, ends, workers = await together(
        questions.counts(asked),
        asked.value(
            "ends of types", lambda database: database.recent_ends(by_type=True), AT_ONCE_FOR_S
        ),
        questions.workers(asked),
    )
    if rows is None and ends is None:
        return Types(q, None, 0, None, None)
    counts = None if rows is None else counts_by("job_type", rows)
    told = ends_by_name(ends or [])
    names = {name for name in (*(counts or {}), *told) if name is not None}
    found = narrowed({name: name for name in sorted(names)}, q)
    found.sort(key=lambda name: (
        -((counts or {}).get(name, NO_JOBS).oldest_due_s or 0.0),
        -(told[name].bad if name in told else 0),
    ))
    crew = None if workers is None else _Crew(rows or [], workers)
    return Types(
        q,
        [
            Type(
                name, None if counts is None else counts.get(name, NO_JOBS), told.get(name),
                None if crew is None else crew.of(name)[:MAX_SHOWN_WORKERS],
                0 if crew is None else max(0, len(crew.of(name)) - MAX_SHOWN_WORKERS),
            )
            for name in found[:MAX_SHOWN_ROWS]
        ],
        len(found), None if counts is None else counts.get(None),
        max((row["since"] for row in ends or []), default=None),
    )


class _Crew:
    """Which workers serve which types."""

    def __init__(self, counts: Sequence[Row], workers: Sequence[Row]) -> None:
        self._queues: dict[str | None, set[str | None]] = {}
        for row in counts:
            if row["status"] in ("pending", "processing", "blocked"):
                self._queues.setdefault(row["job_type"], set()).add(row["queue"])
        self._workers = [
            (row["worker"], set(row["queues"]), row["job_types"] and set(row["job_types"]))
            for row in workers if row["mode"] != "gone"
        ]

    def of(self, name: str) -> list[str]:
        """The living workers of a type, in one of the queues where it has jobs to run."""
        queues = self._queues.get(name, set())
        return [
            worker for worker, served, types in self._workers
            if (types is None or name in types)
            and (not queues or None in queues or not queues.isdisjoint(served))
        ]
