"""Who may do what: the lesser of what the program allows and what the database's role may do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from starlette.requests import Request
from starlette.responses import Response

from pgjobs.errors import InvalidArgument
from pgjobs.job.job import Row

Level = Literal["observe", "operate", "admin"]
_LEVELS: tuple[Level, ...] = get_args(Level)

# What each action calls, and the least level that may take it.
ACTIONS: dict[str, tuple[str, Level]] = {
    "retry": ("jobs_retry", "operate"),
    "cancel": ("jobs_cancel", "operate"),
    "run now": ("jobs_edit", "operate"),
    "copy": ("jobs_copy", "operate"),
    "delete": ("jobs_delete_many", "admin"),
    "retry many": ("jobs_retry_many", "admin"),
    "cancel many": ("jobs_cancel_many", "admin"),
    "run many now": ("jobs_edit_many", "admin"),
    "delete many": ("jobs_delete_many", "admin"),
    "pause queue": ("jobs_pause", "admin"),
    "resume queue": ("jobs_resume", "admin"),
    "run schedule": ("jobs_schedule_run", "admin"),
    "pause schedule": ("jobs_schedule_pause", "admin"),
    "resume schedule": ("jobs_schedule_resume", "admin"),
}


@dataclass(frozen=True)
class Access:
    """What the program allows a user.

    ``user``: named in ``jobs_audit``. ``may``: ``observe``; ``operate``, which also acts on single
    jobs; or ``admin``, which also deletes them, and acts on many. ``payloads``: whether payloads,
    results, errors, headers, progress and unique keys are shown.
    """

    user: str
    may: Level
    payloads: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.user, str) or not self.user:
            raise InvalidArgument(f"user must be the name of a user, not {self.user!r:.100}")
        if self.may not in _LEVELS:
            raise InvalidArgument(
                f"may must be observe, operate or admin, not {self.may!r:.100}"
            )


Answer: TypeAlias = Access | Response | None
# None refuses; a Response is sent as it is, for example a redirect to the program's login.
WhoMay: TypeAlias = Callable[[Request], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class Role:
    """A role of the database, and the functions and tables of pgjobs that are open to it."""

    name: str
    calls: frozenset[str]
    reads: frozenset[str]
    is_read_only: bool


@dataclass(frozen=True)
class Rights:
    """What a request may see and do in the end."""

    user: str
    may: Level
    payloads: bool
    attempts: bool  # whether attempts and flows may be read
    actions: frozenset[str]
    is_read_only: bool  # the database refuses changes, or is not reached
    reading: Role | None = None  # None: the database has not said it
    acting: Role | None = None


def rights(access: Access, reading: Row | None, acting: Row | None) -> Rights:
    """Joins the program's word with what the roles that read and act may do.

    None: the database has not said it. Then nothing is allowed but the look at what all may see.
    """
    reads = set(reading["reads"]) if reading else set()
    calls = set(acting["calls"]) if acting else set()
    is_read_only = acting is None or bool(acting["is_read_only"])
    level = _LEVELS.index(access.may)
    allowed = {
        action
        for action, (function, least) in ACTIONS.items()
        if level >= _LEVELS.index(least) and function in calls and not is_read_only
    }
    return Rights(
        access.user, access.may, payloads=access.payloads and "jobs" in reads,
        attempts={"jobs_attempts", "jobs_flows", "jobs_flow_edges"} <= reads,
        actions=frozenset(allowed), is_read_only=is_read_only,
        reading=_role(reading), acting=_role(acting),
    )


def _role(row: Row | None) -> Role | None:
    if row is None or row["role"] is None:
        return None
    return Role(
        row["role"], frozenset(row["calls"]), frozenset(row["reads"]), bool(row["is_read_only"])
    )
