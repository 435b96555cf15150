"""The queues: which ones are paused, what waits in each, and what its limits hold back."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http import HTTPStatus

from pgjobs.database import Database
from pgjobs.database.audit import who_changed
from pgjobs.database.statements import Moment
from pgjobs.database.workers import hangs
from pgjobs.job.job import Row
from pgjobs.web import questions, words
from pgjobs.web.counts import (
    MAX_SHOWN_ROWS,
    NO_JOBS,
    Counts,
    Ends,
    counts_by,
    ends_by_name,
    narrowed,
)
from pgjobs.web.page import Asked, Refused, Sent, Then, seconds, together
from pgjobs.web.pages.audit import given
from pgjobs.web.questions import AT_ONCE_FOR_S

MAX_GROUPS = 20
# What is compared with the last hour, to tell whether waits grow.
LATELY = timedelta(minutes=5)
# For how long a queue can be paused without a moment being written.
PAUSES = {
    "15 minutes": timedelta(minutes=15), "1 hour": timedelta(hours=1),
    "4 hours": timedelta(hours=4), "1 day": timedelta(days=1), "1 week": timedelta(weeks=1),
}


@dataclass(frozen=True)
class Pause:
    """Since when a queue is paused; ``until``: None if it opens only when somebody resumes it."""

    since: datetime
    until: datetime | None
    reason: str | None


@dataclass(frozen=True)
class Queue:
    """A queue; None of what the database has not said."""

    name: str
    pause: Pause | None
    counts: Counts | None
    ends: Ends | None
    limits: list[str] | None  # in words
    workers: int | None  # that live and serve it
    hanging: int  # of these workers


@dataclass(frozen=True)
class Group:
    """A group with due jobs; ``told``: why none of them starts, where that is known."""

    queue: str
    group_key: str
    due: str
    waits_s: float | None
    startable: int
    told: str | None


@dataclass(frozen=True)
class Queues:
    """What the page shows; None: the database has not said it."""

    q: str | None
    queues: list[Queue] | None
    total: int  # how many have the text in their names
    together: Counts | None  # of the queues that were not counted one by one
    since: datetime | None  # the ends of attempts are counted from here
    groups: list[Group] | None  # those that wait longest
    has_more_groups: bool  # than were looked at


@dataclass(frozen=True)
class OneQueue:
    """What the page of a queue shows; None: the database has not said it."""

    queue: Queue
    is_known: bool  # False: no job was counted there, no worker serves it, nothing limits it
    lately: Ends | None  # of the last minutes
    by: str | None  # who has paused it
    types: list[tuple[str | None, Counts]] | None
    groups: list[Group] | None
    has_more_groups: bool
    actions: list[str]
    pauses: list[str]


@dataclass
class _Known:
    """What was looked up of all queues."""

    counts: Sequence[Row] | None
    paused: Mapping[str, Row] | None
    limits: Sequence[Row] | None
    workers: Sequence[Row] | None
    ends: Sequence[Row] | None

    def names(self) -> set[str]:
        """The queues that have jobs, a worker, a pause or a limit."""
        return {
            *(row["queue"] for row in self.counts or [] if row["queue"] is not None),
            *(self.paused or {}),
            *(row["queue"] for row in self.limits or []),
            *(queue for row in self.workers or [] for queue in row["queues"]),
        }

    @cached_property
    def by_queue(self) -> dict[str | None, Counts] | None:
        """The counts of each queue; None: of those that were counted together."""
        return None if self.counts is None else counts_by("queue", self.counts)

    def queues(self, names: Collection[str]) -> dict[str, Queue]:
        counts = self.by_queue
        ends = ends_by_name(self.ends or [])
        here = [row for row in self.workers or [] if row["mode"] != "gone"]
        crews = Counter(queue for row in here for queue in row["queues"])
        hanging = Counter(queue for row in here if hangs(row) for queue in row["queues"])
        limits = {row["queue"]: told_limits(row) for row in self.limits or []}
        found = {}
        for name in names:
            pause = (self.paused or {}).get(name)
            found[name] = Queue(
                name,
                None if pause is None else Pause(
                    pause["paused_at"], pause["paused_until"], pause["pause_reason"]
                ),
                None if counts is None else counts.get(name, NO_JOBS),
                ends.get(name),
                None if self.limits is None else limits.get(name, []),
                None if self.workers is None else crews[name], hanging[name],
            )
        return found


async def queues(asked: Asked) -> Queues:
    """Looks up all queues: the paused ones first, then those that wait longest."""
    known, (groups, has_more_groups) = await together(_known(asked), _groups(asked, None))
    q = asked.one("q")
    found = narrowed(known.queues(sorted(known.names())), q)
    found.sort(key=_worst_first)
    nothing_is_known = known.counts is None and not found
    return Queues(
        q, None if nothing_is_known else found[:MAX_SHOWN_ROWS], len(found),
        None if known.by_queue is None else known.by_queue.get(None),
        max((row["since"] for row in known.ends or []), default=None),
        groups, has_more_groups,
    )


async def queue(asked: Asked) -> OneQueue:
    """Looks up one queue: its types and its groups, too."""
    name = asked.one("name")
    if name is None:
        raise Refused(HTTPStatus.NOT_FOUND, "name a queue, as in /queue?name=default")
    known, (groups, has_more_groups), lately = await together(
        _known(asked), _groups(asked, name),
        asked.value(
            "latest ends of queues", lambda database: database.recent_ends(within=LATELY),
            AT_ONCE_FOR_S,
        ),
    )
    found = known.queues([name])[name]
    by = None if found.pause is None else await _paused_by(asked, name)
    types = None if known.counts is None else sorted(
        counts_by("job_type", [row for row in known.counts if row["queue"] == name]).items(),
        key=lambda item: (-(item[1].oldest_due_s or 0.0), item[0] or ""),
    )
    fitting = ("pause queue",) if found.pause is None else ("pause queue", "resume queue")
    return OneQueue(
        found, name in known.names() or known.counts is None,
        ends_by_name(lately or []).get(name), by,
        None if types is None else types[:MAX_SHOWN_ROWS], groups, has_more_groups,
        [action for action in fitting if action in asked.rights.actions], list(PAUSES),
    )


async def pause(database: Database, sent: Sent) -> Then:
    """Pauses a queue for good, for a time or until a moment, with the reason that was written."""
    name = sent.name_of("queue")
    reason = (sent.one("reason") or "").strip()
    await database.pause(name, _until(sent), reason or None)
    return Then("/queue", {"name": name})


async def resume(database: Database, sent: Sent) -> Then:
    """Opens a queue."""
    name = sent.name_of("queue")
    await database.resume(name)
    return Then("/queue", {"name": name})


def told_limits(row: Row) -> list[str]:
    """The limits of a queue in words."""
    told = [
        f"at most {row[name]} {what}"
        for name, what in (
            ("max_running", "run at once"), ("max_running_per_group", "of each group run at once")
        )
        if row[name] is not None
    ] + [
        f"at most {row[f'{kind}_count']} {what} in {words.exactly(row[f'{kind}_period'])}"
        for kind, what in (("rate", "start"), ("group_rate", "of each group start"))
        if row[f"{kind}_count"] is not None
    ]
    return told + (["each group in order"] if row["in_order"] else [])


async def _known(asked: Asked) -> _Known:
    return _Known(*await together(
        questions.counts(asked),
        asked.value("paused", lambda database: database.paused()),
        asked.value("limits", lambda database: database.limits()),
        questions.workers(asked),
        asked.value(
            "ends of queues", lambda database: database.recent_ends(), AT_ONCE_FOR_S
        ),
    ))


async def _groups(asked: Asked, queue: str | None) -> tuple[list[Group] | None, bool]:
    """The groups that wait longest, and whether there are more than were looked at."""

    rows = await asked.value(
        ("groups", queue), lambda database: database.waiting_groups(queue, MAX_GROUPS),
        AT_ONCE_FOR_S,
    )
    if rows is None:
        return None, False
    return [
        Group(
            row["queue"], row["group_key"],
            words.total(row["due"], is_capped=row["due_capped"]), seconds(row["oldest"]),
            row["startable"], _why(row),
        )
        for row in rows
    ], any(row["is_more"] for row in rows)


def _why(row: Row) -> str | None:
    """Why nothing of a group starts now."""
    if row["told"] is None or row["held_until"] is None:
        told: str | None = row["told"]
        return told
    return f"{row['told']} at {words.clock(row['held_until'])}"


async def _paused_by(asked: Asked, name: str) -> str | None:
    """Who has paused the queue, if the newest rows of the audit have it."""

    async def question(database: Database) -> Sequence[Row]:
        rows, _ = await database.audit_search(["pause"], max_rows=200, max_read=2_000)
        return rows

    rows = await asked.value("pauses", question)
    return next(
        (who_changed(row) for row in rows or [] if given(row).get("queue") == name), None
    )


def _worst_first(found: Queue) -> tuple[bool, float, str]:
    oldest_s = None if found.counts is None else found.counts.oldest_due_s
    return found.pause is None, -(oldest_s or 0.0), found.name


def _until(sent: Sent) -> Moment:
    """When the pause ends: after the chosen time, or at the written moment of UTC."""
    chosen, written = sent.one("for"), sent.one("until")
    if chosen is not None and written is not None:
        raise Refused(HTTPStatus.BAD_REQUEST, "choose for how long or until when, not both")
    if chosen is not None:
        if chosen not in PAUSES:
            raise Refused(HTTPStatus.BAD_REQUEST, f"for: choose of {', '.join(PAUSES)}")
        return PAUSES[chosen]
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError as error:
        raise Refused(
            HTTPStatus.BAD_REQUEST, "until: write a moment of UTC, as 2030-12-31T18:00"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
