"""A copy of a job: a new one, with the same payload or with another."""

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote_plus

import asyncpg

from pgjobs.database import Database
from pgjobs.errors import InvalidArgument
from pgjobs.web import questions
from pgjobs.web.documents import indented
from pgjobs.web.page import (
    Asked,
    GivenBack,
    Refused,
    Sent,
    Then,
    job_id,
    no_job,
    nothing,
    refuse_unless_allowed,
    together,
)
from pgjobs.web.pages.job import MAX_SHOWN_CHARS, documents

MAX_COPY_FORM_BYTES = 1_048_576
# So that a payload that is offered may double.
MAX_OFFERED_FORM_BYTES = MAX_COPY_FORM_BYTES // 2


@dataclass(frozen=True)
class Copy:
    """What the page shows. ``payload``: what may be changed, None if only the same may be run."""

    id: str
    job_type: str | None
    queue: str | None
    payload: str | None
    why_the_same: str | None  # why the payload is not offered for a change
    problem: str | None  # why the text that was sent was not taken


async def copy(asked: Asked) -> Copy:
    """Looks up the payload, as far as it may be seen and fits into a form."""
    number = job_id(asked.path["job_id"])
    refuse_unless_allowed(asked.rights, "copy")
    row, texts = await together(
        questions.listed(asked, number),
        documents(asked, number) if asked.rights.payloads else nothing(),
    )
    if row.value is None and row.trouble is None:
        raise no_job(number)
    found = row.value
    payload: str | None = None
    why_the_same: str | None = "you may not see the payload"
    if asked.given_back and asked.rights.payloads:
        payload = asked.given_back.get("payload", [""])[-1]
    elif asked.rights.payloads and found is not None and texts is not None:
        payload, why_the_same = _offered(asked, found["job_type"], texts["payload"])
    elif asked.rights.payloads:
        why_the_same = "the payload is not read yet"
    return Copy(
        str(number), found and found["job_type"], found and found["queue"], payload,
        why_the_same if payload is None else None, asked.problem,
    )


async def run_copy(database: Database, sent: Sent) -> Then:
    """Adds the copy; the payload is changed only if the form has a payload."""
    number = job_id(sent.path["job_id"])
    if "payload" not in sent.fields:
        return Then(f"/jobs/{(await database.copy(number)).id}")
    if not sent.rights.payloads:
        raise Refused(HTTPStatus.FORBIDDEN, "who may not see payloads may not change one")
    try:
        made = await database.copy(number, sent.fields["payload"][-1])
    except (InvalidArgument, asyncpg.StatementTooComplexError) as error:  # the latter: too deep
        told = " ".join(str(error).split())
        raise GivenBack(f"no job was made: {told}") from error
    return Then(f"/jobs/{made.id}")


def _offered(asked: Asked, job_type: str, text: str) -> tuple[str | None, str | None]:
    """The payload as the form has it, or why the form has none."""
    if len(text) > MAX_SHOWN_CHARS:
        return None, "the payload is too large for a form"
    if asked.redacted(job_type, "payload", text) != text:
        return None, "a part of the payload is hidden"
    shown = indented(text)
    if len(quote_plus(shown.replace("\n", "\r\n"))) > MAX_OFFERED_FORM_BYTES:
        return None, "the payload is too large for a form"
    return shown, None
