"""What is refused before the database is asked, by argument: one place for all entry points."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from .database import Moment
from .errors import InvalidArgument
from .models import Backoff

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


def delays_of(backoff: Backoff | None) -> list[timedelta] | None:
    """The delays of a backoff."""
    if backoff is None:
        return None
    if not isinstance(backoff, Backoff):
        raise InvalidArgument(f"backoff must be a pgjobs.Backoff, not {backoff!r}")
    return list(backoff.delays)


def check_run(timeout: timedelta | None) -> None:
    """Refuses what cannot be the timeout of a run."""
    if timeout is not None and (not isinstance(timeout, timedelta) or timeout <= timedelta(0)):
        raise InvalidArgument(f"timeout must be a timedelta above 0, not {timeout!r}")


def check_worker(
    queues: Collection[str], concurrency: int, name: str | None, lease: timedelta, grace: timedelta
) -> None:
    """Refuses what cannot be a worker."""
    if not isinstance(concurrency, int) or concurrency < 1:
        raise InvalidArgument(f"concurrency must be 1 or more, not {concurrency!r}")
    if (
        not isinstance(queues, Collection)
        or isinstance(queues, str)
        or not queues
        or not all(isinstance(queue, str) for queue in queues)
    ):
        raise InvalidArgument(f"queues must be a list of one or more names, not {queues!r}")
    if name is not None and not isinstance(name, str):
        raise InvalidArgument(f"name must be a string, not {name!r}")
    if not isinstance(lease, timedelta) or lease < timedelta(seconds=3):
        raise InvalidArgument(f"lease must be at least 3 seconds, not {lease!r}")
    if not isinstance(grace, timedelta) or grace < timedelta(0):
        raise InvalidArgument(f"grace must be a timedelta of 0 or more, not {grace!r}")
