"""``Batch`` and ``Parent``: what a flow looks like from outside."""

import json
from dataclasses import dataclass
from typing import Any, Protocol, Self


class HasId(Protocol):
    """A job, a batch, or what else stands for one."""

    @property
    def id(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """How many members a batch has, and what became of them, as a worker counted last.

    ``id``: of the batch, which is that of its callback. ``is_open``: more members may be added from
    outside.
    """

    id: int
    total: int
    completed: int
    failed: int
    cancelled: int
    is_open: bool

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """The batch of a row of ``jobs_batches``."""
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Parent:
    """A job that another job waits for or has waited for; ``result`` is plain JSON data."""

    id: int
    job_type: str
    status: str
    result: Any
    error: str | None

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """The parent of a row of ``jobs_parents``."""
        result = None if row["result"] is None else json.loads(row["result"])
        return cls(row["job_id"], row["job_type"], row["status"], result, row["error"])
