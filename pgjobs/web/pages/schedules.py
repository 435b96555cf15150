"""The schedules: when each fires next, what became of its last jobs, and what stops it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from pgjobs.database import Database
from pgjobs.errors import JobNotFound
from pgjobs.job.job import Row
from pgjobs.web import words
from pgjobs.web.counts import MAX_SHOWN_ROWS, narrowed
from pgjobs.web.page import Asked, Refused, Sent, Then, together

OVERDUE_AFTER = timedelta(minutes=1)
MAX_ERROR_CHARS = 10_000
# What a worker makes up for after nobody could fire, and what it does while the last job goes on.
MISSED = {
    "latest": "of the moments that nobody could fire, the latest is made up for",
    "all": "each moment that nobody could fire is made up for",
    "none": "moments that nobody could fire are not made up for",
}
OVERLAP = {
    "skip": "no job is added while the last one has not ended",
    "allow": "a job is added also while the last one has not ended",
    "replace": "a job replaces the last one if that one has not started",
}


@dataclass(frozen=True)
class Outcome:
    """A job that the schedule has added; ``status``: None if it is deleted, or not read yet."""

    id: str
    status: str | None


@dataclass(frozen=True)
class Schedule:
    """A schedule. ``state``: paused, overdue, over, or on."""

    name: str
    state: str
    when: str
    timezone: str | None  # whose clocks are meant, if that matters
    job_type: str
    queue: str
    next_at: datetime | None
    last_at: datetime | None
    last: list[Outcome]  # the newest first
    has_failed: bool  # the latest moment gave no job
    error: str | None  # None also if it may not be seen


@dataclass(frozen=True)
class Schedules:
    """What the page shows; None: the database has not said it."""

    q: str | None
    schedules: list[Schedule] | None
    total: int  # how many have the text in their names


@dataclass(frozen=True)
class Moment:
    """When a schedule fires: as the clocks of its time zone show it, and in UTC."""

    local_time: datetime
    at: datetime


@dataclass(frozen=True)
class OneSchedule:
    """What the page of a schedule shows; None: the database has not said it."""

    name: str
    schedule: Schedule | None = None
    moments: list[Moment] | None = None
    # What it does where moments were missed, or jobs would overlap.
    told: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    paused_at: datetime | None = None
    actions: list[str] = field(default_factory=list)


async def schedules(asked: Asked) -> Schedules:
    """Looks up all schedules: those that want a look first, then by name."""
    q = asked.one("q")
    rows = await _rows(asked)
    if rows is None:
        return Schedules(q, None, 0)
    found = narrowed({row["name"]: row for row in rows}, q)
    found.sort(key=lambda row: (row["error"] is None, _state(row) != "overdue", row["name"]))
    statuses = await _statuses(asked, found[:MAX_SHOWN_ROWS])
    return Schedules(
        q, [_schedule(asked, row, statuses) for row in found[:MAX_SHOWN_ROWS]], len(found)
    )


async def schedule(asked: Asked) -> OneSchedule:
    """Looks up one schedule."""
    name = asked.one("name")
    if name is None:
        raise Refused(HTTPStatus.NOT_FOUND, "name a schedule, as in /schedule?name=nightly")
    rows = await _rows(asked)
    row = next((each for each in rows or [] if each["name"] == name), None)
    if row is None:
        if rows is not None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such schedule: it may be removed")
        return OneSchedule(name)

    async def preview(database: Database) -> Sequence[Row]:
        try:
            return await database.schedule_preview(name)
        except JobNotFound:  # it was removed meanwhile
            return []

    statuses, moments = await together(
        _statuses(asked, [row]), asked.value(("preview", name), preview)
    )
    fitting = ["run schedule", "pause schedule" if row["paused_at"] is None else "resume schedule"]
    return OneSchedule(
        name, _schedule(asked, row, statuses),
        None if moments is None else [Moment(each["local_time"], each["at"]) for each in moments],
        [_missed(row), OVERLAP.get(row["overlap"], str(row["overlap"]))], _fields(row),
        row["paused_at"], [action for action in fitting if action in asked.rights.actions],
    )


async def run(database: Database, sent: Sent) -> Then:
    """Adds a job of the schedule now, and shows it; or the one that is in its way."""
    job = await database.schedule_run(sent.name_of("schedule"))
    return Then(f"/jobs/{job.id}")


async def pause(database: Database, sent: Sent) -> Then:
    """Pauses a schedule."""
    name = sent.name_of("schedule")
    await database.schedule_pause(name)
    return Then("/schedule", {"name": name})


async def resume(database: Database, sent: Sent) -> Then:
    """Lets a paused schedule go on."""
    name = sent.name_of("schedule")
    await database.schedule_resume(name)
    return Then("/schedule", {"name": name})


async def _rows(asked: Asked) -> Sequence[Row] | None:
    return await asked.value("schedules", lambda database: database.schedules())


async def _statuses(asked: Asked, rows: Sequence[Row]) -> Mapping[int, str]:
    """The statuses of the last jobs of these schedules."""
    ids = sorted({number for row in rows for number in row["recent_job_ids"]})
    if not ids:
        return {}
    return await asked.value(("statuses", *ids), lambda database: database.statuses(ids)) or {}


def _schedule(asked: Asked, row: Row, statuses: Mapping[int, str]) -> Schedule:
    return Schedule(
        row["name"], _state(row),
        row["cron"] or f"every {words.exactly(row['every'])}",
        None if row["cron"] is None else row["timezone"], row["job_type"], row["queue"],
        row["next_at"], row["last_at"],
        [Outcome(str(number), statuses.get(number)) for number in row["recent_job_ids"]],
        row["error"] is not None,
        asked.redacted(row["job_type"], "error", row["error"], MAX_ERROR_CHARS)
        if asked.rights.payloads else None,
    )


def _state(row: Row) -> str:
    if row["paused_at"] is not None:
        return "paused"
    if row["next_at"] is None:
        return "over"
    return "overdue" if row["next_at"] < datetime.now(UTC) - OVERDUE_AFTER else "on"


def _missed(row: Row) -> str:
    told = MISSED.get(row["missed"], str(row["missed"]))
    if row["missed_within"] is None or row["missed"] == "none":
        return told
    return f"{told}, but none that is older than {words.exactly(row['missed_within'])}"


def _fields(row: Row) -> dict[str, str]:
    """The other fields that have a value, in words."""
    told = {
        "group": row["group_key"], "priority": str(row["priority"]),
        "retries": str(row["max_retries"]),
        "starts": words.moment(row["starts_at"]) or None,
        "ends": words.moment(row["ends_at"]) or None,
        "declared": "by code" if row["is_declared"] else "by hand",
        "made": words.moment(row["created_at"]), "changed": words.moment(row["updated_at"]),
    }
    return {name: value for name, value in told.items() if value is not None}
