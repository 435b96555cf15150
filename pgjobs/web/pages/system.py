"""The system: releases, sizes, what keeps vacuum back, who may do what, what is kept how long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pgjobs.job.job import Row
from pgjobs.web import questions, words
from pgjobs.web.access import ACTIONS, Rights, Role
from pgjobs.web.page import Asked, together
from pgjobs.web.pages.overview import Verdict, verdict_of
from pgjobs.web.questions import AT_ONCE_FOR_S

# The doctor's checks that are about the server, and not about jobs.
CHECKS = (
    "oldest snapshot", "dead rows", "autovacuum", "notification queue", "indexes", "persistence",
    "notifying trigger", "privileges", "objects of other roles", "ids",
)
# What a role may read beyond what each observer may.
READS = {
    "jobs_list": "jobs", "jobs": "payloads, results and errors", "jobs_attempts": "attempts",
    "jobs_flow_edges": "parents and children", "jobs_audit": "the audit",
}


@dataclass(frozen=True)
class Table:
    """A table of pgjobs."""

    name: str
    table_bytes: int
    index_bytes: int
    live_rows: int
    dead_rows: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None


@dataclass(frozen=True)
class May:
    """What one of the console's roles may read and do, in words."""

    purpose: str
    name: str
    is_read_only: bool
    reads: list[str]
    does: list[str]
    does_not: list[str]


@dataclass(frozen=True)
class Rule:
    """A rule of retention; ``job_type``: None for all types that have no rule of their own."""

    status: str
    job_type: str | None
    keep_for: timedelta
    deleted_to: datetime | None
    next_at: datetime | None
    error: str | None  # None also if it may not be seen

    @property
    def told(self) -> str:
        return words.exactly(self.keep_for)


@dataclass(frozen=True)
class System:
    """What the page shows; None: the database has not said it."""

    facts: dict[str, str] | None
    verdicts: list[Verdict] | None
    tables: list[Table] | None  # the largest first
    roles: list[May]
    rules: list[Rule] | None


async def system(asked: Asked) -> System:
    """Looks up the server and the schema."""
    server, verdicts, tables, rules = await together(
        asked.value("server", lambda database: database.server()),
        questions.verdicts(asked),
        asked.value("relations", lambda database: database.relations(), AT_ONCE_FOR_S),
        asked.value("retention", lambda database: database.retention()),
    )
    return System(
        None if server is None else {
            "pgjobs": server["version"], "PostgreSQL": server["server_version"],
            "database": server["database"], "schema": server["schema"],
        },
        None if verdicts is None else _verdicts(asked, verdicts),
        None if tables is None else [
            Table(*(row[name] for name in Table.__dataclass_fields__)) for row in tables
        ],
        _roles(asked.rights),
        None if rules is None else [_rule(asked, row) for row in rules],
    )


def _verdicts(asked: Asked, rows: Sequence[Row]) -> list[Verdict]:
    found = {row["check_name"]: row for row in rows}
    return [verdict_of(asked, found[name]) for name in CHECKS if name in found]


def _roles(rights: Rights) -> list[May]:
    reading, acting = rights.reading, rights.acting
    if reading is not None and reading == acting:
        return [_may("reads and acts", reading)]
    roles = (("reads", reading), ("acts", acting))
    return [_may(purpose, role) for purpose, role in roles if role is not None]


def _may(purpose: str, role: Role) -> May:
    return May(
        purpose, role.name, role.is_read_only,
        [told for name, told in READS.items() if name in role.reads],
        [action for action, (function, _) in ACTIONS.items() if function in role.calls],
        [action for action, (function, _) in ACTIONS.items() if function not in role.calls],
    )


def _rule(asked: Asked, row: Row) -> Rule:
    return Rule(
        row["status"], row["job_type"], row["keep_for"], row["deleted_to"], row["next_at"],
        asked.redacted(row["job_type"] or "", "error", row["error"])
        if asked.rights.payloads else None,
    )
