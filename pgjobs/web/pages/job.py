"""One job: what became of it in a sentence, why it does not run, its attempts, all its fields."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from pgjobs.database import Database
from pgjobs.job.job import Row
from pgjobs.web import questions, words
from pgjobs.web.access import Rights
from pgjobs.web.documents import indented
from pgjobs.web.options import REDACTED_BEYOND_CHARS
from pgjobs.web.page import (
    Asked,
    Refused,
    Sent,
    Then,
    job_id,
    no_job,
    nothing,
    seconds,
    together,
)
from pgjobs.web.references import told_reference
from pgjobs.web.sentence import sentence

MAX_SHOWN_CHARS = 100_000
MAX_ATTEMPTS = 20  # as many as pgjobs keeps of a job
MAX_ATTEMPT_CHARS = 20_000  # of the error of one
MAX_LINE_CHARS = 300
MAX_FLOW_JOBS = 20
MAX_REASON_CHARS = 500
MAX_TICKET_ERROR_CHARS = 2_000
_FINAL = ("completed", "failed", "cancelled")
_WAITING = ("pending", "blocked")
_TEXTS = ("error", "payload", "result", "progress", "headers")


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
        return (self.error or "").split("\n", 1)[0][:MAX_LINE_CHARS]


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
    sentence: str | None = None
    status: str | None = None
    fields: dict[str, str | datetime] = field(default_factory=dict)
    why: list[Why] | None = None
    attempts: list[Attempt] | None = None
    documents: list[Text] | None = None
    parents: Family | None = None
    children: Family | None = None
    # Those that the status and the rights allow.
    actions: list[str] = field(default_factory=list)
    # What the sentence tells, by how it tells it.
    moments: dict[str, datetime] = field(default_factory=dict)
    own_page: str | None = None  # the program's page about what the job is about
    ticket: str = ""  # what to tell of the job in a ticket


async def job(asked: Asked) -> Job:
    """Looks up all of one job, each part by itself."""
    number = job_id(asked.path["job_id"])
    rights = asked.rights
    row, why, texts, history, above, below = await together(
        questions.listed(asked, number),
        asked.value(("why", number), lambda database: database.why(number)),
        documents(asked, number) if rights.payloads else nothing(),
        asked.value(
            ("attempts", number),
            lambda database: database.attempts(
                number, MAX_ATTEMPTS, MAX_ATTEMPT_CHARS + REDACTED_BEYOND_CHARS
            ),
        ) if rights.attempts else nothing(),
        asked.value(("above", number), lambda database: database.flow_above(number, MAX_FLOW_JOBS))
        if rights.attempts else nothing(),
        asked.value(
            ("below", number), lambda database: database.flow_below([number], MAX_FLOW_JOBS)
        ) if rights.attempts else nothing(),
    )
    found: Row | None = row.value
    if found is None:
        if row.trouble is None:
            raise no_job(number)
        return Job(str(number), found=False)
    texts = None if texts is None else _redacted(asked, found["job_type"], texts)
    reasons = None if why is None else [Why(*reason) for reason in why]
    attempts = None if history is None else _attempts(asked, found, history, texts)
    told = sentence(
        found, reasons[0].detail if reasons else None, texts["error"] if texts else None
    )
    entity = found["reference_id"] if found["reference_key"] is None else found["reference_key"]
    return Job(
        str(number), True, told, found["status"], _fields(found, texts), _telling(found, reasons),
        attempts, _texts(texts), _family(above), _family(below), _actions(found, rights),
        moments=_moments(found), own_page=asked.options.own_page(found["reference_type"], entity),
        ticket=_ticket(found, told, texts, attempts),
    )


async def documents(asked: Asked, number: int) -> Row | None:
    """What only some may read of a job, before anything is redacted."""
    max_chars = MAX_SHOWN_CHARS + REDACTED_BEYOND_CHARS
    found: Row | None = await asked.value(
        ("documents", number), lambda database: database.documents(number, max_chars)
    )
    return found


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


async def run_now(database: Database, sent: Sent) -> Then:
    """Makes a job due that is due later; a job that is due already keeps its place."""
    number = job_id(sent.path["job_id"])
    row = await database.listed(number)
    if row is None or (row["status"] in _WAITING and not _is_due(row)):
        await database.edit(number, run_at=timedelta(0))
    elif row["status"] not in _WAITING:
        raise Refused(HTTPStatus.CONFLICT, f"job {number} is {row['status']}: it waits no more")
    return Then(f"/jobs/{number}")


async def delete(database: Database, sent: Sent) -> Then:
    """Deletes a job that has ended."""
    number = job_id(sent.path["job_id"])
    if (sent.one("word") or "").strip().lower() not in (str(number), "delete"):
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"nothing was deleted: to delete the job, type its id, {number}, or the word delete",
        )
    if not await database.delete_many(job_ids=[number]):
        raise Refused(
            HTTPStatus.CONFLICT,
            f"job {number} was not deleted: only a job that has ended can be, and not as long as"
            " another one that has not ended needs it, or another session has it locked",
        )
    return Then("/jobs")


def _telling(row: Row, reasons: list[Why] | None) -> list[Why] | None:
    """Why the job does not run; of one that has ended, only why it cannot be retried."""
    if reasons is None or row["status"] not in _FINAL:
        return reasons
    return [reason for reason in reasons if reason.reason == "key held"]


def _actions(row: Row, rights: Rights) -> list[str]:
    if row["status"] in _FINAL:
        fitting = ["retry", "copy", "delete"]
    elif row["status"] in _WAITING and not _is_due(row):
        fitting = ["run now", "cancel", "copy"]
    else:
        fitting = ["cancel", "copy"]
    return [action for action in fitting if action in rights.actions]


def _moments(row: Row) -> dict[str, datetime]:
    moments = [row[name] for name in ("run_at", "started_at", "updated_at", "finished_at")]
    return {words.clock(moment): moment for moment in moments if moment is not None}


def _is_due(row: Row) -> bool:
    """Whether the moment of a job that waits has come, by the database's clock."""
    since: datetime = row["run_at"] if row["status"] == "pending" else row["created_at"]
    return bool(row["run_at"] <= since + row["age"])


def _ticket(row: Row, told: str, texts: Row | None, attempts: list[Attempt] | None) -> str:
    """The job in plain text, with the last error if that may be seen."""
    fields = {
        "job": row["id"], "type": words.printable(row["job_type"]),
        "queue": words.printable(row["queue"]), "reference": words.printable(told_reference(row)),
        "status": row["status"], "attempts": row["attempt"],
        "retries": f"{row['retry_count']} of {row['max_retries']}",
    }
    lines = [told, "", *(f"{name}: {value}" for name, value in fields.items() if value != "")]
    errors = [attempt.error for attempt in attempts or [] if attempt.error]
    error = (texts["error"] if texts else None) or (errors[-1] if errors else None)
    if error:
        lines += ["", "last error:", words.printable_lines(error[:MAX_TICKET_ERROR_CHARS])]
    return "\n".join(lines)


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
    asked: Asked, row: Row, history: Sequence[Row], texts: Row | None
) -> list[Attempt]:
    """The attempts that failed or were lost, and the one that runs or has ended the job."""
    found = [
        Attempt(
            h["attempt"], h["outcome"], h["worker"], _between(h["due_at"], h["started_at"]),
            h["started_at"], _between(h["started_at"], h["ended_at"]), h["ended_at"],
            *((h["error_kind"],
               asked.redacted(row["job_type"], "error", h["error"] or "", MAX_ATTEMPT_CHARS))
              if asked.rights.payloads else (None, None)),
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


def _redacted(asked: Asked, job_type: str, row: Row) -> dict[str, Any]:
    """The texts as they may be shown, and of each how many characters it has in all."""
    shown: dict[str, Any] = {name: row[name] for name in ("unique_key", "unique_scope")}
    for name in _TEXTS:
        text = row[name]
        shown[name] = asked.redacted(job_type, name, text, MAX_SHOWN_CHARS)
        is_counted = name in ("error", "payload", "result")
        shown[f"{name}_chars"] = row[f"{name}_chars"] if is_counted else len(text or "")
    return shown


def _texts(texts: Row | None) -> list[Text] | None:
    if texts is None:
        return None
    found = []
    for name in _TEXTS:
        text = texts[name]
        if text is None or (name == "headers" and text == "{}"):
            continue
        chars = texts[f"{name}_chars"]
        shown = text if name == "error" else indented(text)
        found.append(Text(name, shown, chars if chars > MAX_SHOWN_CHARS else None))
    return found


def _family(rows: Sequence[Row] | None) -> Family | None:
    if rows is None:
        return None
    jobs = [Neighbour(str(row["id"]), row["job_type"], row["status"]) for row in rows]
    return Family(jobs, max((row["total"] for row in rows), default=0))
