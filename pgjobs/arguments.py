"""What ``enqueue`` refuses before it asks the database: one call and many are checked alike."""

from datetime import datetime, timedelta
from typing import Any

from .database import Moment
from .errors import InvalidArgument

_TYPES = {
    "job_type": str, "queue": str, "priority": int, "max_retries": int, "unique_key": str,
    "unique_scope": str,
}  # fmt: skip


def typed(**arguments: Any) -> dict[str, Any]:
    """The arguments, if they are of their types: JSON would let a number pass for a string."""
    for name, value in arguments.items():
        if value is not None and not isinstance(value, _TYPES[name]):
            raise InvalidArgument(f"{name} must be of type {_TYPES[name].__name__}, not {value!r}")
    if arguments["job_type"] is None:
        raise InvalidArgument("job_type is missing")
    return arguments


def not_before(run_at: Moment, delay: timedelta | None) -> Moment:
    """When a job may run, of the two ways to say so."""
    if run_at is not None and delay is not None:
        raise InvalidArgument("give run_at or delay, not both")
    after = delay if run_at is None else run_at
    if isinstance(after, timedelta):
        if not timedelta(0) <= after <= timedelta(days=365_000):
            raise InvalidArgument(f"delay must be from 0 to a thousand years, not {after}")
    elif isinstance(after, datetime):
        if after.tzinfo is None:
            raise InvalidArgument(f"run_at must have a time zone, which {after} has not")
    elif after is not None:
        raise InvalidArgument(f"run_at must be a datetime and delay a timedelta, not {after!r}")
    return after


def reference_of(reference: tuple[str, int] | None) -> tuple[str | None, int | None]:
    """The two columns of a reference."""
    if reference is None:
        return None, None
    if not isinstance(reference, tuple | list) or len(reference) != 2:
        raise InvalidArgument(f"reference must be a type and an id, not {reference!r}")
    kind, identity = reference
    if not isinstance(kind, str) or not isinstance(identity, int):
        raise InvalidArgument(f"reference must be a string and a number, not {reference!r}")
    return kind, identity
