"""The flow of a job as a tree, for ``pgjobs show``: its parents above it, its children below."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pgjobs.database import Database
from pgjobs.database.reading import MAX_COUNTED_EDGES
from pgjobs.job.job import Job, Row

MAX_PARENTS = 6
MAX_CHILDREN = 6  # of one job
MAX_BELOW = 12


@dataclass
class Place:
    """A job within the tree. ``elsewhere``: those of its children that are drawn elsewhere."""

    id: int
    text: str
    children: "list[Place]" = field(default_factory=list)
    elsewhere: list[int] = field(default_factory=list)
    total: int = 0  # children, drawn or not


async def flow_lines(database: Database, job: Job[Any]) -> list[str]:
    """Returns the lines of the tree; none if the job waits for none, and none waits for it."""
    above = await database.flow_above(job.id, MAX_PARENTS)
    top = Place(job.id, _told({"id": job.id, "job_type": job.job_type, "status": job.status}))
    await _read_below(database, top)
    if not (above or top.total):
        return []
    return [*_drawn_above(above), *_drawn(top)]


async def _read_below(database: Database, top: Place) -> None:
    """Reads children, then their children, and so on, until so many are read."""
    found = {top.id}
    left = MAX_BELOW
    level = [top]
    while level:
        rows = await database.flow_below([place.id for place in level], MAX_CHILDREN)
        places = {place.id: place for place in level}
        level = []
        for row in rows:
            parent = places[row["parent_id"]]
            parent.total = row["total"]
            if row["id"] in found:
                parent.elsewhere.append(row["id"])
            elif left > 0:
                child = Place(row["id"], _told(row))
                parent.children.append(child)
                found.add(child.id)
                level.append(child)
                left -= 1


def _drawn_above(rows: Sequence[Row]) -> list[str]:
    lines = [_told(row) for row in rows]
    if rows and (hidden := _hidden(rows[0]["total"], len(rows))):
        lines.append(f"and {hidden}")
    return [f"{'├─' if place else '┌─'} {line}" for place, line in enumerate(lines)]


def _drawn(place: Place) -> list[str]:
    hidden = _hidden(place.total, len(place.children) + len(place.elsewhere))
    beside = [f"job {job_id}" for job_id in place.elsewhere]
    if hidden and not place.children:
        beside.append(hidden)
    text = place.text + (f" → {', '.join(beside)}" if beside else "")
    blocks = [_drawn(child) for child in place.children]
    if hidden and place.children:
        blocks.append([f"and {hidden}"])
    lines = [text]
    for number, (first, *others) in enumerate(blocks, 1):
        is_last = number == len(blocks)
        lines.append(f"{'└─' if is_last else '├─'} {first}")
        lines += [f"{'  ' if is_last else '│ '} {line}" for line in others]
    return lines


def _hidden(total: int, shown: int) -> str:
    """Tells how many are not shown; the count ends somewhere."""
    hidden = total - shown
    if hidden <= 0:
        return ""
    return f"{'over ' if total == MAX_COUNTED_EDGES else ''}{hidden:,} more"


def _told(row: Any) -> str:
    return f"job {row['id']} ({row['job_type']}) {row['status']}"
