"""Draws what a job waits for, and what waits for the job."""

from dataclasses import dataclass, field
from typing import Any

from pgjobs.database import Database
from pgjobs.job.job import Job, Row

MAX_PARENTS = 10
MAX_BELOW = 10  # without the lines that say how many more there are


async def flow_lines(database: Database, job: Job[Any]) -> list[str]:
    """The lines of a tree: parents, the job, and the jobs that wait for it, directly or not.

    No lines if the job neither waits nor is waited for.
    """
    parents, more_parents = await database.flow_parents(job.id, MAX_PARENTS)
    tree = _Tree(database)
    await tree.draw_below(job.id, "   " if parents else "")
    if not parents and not tree.lines:
        return []
    above = [_told(row) for row in parents]
    if more_parents:
        above.append(f"and {more_parents:,} more")
    own = f"{job.id} {job.job_type} {job.status}  ← this job"
    return [*above, f"└─ {own}" if parents else own, *tree.lines]


@dataclass
class _Tree:
    """The lines of the jobs below. A job with two parents is drawn with what is below it once."""

    database: Database
    lines: list[str] = field(default_factory=list)
    drawn: set[int] = field(default_factory=set)

    async def draw_below(self, job_id: int, indent: str) -> None:
        room = max(1, MAX_BELOW - len(self.lines))  # one tells whether there are any
        children, more = await self.database.flow_children(job_id, room)
        for place, child in enumerate(children):
            if len(self.lines) >= MAX_BELOW:
                more += len(children) - place
                break
            is_last = place == len(children) - 1 and not more
            await self._draw(child, indent, is_last=is_last)
        if more:
            self.lines.append(f"{indent}└─ and {more:,} more")

    async def _draw(self, child: Row, indent: str, *, is_last: bool) -> None:
        is_repeated = child["id"] in self.drawn
        self.drawn.add(child["id"])
        repeated = ", as above" if is_repeated else ""
        self.lines.append(f"{indent}{'└─' if is_last else '├─'} {_told(child)}{repeated}")
        if not is_repeated:
            await self.draw_below(child["id"], indent + ("   " if is_last else "│  "))


def _told(row: Row) -> str:
    return f"{row['id']} {row['job_type']} {row['status']}"
