"""One job: what became of it in a sentence, why it does not run, its attempts, all its fields."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

from pgjobs.database import Database
from pgjobs.job.job import Row
from pgjobs.web import words
from pgjobs.web.access import Rights
from pgjobs.web.documents import indented
from pgjobs.web.page import Asked, Refused, Sent, Then, job_id, seconds, together
from pgjobs.web.pages.jobs import told_reference
from pgjobs.web.sentence import sentence

MAX_SHOWN_CHARS = 100_000
MAX_FLOW_JOBS = 20
MAX_REASON_CHARS = 500
_FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class Why:
    """A reason why the job does not run."""

    reason: str
    detail: str
    advice: str


@dataclass(frozen=True)
class Attempt:
    """An attempt: how long it waited and ran, how it ended, and where."""

    attempt: int
    outcome: str
    worker: str | None
    waited_s: float | None
    started_at: datetime | None
    ran_s: float | None
    ended_at: datetime | None
    error_kind: str | None
    error: str | None

    @property
    def first_line(self) -> str:
        return (self.error or "").split("\n", 1)[0]


@dataclass(frozen=True)
class Text:
    """A document of a job, with at most ``MAX_SHOWN_CHARS`` of its characters."""

    name: str
    text: str
    chars: int | None  # of all of it, if a part was left out


@dataclass(frozen=True)
class Neighbour:
    """A parent or a child of the job."""

    id: str
    job_type: str
    status: str


@dataclass(frozen=True)
class Family:
    """What the job waits for, or what waits for it; ``total``: how many, at least."""

    jobs: list[Neighbour]
    total: int


@dataclass(frozen=True)
class Job:
    """What the page shows; None: the database has not said it, or it may not be seen."""

    id: str
    found: bool  # False: the database has not said whether there is such a job
    sentence: str | None
    status: str | None
    fields: dict[str, str | datetime]
    why: list[Why] | None
    attempts: list[Attempt] | None
    documents: list[Text] | None
    parents: Family | None
    children: Family | None
    actions: list[str]  # those that the status and the rights allow
    # What the sentence tells, by how it tells it.
    moments: dict[str, datetime] = field(default_factory=dict)


async def job(asked: Asked) -> Job:
    """Looks up all of one job, each part by itself."""
    number = job_id(asked.path["job_id"])
    rights = asked.rights
    row, why, texts, history, above, below = await together(
        asked.look(("listed", number), lambda database: database.listed(number)),
        asked.value(("why", number), lambda database: database.why(number)),
        asked.value(
            ("documents", number), lambda database: database.documents(number, MAX_SHOWN_CHARS)
        ) if rights.payloads else _nothing(),
        asked.value(("history", number), lambda database: database.history(number))
        if rights.attempts else _nothing(),
        asked.value(("above", number), lambda database: database.flow_above(number, MAX_FLOW_JOBS))
        if rights.attempts else _nothing(),
        asked.value(
            ("below", number), lambda database: database.flow_below([number], MAX_FLOW_JOBS)
        ) if rights.attempts else _nothing(),
    )
    found: Row | None = row.value
    if found is None:
        if row.trouble is None:
            raise Refused(
                HTTPStatus.NOT_FOUND, f"there is no job {number}: it may have been deleted"
            )
        return Job(str(number), False, None, None, {}, None, None, None, None, None, [])
    reasons = None if why is None else [Why(*reason) for reason in why]
    return Job(
        str(number), True,
        sentence(
            found, reasons[0].detail if reasons else None, texts["error"] if texts else None
        ),
        found["status"], _fields(found, texts), _telling(found, reasons),
        None if history is None else _attempts(found, history, texts, rights), _texts(texts),
        _family(above), _family(below), _actions(found, rights), moments=_moments(found),
    )


async def retry(database: Database, sent: Sent) -> Then:
    """Makes the job pending again."""
    number = job_id(sent.path["job_id"])
    await database.retry(number)
    return Then(f"/jobs/{number}")


async def cancel(database: Database, sent: Sent) -> Then:
    """Cancels the job, with the reason that was written."""
    number = job_id(sent.path["job_id"])
    reason = (sent.one("reason") or "").strip()[:MAX_REASON_CHARS]
    await database.cancel(number, reason or None)
    return Then(f"/jobs/{number}")


async def _nothing() -> None:
    """Stands for a look-up of what may not be seen."""


def _telling(row: Row, reasons: list[Why] | None) -> list[Why] | None:
    """Why the job does not run; that it has ended stands in the sentence already."""
    return [] if row["status"] in _FINAL else reasons


def _actions(row: Row, rights: Rights) -> list[str]:
    fitting = ["retry"] if row["status"] in _FINAL else ["cancel"]
    return [action for action in fitting if action in rights.actions]


def _moments(row: Row) -> dict[str, datetime]:
    moments = [row[name] for name in ("run_at", "started_at", "updated_at", "finished_at")]
    return {words.clock(moment): moment for moment in moments if moment is not None}


def _fields(row: Row, texts: Row | None) -> dict[str, str | datetime]:
    """The fields that have a value; what is no moment is in words."""
    told: dict[str, str | datetime | None] = {
        "queue": row["queue"], "type": row["job_type"], "reference": told_reference(row),
        "group": row["group_key"], "priority": str(row["priority"]),
        "unique key": None if texts is None or texts["unique_key"] is None
        else f"{texts['unique_key']} ({texts['unique_scope']})",
        "batch": None if row["batch_id"] is None else str(row["batch_id"]),
        "retries": f"{row['retry_count']} of {row['max_retries']}",
        "crashes": str(row["crash_count"]) if row["crash_count"] else None,
        "worker": row["worker"],
        "created": row["created_at"], "due": row["run_at"], "expires": row["expires_at"],
        "started": row["started_at"], "finished": row["finished_at"],
        "lease until": row["lease_until"], "cancel requested": row["cancel_requested_at"],
    }
    return {name: value for name, value in told.items() if value is not None}


def _attempts(
    row: Row, history: Sequence[Row], texts: Row | None, rights: Rights
) -> list[Attempt]:
    """The attempts that failed or were lost, and the one that runs or has ended the job."""
    found = [
        Attempt(
            h["attempt"], h["outcome"], h["worker"], _between(h["due_at"], h["started_at"]),
            h["started_at"], _between(h["started_at"], h["ended_at"]), h["ended_at"],
            *((h["error_kind"], (h["error"] or "")[:MAX_SHOWN_CHARS]) if rights.payloads
              else (None, None)),
        )
        for h in history
    ]
    told = {attempt.attempt for attempt in found}
    status = row["status"]
    has_run = row["started_at"] is not None and (
        status in ("processing", "completed", "failed")
        or (status == "cancelled" and row["cancel_requested_at"] is not None)
    )
    if has_run and row["attempt"] not in told:
        ended_at: datetime | None = row["finished_at"]
        found.append(Attempt(
            row["attempt"], "runs" if status == "processing" else status, row["worker"],
            _between(row["run_at"], row["started_at"]), row["started_at"],
            seconds(row["age"]) if ended_at is None else _between(row["started_at"], ended_at),
            ended_at, None,
            texts["error"] if texts and status != "processing" else None,
        ))
    return found


def _between(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return max(0.0, seconds(end - start) or 0.0)


def _texts(row: Row | None) -> list[Text] | None:
    if row is None:
        return None
    found = []
    for name in ("error", "payload", "result", "progress", "headers"):
        text = row[name]
        if text is None or (name == "headers" and text == "{}"):
            continue
        chars = row[f"{name}_chars"] if name in ("error", "payload", "result") else len(text)
        is_cut = chars > MAX_SHOWN_CHARS or len(text) == MAX_SHOWN_CHARS
        shown = text if name == "error" else indented(text)
        found.append(Text(name, shown, chars if is_cut else None))
    return found


def _family(rows: Sequence[Row] | None) -> Family | None:
    if rows is None:
        return None
    jobs = [Neighbour(str(row["id"]), row["job_type"], row["status"]) for row in rows]
    return Family(jobs, max((row["total"] for row in rows), default=0))
