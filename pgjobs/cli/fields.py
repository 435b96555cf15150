"""The fields of a job, as ``--json`` and ``pgjobs show`` print them."""

import json
from typing import Any

from pgjobs.database import JOB_COLUMNS
from pgjobs.job.job import Job

_FIELDS = [column.strip().removesuffix("::text") for column in JOB_COLUMNS.split(",")]
JSON_FIELDS = frozenset({"payload", "result", "headers", "progress"})


def job_data(job: Job[Any]) -> dict[str, Any]:
    return {name: _shown(job, name) for name in _FIELDS}


def indented_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _shown(job: Job[Any], name: str) -> Any:
    """The field; as text if Python cannot read or write what PostgreSQL's jsonb may hold."""
    try:
        value = getattr(job, name)
        json.dumps({name: value}, indent=2, default=str)
    except (RecursionError, ValueError):  # nested too deeply, or an integer of too many digits
        return job._value(name)
    return value
