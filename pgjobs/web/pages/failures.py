"""What failed lately: by type, exception and first line of the error; and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from pgjobs.database import Database
from pgjobs.database.looking import MAX_READ_ATTEMPTS
from pgjobs.database.looking import Failures as Found
from pgjobs.job.job import Row
from pgjobs.web.options import HIDDEN, REDACTED_BEYOND_CHARS
from pgjobs.web.page import Asked, Refused, Sent, Then, moment_of
from pgjobs.web.questions import AT_ONCE_FOR_S

PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
MAX_STEP_JOBS = 1_000
MAX_LINE_CHARS = 160  # as in _jobs_error_line


@dataclass(frozen=True)
class Filters:
    """What the page is about; each stands in the address.

    ``within``: of ``PERIODS``. ``before``: no attempt ended later; None: the newest are shown.
    """

    within: str = "1h"
    before: str | None = None
    type: str | None = None
    queue: str | None = None

    def but(self, **changes: str | None) -> dict[str, str | None]:
        """The parts of the address with these changes."""
        return {**vars(self), **changes}


@dataclass(frozen=True)
class Group:
    """Attempts that failed alike; without ``error_kind`` and ``line``: were lost, or are hidden.

    ``failed``: jobs that have failed for good by it. ``retrying``: jobs that have not ended.
    """

    key: str
    job_type: str
    error_kind: str | None
    line: str | None
    attempts: int
    jobs: int
    failed: int
    retrying: int
    first_at: datetime
    last_at: datetime
    job_ids: list[str]  # the newest


@dataclass(frozen=True)
class Done:
    """How many jobs of a group the action has changed, in all its steps."""

    action: str
    key: str
    jobs: int
    has_stopped: bool  # the last step has changed none


@dataclass(frozen=True)
class Failures:
    """What the page shows; ``groups`` is None if the database has not said it."""

    filters: Filters
    groups: list[Group] | None
    has_more_groups: bool
    shows_errors: bool
    attempts: int  # that were read
    read_from: datetime | None
    read_until: datetime | None
    is_full: bool  # there may be more before read_from
    done: Done | None
    step_jobs: int  # an action changes no more at a time

    @property
    def left(self) -> int | None:
        """How many jobs the action has left to do; None: its group is not shown."""
        if self.done is None:
            return None
        return next((
            group.failed if self.done.action == "retry" else group.retrying
            for group in self.groups or [] if group.key == self.done.key
        ), None)


async def failures(asked: Asked) -> Failures:
    """Looks up the groups, if the rights allow to see attempts."""
    filters = _filters(asked)
    found = await _found(asked, filters) if asked.rights.attempts else None
    shows_errors = asked.rights.payloads
    if found is None:
        return Failures(
            filters, None, False, shows_errors, 0, None, None, False, _done(asked), MAX_STEP_JOBS
        )
    groups = await _groups(asked, filters, found.groups)
    return Failures(
        filters, groups, found.has_more_groups, shows_errors,
        found.attempts, found.read_from, found.read_until, found.is_full, _done(asked),
        MAX_STEP_JOBS,
    )


async def retry_group(database: Database, sent: Sent) -> Then:
    """Retries jobs of a group that have failed for good."""
    ids = await _ids(database, sent, "failed_ids")
    done = await database.retry_many(job_ids=ids, max_jobs=MAX_STEP_JOBS) if ids else 0
    return _then(sent, "retry", done)


async def cancel_group(database: Database, sent: Sent) -> Then:
    """Cancels jobs of a group that have not ended."""
    if sent.one("word") != "cancel":
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            "nothing was cancelled, since it cannot be undone: type the word cancel to confirm it",
        )
    ids = await _ids(database, sent, "retrying_ids")
    done = await database.cancel_many(job_ids=ids, max_jobs=MAX_STEP_JOBS) if ids else 0
    return _then(sent, "cancel", done)


async def _found(asked: Asked, filters: Filters) -> Found | None:
    shows_errors = asked.rights.payloads
    return await asked.value(
        ("failures", *vars(filters).values(), shows_errors),
        lambda database: database.failures(
            PERIODS[filters.within], _moment(filters.before), filters.type, filters.queue,
            by_error=shows_errors,
        ),
        AT_ONCE_FOR_S,
    )


async def _ids(database: Database, sent: Sent, column: str) -> list[int]:
    """All jobs of the group that were read and that the action is for."""
    filters = _filters(sent)
    found = await database.failures(
        PERIODS[filters.within], _moment(filters.before), filters.type, filters.queue,
        by_error=sent.rights.payloads, max_ids=MAX_READ_ATTEMPTS, key=sent.one("key") or "",
    )
    return [job_id for row in found.groups for job_id in row[column]]


def _then(sent: Sent, action: str, jobs: int) -> Then:
    """The same failures again, as they were read before, so that new ones do not count as left."""
    return Then("/failures", {
        **vars(_filters(sent)), "action": action, "key": sent.one("key"),
        "done": jobs + (_count(sent.one("done")) or 0), "stopped": None if jobs else "yes",
    })


def _done(asked: Asked) -> Done | None:
    action, key, jobs = asked.one("action"), asked.one("key"), _count(asked.one("done"))
    # A link from elsewhere must not stand for a word that nobody has typed.
    is_told = asked.is_led_here and action in ("retry", "cancel")
    if not is_told or action is None or key is None or jobs is None:
        return None
    return Done(action, key, jobs, asked.one("stopped") is not None)


def _count(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return int(text[:18])


def _filters(given: Asked | Sent) -> Filters:
    within = given.one("within") or Filters.within
    if within not in PERIODS:
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"there is no period {within[:40]}: choose of {', '.join(PERIODS)}",
        )
    before = given.one("before")
    _moment(before)
    return Filters(within, before, given.one("type"), given.one("queue"))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else moment_of("before", text)


async def _groups(asked: Asked, filters: Filters, rows: Sequence[Row]) -> list[Group]:
    """The groups. A hook that redacts is given an error as it was raised.

    What is hidden in a line without its numbers no longer looks like a secret.
    """
    lines = [row["error_line"] for row in rows]
    if asked.options.redact is not None and asked.rights.payloads and rows:
        max_chars = MAX_LINE_CHARS + REDACTED_BEYOND_CHARS
        key = ("newest errors", *vars(filters).values(), *(row["key"] for row in rows))
        errors = await asked.value(
            key, lambda database: database.newest_errors(rows, max_chars), AT_ONCE_FOR_S
        )
        lines = [
            _redacted_line(asked, row, error)
            for row, error in zip(rows, errors or [None] * len(rows), strict=True)
        ]
    return [_group(row, line) for row, line in zip(rows, lines, strict=True)]


def _redacted_line(asked: Asked, row: Row, error: str | None) -> str | None:
    line: str | None = row["error_line"]
    if line is None:
        return None
    if error is None:  # the attempt is gone, or the database has not said it
        return HIDDEN
    shown = asked.redacted(row["job_type"], "error", error)
    return line if shown == error else (shown or "").strip().split("\n", 1)[0][:MAX_LINE_CHARS]


def _group(row: Row, line: str | None) -> Group:
    kind = row["error_kind"]
    if line is not None and kind is not None and line.startswith(f"{kind}: "):
        line = line[len(kind) + 2 :]
    return Group(
        row["key"], row["job_type"], kind, line, row["attempts"], row["jobs"], row["failed"],
        row["retrying"], row["first_at"], row["last_at"],
        [str(job_id) for job_id in reversed(row["job_ids"])],
    )
