"""The options of enqueue: declared, checked and turned into arguments of the SQL functions."""

import json
import operator
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict
from uuid import UUID

from pgjobs.database import Moment
from pgjobs.errors import InvalidArgument
from pgjobs.job.backoff import Backoff
from pgjobs.job.payload import encode

if TYPE_CHECKING:
    from pgjobs.job.flow import HasId

UniqueScope = Literal["live", "kept", "pending", "period"]
OnConflict = Literal["return", "raise", "replace", "debounce"]
OnParentFailed = Literal["cancel", "run", "wait", "only"]


class JobOptions(TypedDict, total=False):
    """What a handler may give for its jobs. None stands for the default."""

    queue: str | None
    priority: int | None
    run_at: Moment
    delay: timedelta | None
    reference: tuple[str, int | str | UUID] | None
    max_retries: int | None
    backoff: Backoff | None
    group_key: str | None
    headers: Mapping[str, Any] | None
    expires: Moment


class ManyOptions(JobOptions, total=False):
    """What all jobs of one call may share, and no handler's own options give."""

    depends_on: "Iterable[HasId | int | str] | None"
    on_parent_failed: OnParentFailed | None
    batch: "HasId | int | None"


class EnqueueOptions(ManyOptions, total=False):
    """What one job may be enqueued with."""

    unique_key: str | None
    unique_scope: UniqueScope | None
    unique_for: timedelta | None
    on_conflict: OnConflict | None
    max_wait: timedelta | None
    watch: bool | None


# Arguments that the database looks for only if a call says that some job has them.
RARE = frozenset({
    "group_key", "headers", "expires_at", "depends_on", "on_parent_failed", "batch_id",
})
# Arguments about a unique key, of which two callers may give the same.
OF_KEYS = frozenset({"unique_key", "unique_for", "on_conflict", "max_wait"})
# Arguments of a job that shares its statement with no other call.
ALONE = OF_KEYS | {"watch"}
# Arguments that may be a delay, which only the database's clock turns into a moment.
MOMENTS = frozenset({"run_at", "expires_at"})
DURATIONS = frozenset({"unique_for", "max_wait"})
# An option that has its default is left out of an item: each key costs the server a little per job.
DEFAULTS = {"queue": "default", "priority": 0, "max_retries": 3}

# Options that go to the database as they are: JSON would let a number pass for a string.
_PLAIN: dict[str, type] = {
    "queue": str, "priority": int, "max_retries": int, "unique_key": str, "unique_scope": str,
    "group_key": str, "on_conflict": str, "unique_for": timedelta, "max_wait": timedelta,
    "watch": bool, "on_parent_failed": str,
}
# What pgjobs itself writes into the headers of a job.
_RESERVED_PREFIX = "pgjobs."
# What a middleware writes: one call of `enqueue` must not take a job into another trace.
_TRACE_HEADERS = ("traceparent", "tracestate")


def job_arguments(
    job_type: str, options: Any, known: type = EnqueueOptions, *, takes_refs: bool = False
) -> dict[str, Any]:
    """The arguments of ``Database.enqueue`` for these options; those that are None are left out.

    ``takes_refs``: whether ``depends_on`` may name jobs of the same call.

    Raises ``InvalidArgument`` for a wrong value and ``TypeError`` for an unknown option.
    """
    if job_type is None:
        raise InvalidArgument("job_type is missing")
    arguments: dict[str, Any] = {"job_type": _checked("job_type", job_type, str)}
    if not options:
        return arguments
    for name, value in options.items():
        if name not in known.__annotations__:
            raise TypeError(f"unknown option {name!r}: not in {', '.join(known.__annotations__)}")
        if value is not None and name in _PLAIN:
            arguments[name] = _checked(name, value, _PLAIN[name])
    if (moment := _not_before(options.get("run_at"), options.get("delay"))) is not None:
        arguments["run_at"] = moment
    if (backoff := options.get("backoff")) is not None:
        arguments["backoff"] = delays_of(backoff)
    if (reference := options.get("reference")) is not None:
        arguments |= reference_columns(reference)
    if (headers := options.get("headers")) is not None:
        arguments["headers"] = headers_text(headers)
    if (expires := options.get("expires")) is not None:
        arguments["expires_at"] = _checked_moment("expires", expires)
    return arguments | _flow_columns(options, takes_refs)


def edit_arguments(
    priority: int | None, queue: str | None, run_at: Moment, delay: timedelta | None
) -> dict[str, Any]:
    """The arguments of ``Database.edit`` for these options; those that are None are left out."""
    options = {"priority": priority, "queue": queue}
    arguments: dict[str, Any] = {
        name: _checked(name, value, _PLAIN[name])
        for name, value in options.items() if value is not None
    }
    if (moment := _not_before(run_at, delay)) is not None:
        arguments["run_at"] = moment
    return arguments


def as_item(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as an object of ``jobs_enqueue_many``, without the payload."""
    item = {name: value for name, value in arguments.items() if value != DEFAULTS.get(name)}
    if "backoff" in item:
        item["backoff"] = [_seconds(delay) for delay in item["backoff"]]
    if "headers" in item:
        item["headers"] = json.loads(item["headers"])
    for name in MOMENTS & item.keys():
        item[name] = item[name].isoformat()
    for name in DURATIONS & item.keys():
        item[name] = _seconds(item[name])
    return item


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():f} s"


def delays_of(backoff: Backoff) -> list[timedelta]:
    """The delays of a backoff."""
    if not isinstance(backoff, Backoff):
        raise InvalidArgument(f"backoff must be a pgjobs.Backoff, not {backoff!r}")
    return list(backoff.delays)


def reference_columns(reference: Any) -> dict[str, Any]:
    """The columns of a reference: the type of the entity, and its id or key."""
    if not isinstance(reference, tuple | list) or len(reference) != 2:
        raise InvalidArgument(f"reference must be a type and an id, not {reference!r}")
    kind, entity = reference
    if not isinstance(kind, str) or entity is None:
        raise InvalidArgument(f"reference must be a string and an id, not {reference!r}")
    return {"reference_type": kind, **entity_columns(entity)}


def entity_columns(entity: Any) -> dict[str, Any]:
    """``reference_id`` for a number or None, ``reference_key`` for a string or a UUID."""
    if entity is None:
        return {"reference_id": None}
    if isinstance(entity, str | UUID):
        return {"reference_key": str(entity)}
    try:
        return {"reference_id": operator.index(entity)}
    except TypeError:
        raise InvalidArgument(
            f"a reference's id must be a number, string or UUID, not {entity!r}"
        ) from None


def group_argument(group_key: object) -> dict[str, Any]:
    """The argument for the group that a function has given; none for None."""
    return {} if group_key is None else {"group_key": _checked("group_key", group_key, str)}


def names(what: str, given: str | Iterable[str] | None) -> list[str] | None:
    """One name or several, as a list."""
    if given is None:
        return None
    found = [given] if isinstance(given, str) or not isinstance(given, Iterable) else [*given]
    if not all(isinstance(name, str) for name in found):
        raise InvalidArgument(f"{what} must be a name or a list of names, not {given!r}")
    return [str(name) for name in found]


def check_settings(
    priority: int | None,
    max_retries: int | None,
    timeout: timedelta | None,
    concurrency: int | None,
) -> None:
    """Checks settings of a handler as the database would check them at the first job."""
    if priority is not None and not -9 <= priority <= 9:
        raise InvalidArgument(f"priority must be from -9 to 9, not {priority}")
    if max_retries is not None and not 0 <= max_retries < 2**31:
        raise InvalidArgument(f"max_retries must be 0 or more, and fit an int, not {max_retries}")
    if timeout is not None and (not isinstance(timeout, timedelta) or timeout <= timedelta(0)):
        raise InvalidArgument(f"timeout must be a timedelta above 0, not {timeout!r}")
    if concurrency is not None and (not isinstance(concurrency, int) or concurrency < 1):
        raise InvalidArgument(f"concurrency must be 1 or more, not {concurrency!r}")


def _flow_columns(options: Any, takes_refs: bool) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if (parents := options.get("depends_on")) is not None:
        columns["depends_on"] = _parents(parents, takes_refs)
    if (batch := options.get("batch")) is not None:
        columns["batch_id"] = id_of("batch", batch)
    return columns


def id_of(what: str, given: Any) -> int:
    """The id of a job or batch, or the number itself."""
    found = getattr(given, "id", given)
    try:
        return operator.index(found)
    except TypeError:
        raise InvalidArgument(f"{what} must be one of pgjobs or an id, not {given!r}") from None


def _parents(given: Any, takes_refs: bool) -> list[int | str]:
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise InvalidArgument(f"depends_on must be a list of jobs or ids, not {given!r:.100}")
    parents: list[int | str] = []
    for parent in given:
        if not isinstance(parent, str):
            parents.append(id_of("what depends_on names", parent))
        elif takes_refs:
            parents.append(parent)
        else:
            raise InvalidArgument(
                f"depends_on names {parent!r}: a ref is a name within one call, so enqueue both"
                " jobs together: app.enqueue_many([task.new(..., ref=...), ...])"
            )
    return parents


def _checked(name: str, value: object, kind: type) -> object:
    if not isinstance(value, kind):
        raise InvalidArgument(f"{name} must be of type {kind.__name__}, not {value!r}")
    return value


def _not_before(run_at: Moment, delay: timedelta | None) -> Moment:
    """``run_at`` or ``delay``, checked; not both."""
    if run_at is not None and delay is not None:
        raise InvalidArgument("give run_at or delay, not both")
    if delay is not None:
        return _checked_moment("delay", delay)
    return None if run_at is None else _checked_moment("run_at", run_at)


def _checked_moment(name: str, moment: object) -> datetime | timedelta:
    if isinstance(moment, timedelta):
        if not timedelta(0) <= moment <= timedelta(days=365_000):
            raise InvalidArgument(f"{name} must be from 0 to a thousand years, not {moment}")
    elif not isinstance(moment, datetime):
        raise InvalidArgument(f"{name} must be a datetime or a timedelta, not {moment!r}")
    elif moment.tzinfo is None:
        raise InvalidArgument(f"{name} must have a time zone, and {moment} has none")
    return moment


def headers_text(headers: object, *, of_middleware: bool = False) -> str:
    """The headers as JSON text; raises ``InvalidArgument`` for names that are reserved."""
    if not isinstance(headers, Mapping):
        raise InvalidArgument(f"headers must be a mapping of names, not {headers!r}")
    for name in headers:
        if not isinstance(name, str):
            raise InvalidArgument(f"the names of headers must be strings, not {name!r}")
        if name.startswith(_RESERVED_PREFIX):
            raise InvalidArgument(f"pgjobs itself writes the header {name!r}: take another name")
        if name in _TRACE_HEADERS and not of_middleware:
            raise InvalidArgument(
                f"an enqueue middleware writes the header {name!r}: see pgjobs.otel.instrument"
            )
    return encode(dict(headers), "headers")
