"""The audit: who has changed what, the newest first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from pgjobs.database import Database
from pgjobs.database.audit import MAX_READ_ROWS, who_changed
from pgjobs.job.job import Row
from pgjobs.web.page import Asked, Refused, job_id

PAGE_ROWS = 50
MAX_SHOWN_CHARS = 500  # of what a call was given
MAX_NAMED_IDS = 20
# The actions that are in the audit; the field takes others, too.
ACTIONS = (
    "cancel", "cleanup", "copy", "delete", "edit", "grant", "limit", "pause", "recover", "resume",
    "retain", "retry", "schedule", "schedule_pause", "schedule_resume", "schedule_run",
    "unschedule",
)
WITHIN = {
    "1 hour": timedelta(hours=1), "1 day": timedelta(days=1), "1 week": timedelta(weeks=1),
    "30 days": timedelta(days=30),
}


@dataclass(frozen=True)
class Change:
    """A call that changed something, or many things."""

    id: str
    at: datetime
    who: str
    role: str  # that logged in
    action: str
    job_id: str | None
    jobs: int | None  # how many were changed
    given: list[tuple[str, str]]  # what the call was given, cut
    reason: str | None


@dataclass(frozen=True)
class Filters:
    """What narrows the audit; each stands in the address."""

    action: str | None = None
    who: str | None = None
    job: str | None = None
    within: str | None = None


@dataclass(frozen=True)
class Audit:
    """What the page shows; ``changes`` is None if the database has not said it."""

    filters: Filters
    changes: list[Change] | None
    next_before: str | None  # the audit goes on before this row
    gave_up_after: int | None  # the search looked through so many rows, and there are more

    @property
    def actions(self) -> tuple[str, ...]:
        return ACTIONS

    @property
    def within(self) -> list[str]:
        return list(WITHIN)


async def audit(asked: Asked) -> Audit:
    """Looks up one page of the audit."""
    filters = Filters(**{name: asked.one(name) for name in vars(Filters())})
    if filters.within is not None and filters.within not in WITHIN:
        raise Refused(HTTPStatus.BAD_REQUEST, f"within: choose of {', '.join(WITHIN)}")
    number = None if filters.job is None else job_id(filters.job.strip())
    last = asked.one("before")
    before = None if last is None else job_id(last)

    async def question(database: Database) -> tuple[Sequence[Row], int | None]:
        return await database.audit_search(
            None if filters.action is None else [filters.action], filters.who, number,
            None if filters.within is None else WITHIN[filters.within], PAGE_ROWS, before,
            MAX_READ_ROWS,
        )

    found = await asked.value(("audit", *vars(filters).values(), before), question)
    if found is None:
        return Audit(filters, None, None, None)
    rows, gave_up = found
    next_before = rows[-1]["id"] if len(rows) == PAGE_ROWS else gave_up
    return Audit(
        filters, [_change(row) for row in rows],
        None if next_before is None else str(next_before),
        None if gave_up is None else MAX_READ_ROWS,
    )


def _change(row: Row) -> Change:
    return Change(
        str(row["id"]), row["at"], who_changed(row),
        row["db_role"], row["action"], None if row["job_id"] is None else str(row["job_id"]),
        row["jobs"],
        [(name, _told(value)) for name, value in given(row).items() if value is not None],
        row["reason"],
    )


def given(row: Row) -> dict[str, Any]:
    """What the call was given, also where the row was written by hand."""
    found = json.loads(row["filters"] or "{}")
    return found if isinstance(found, dict) else {"filters": found}


def _told(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    told = ", ".join(
        each if isinstance(each, str) else json.dumps(each) for each in values[:MAX_NAMED_IDS]
    )
    more = f" and {len(values) - MAX_NAMED_IDS} more" if len(values) > MAX_NAMED_IDS else ""
    return told[:MAX_SHOWN_CHARS] + more
