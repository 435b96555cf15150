"""Calls of the SQL functions by name, with the types of their arguments."""

from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

TYPES = {
    "job_type": "text", "payload": "jsonb", "queue": "text", "priority": "int",
    "run_at": "timestamptz", "reference_type": "text", "reference_id": "bigint",
    "reference_key": "text", "group_key": "text", "headers": "jsonb", "expires_at": "timestamptz",
    "on_conflict": "text", "unique_for": "interval", "max_wait": "interval",
    "max_retries": "int", "unique_key": "text", "unique_scope": "text", "backoff": "interval[]",
    "jobs": "jsonb", "worker": "text", "queues": "text[]", "max_jobs": "int", "lease": "interval",
    "job_types": "text[]", "floors": "jsonb", "job_id": "bigint", "result": "jsonb",
    "attempt": "int", "error": "text", "retry": "boolean", "retry_in": "interval",
    "job_ids": "bigint[]", "attempts": "int[]", "results": "jsonb[]", "keep": "boolean",
    "errors": "text[]", "retries": "boolean[]", "retry_ins": "interval[]",
    "run_ats": "timestamptz[]", "gone": "text[]", "sparing": "text", "reason": "text",
    "failed_since": "timestamptz", "older_than": "interval", "statuses": "text[]",
    "set_priority": "int",
}


def connect(dsn: str) -> psycopg.Connection[dict[str, Any]]:
    return psycopg.connect(dsn, autocommit=True, row_factory=dict_row)


def call(
    conn: psycopg.Connection[dict[str, Any]], function: str, columns: str = "*", **arguments: Any
) -> list[dict[str, Any]]:
    """The rows of ``select columns from function(name => value, ...)``."""
    given = ", ".join(f"{name} => %({name})s::{TYPES[name]}" for name in arguments)
    values = {name: adapted(name, value) for name, value in arguments.items()}
    return conn.execute(f"select {columns} from {function}({given})", values).fetchall()


def adapted(name: str, value: Any) -> Any:
    if TYPES[name] == "jsonb" and value is not None:
        return Jsonb(value)
    if TYPES[name] == "jsonb[]" and isinstance(value, list):
        return [None if item is None else Jsonb(item) for item in value]
    return value
