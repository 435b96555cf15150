"""What a job is about, as the pages tell it and as a filter takes it: ``order:4711``."""

import json
import re
from http import HTTPStatus
from typing import Any

from pgjobs.job.job import Row
from pgjobs.web.page import Refused


def told_reference(row: Row) -> str | None:
    """The entity of a job, as the filter takes it: ``order:4711``, ``order:``, or ``4711``.

    A type or a key that would be taken for something else is quoted, as in ``"a:b":"4711"``.
    """
    kind, key = row["reference_type"], row["reference_key"]
    entity = None if row["reference_id"] is None else str(row["reference_id"])
    if key is not None:
        is_plain = entity_number(key) is None and (kind is not None or ":" not in key)
        entity = _quoted(key, is_plain=is_plain)
    if kind is None:
        return entity
    return f"{_quoted(kind, is_plain=':' not in kind)}:{entity or ''}"


def reference_columns(text: str | None) -> dict[str, Any]:
    """The columns that a reference stands for."""
    if text is None:
        return {}
    kind, rest = _unquoted(text)
    entity = rest[1:]
    if kind is None:
        kind, colon, entity = text.partition(":")
        if not colon:
            kind, entity = "", text
    elif not rest:
        return {"reference_key": kind}
    found: dict[str, Any] = {"reference_type": kind} if kind else {}
    key, more = _unquoted(entity)
    reference_id = entity_number(entity)
    if key is not None and not more:
        found["reference_key"] = key
    elif reference_id is not None:
        found["reference_id"] = reference_id
    elif entity:
        found["reference_key"] = entity
    if not found:  # it would stand for all jobs
        raise Refused(
            HTTPStatus.BAD_REQUEST, "reference: write a type, an entity, or both, as in order:4711"
        )
    return found


def _quoted(text: str, *, is_plain: bool) -> str:
    if is_plain and not text.startswith('"'):
        return text
    return json.dumps(text, ensure_ascii=False)


def _unquoted(text: str) -> tuple[str | None, str]:
    """What the text quotes at its start, and what follows; None if it quotes nothing."""
    try:
        quoted, end = json.JSONDecoder().raw_decode(text) if text.startswith('"') else (None, 0)
    except ValueError:
        return None, text
    return (quoted, text[end:]) if text[end : end + 1] in ("", ":") else (None, text)


def entity_number(text: str) -> int | None:
    """The number that a text is, if an id may be so large. With zeros before it, it is a key."""
    if re.fullmatch(r"0|-?[1-9][0-9]{0,18}", text) is None:
        return None
    return int(text) if -(2**63) <= int(text) < 2**63 else None
