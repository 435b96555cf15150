"""The list of jobs: by state, by filters, and by what somebody types into the one box."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pgjobs.database import Database
from pgjobs.database.reading import MAX_READ_JOBS
from pgjobs.errors import JobNotFound
from pgjobs.job.job import JobStatus, Row
from pgjobs.web import questions, words
from pgjobs.web.access import Rights
from pgjobs.web.bulk import KINDS
from pgjobs.web.options import REDACTED_BEYOND_CHARS
from pgjobs.web.page import Asked, Refused, job_id, seconds, together
from pgjobs.web.references import entity_number, reference_columns, told_reference

PAGE_JOBS = 50
PREVIEW_CHARS = 200
STATUSES = [str(status) for status in JobStatus]
UNFINISHED = ["pending", "processing", "blocked"]
_ENTITY = re.compile(r"([^\s:]+)(?:\s+|:)(\S.*)")


@dataclass(frozen=True)
class Tab:
    """A status that the list can be narrowed to; ``jobs``: how many, if that is known."""

    status: str | None
    jobs: str | None


@dataclass(frozen=True)
class Listed:
    """A job of the list. The payload and the error are cut, and None if they may not be seen."""

    id: str
    queue: str
    job_type: str
    status: str
    reference: str | None
    group_key: str | None
    retry_count: int
    max_retries: int
    age_s: float | None
    worker: str | None
    payload: str | None
    error: str | None


@dataclass(frozen=True)
class Filters:
    """What narrows the list; each stands in the address."""

    q: str | None = None
    status: str | None = None
    queue: str | None = None
    type: str | None = None
    reference: str | None = None
    group: str | None = None

    def but(self, **changes: str | None) -> dict[str, str | None]:
        """The parts of the address with these changes."""
        return {**vars(self), **changes}


@dataclass(frozen=True)
class Jobs:
    """What the list shows; ``jobs`` is None if the database has not said it."""

    filters: Filters
    tabs: list[Tab]
    jobs: list[Listed] | None
    next_before: str | None  # the list goes on before this job
    looked_through: int | None  # the search gave up after so many jobs
    meant: list[str]  # what the text in the box was taken for
    about: str | None  # the reference among that
    ticked: dict[str, str]  # what may be done with ticked jobs, and what its button says
    matching: dict[str, str]  # what may be done with everything that matches
    why_no_matching: str | None  # why nothing can


async def jobs(asked: Asked) -> Jobs:
    """Looks up one page of the list."""
    filters = Filters(**{name: asked.one(name) for name in vars(Filters())})
    if filters.status is not None and filters.status not in STATUSES:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"there is no status {filters.status[:40]}: choose of {', '.join(STATUSES)}",
        )
    before = None if asked.one("before") is None else job_id(asked.one("before") or "")
    counts = await questions.counts(asked)
    text = (filters.q or "").strip()
    meant: list[str] = []
    about = None
    if text:
        entity = _ENTITY.fullmatch(text)
        about = entity and f"{entity[1]}:{entity[2]}"
        rows, gave_up, meant = await _searched(asked, text, about, counts or [])
        rows = None if rows is None else [row for row in rows if _fits(row, filters)]
        next_before = None
    else:
        columns = reference_columns(filters.reference)
        rows, gave_up = await _listing(
            asked, before=before, statuses=_one(filters.status), queues=_one(filters.queue),
            job_types=_one(filters.type), group_key=filters.group, **columns,
        )
        is_full = rows is not None and len(rows) == PAGE_JOBS
        next_before = rows[-1]["id"] if rows and is_full else gave_up
    return Jobs(
        filters, _tabs(filters, counts), None if rows is None else await _shown(asked, rows),
        None if next_before is None else str(next_before),
        None if gave_up is None else MAX_READ_JOBS, meant, about, *_bulk(filters, asked.rights),
    )


def _bulk(
    filters: Filters, rights: Rights
) -> tuple[dict[str, str], dict[str, str], str | None]:
    """What may be done with ticked jobs and with all that match, and why not with these."""
    fitting = {
        name: kind.verb for name, kind in KINDS.items()
        if kind.action in rights.actions and filters.status in (None, *kind.statuses)
    }
    if filters.q:
        return fitting, {}, "What a text has found can be ticked, but not taken as a whole"
    if not any(vars(filters).values()):
        return fitting, {}, (
            "To act on everything that matches, narrow the list by a status, a queue, a type, a"
            " reference or a group"
        )
    return fitting, fitting, None


async def _listing(asked: Asked, **columns: Any) -> tuple[Sequence[Row] | None, int | None]:
    """Asks for a list; the names of a look-up's key are those of its arguments."""

    async def question(database: Database) -> tuple[Sequence[Row], int | None] | JobNotFound:
        try:
            return await database.listing(limit=PAGE_JOBS, **columns)
        except JobNotFound as error:  # the last job of the page before was deleted
            return error

    found = await asked.value(
        ("listing", *((name, repr(value)) for name, value in sorted(columns.items()))), question
    )
    if isinstance(found, JobNotFound):
        raise Refused(HTTPStatus.NOT_FOUND, str(found).partition("\n")[0])
    return (None, None) if found is None else found


async def _searched(
    asked: Asked, text: str, about: str | None, counts: Sequence[Row]
) -> tuple[Sequence[Row] | None, int | None, list[str]]:
    """Looks for a text in all places that it may name: as an id, an entity, a key and a group."""
    number = entity_number(text)
    if number is None:
        meant = ["the key of a reference"]
        calls = [_listing(asked, reference_key=text)]
    else:
        meant = ["an id", "the number of a reference"]
        calls = [_by_ids(asked, [number]), _listing(asked, reference_id=number)]
    if about is not None:
        meant.insert(0, "a reference")
        calls.insert(0, _listing(asked, **reference_columns(about)))
    meant.append("a group of jobs that have not ended")
    calls.append(_listing(asked, group_key=text, statuses=UNFINISHED))
    if asked.rights.payloads:
        meant.append("a unique key")
        calls.append(_by_key(asked, text, counts))
    answers = await together(*calls)
    rows = {row["id"]: row for found, _ in answers for row in found or []}
    if all(found is None for found, _ in answers):
        return None, None, meant
    gave_up = [edge for _, edge in answers if edge is not None]
    return list(rows.values())[:PAGE_JOBS], max(gave_up, default=None), meant


async def _by_ids(asked: Asked, ids: Sequence[int]) -> tuple[Sequence[Row] | None, int | None]:
    found = await together(*(questions.listed(asked, each) for each in ids))
    if any(seen.value is None and seen.trouble is not None for seen in found):
        return None, None
    return [seen.value for seen in found if seen.value is not None], None


async def _by_key(
    asked: Asked, text: str, counts: Sequence[Row]
) -> tuple[Sequence[Row] | None, int | None]:
    types = sorted({row["job_type"] for row in counts if row["job_type"] is not None})
    ids = await asked.value(
        ("keyed", text), lambda database: database.keyed(text, types, PAGE_JOBS)
    )
    return (None, None) if ids is None else await _by_ids(asked, ids)


async def _shown(asked: Asked, rows: Sequence[Row]) -> list[Listed]:
    """The rows of a list, with the beginnings of their payloads and errors if they may be seen."""
    ids = [row["id"] for row in rows]
    previews: Any = {}
    if asked.rights.payloads and ids:
        beyond = 0 if asked.options.redact is None else REDACTED_BEYOND_CHARS
        previews = await asked.value(
            ("previews", *ids), lambda database: database.previews(ids, PREVIEW_CHARS + beyond)
        )
    return [_listed(asked, row, (previews or {}).get(row["id"])) for row in rows]


def _listed(asked: Asked, row: Row, preview: Row | None) -> Listed:
    texts = (None, None) if preview is None else (
        asked.redacted(row["job_type"], name, preview[name], PREVIEW_CHARS)
        for name in ("payload", "error")
    )
    return Listed(
        str(row["id"]), row["queue"], row["job_type"], row["status"], told_reference(row),
        row["group_key"], row["retry_count"], row["max_retries"], seconds(row["age"]),
        row["worker"], *texts,
    )


def _fits(row: Row, filters: Filters) -> bool:
    return (
        filters.status in (None, row["status"])
        and filters.queue in (None, row["queue"])
        and filters.type in (None, row["job_type"])
    )


def _one(value: str | None) -> list[str] | None:
    return None if value is None else [value]


def _tabs(filters: Filters, counts: Sequence[Row] | None) -> list[Tab]:
    """The statuses, with counts where the filters are such that the counts know them."""
    if counts is None or filters.q or filters.reference or filters.group:
        return [Tab(None, None), *(Tab(status, None) for status in STATUSES)]
    chosen = [
        row for row in counts
        if filters.queue in (None, row["queue"]) and filters.type in (None, row["job_type"])
    ]
    # What lies beyond the counted sets of queue and type may hold some of these jobs.
    is_open = any(row["queue"] is None for row in counts)
    return [
        Tab(status, words.total(
            sum(row["count"] for row in chosen if status in (None, row["status"])),
            is_capped=is_open or any(
                row["capped"] for row in chosen if status in (None, row["status"])
            ),
        ))
        for status in (None, *STATUSES)
    ]
