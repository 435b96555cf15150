"""One frame of ``pgjobs top``: what a reading of the database found, and how it is shown."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from pgjobs.cli.complaints import Unreachable
from pgjobs.cli.output import as_dict
from pgjobs.cli.queues import SHORTER, queue_table
from pgjobs.cli.session import opened
from pgjobs.cli.table import styled, table
from pgjobs.connection.link import BROKEN
from pgjobs.database import Database
from pgjobs.database.bound import LOOK_UP_ENDS_AFTER_S, bounded
from pgjobs.database.statements import UPGRADE_ERRORS
from pgjobs.database.workers import hangs
from pgjobs.job.job import Row

if TYPE_CHECKING:
    from rich.console import RenderableType

# The rates are those of this time until now: short, so that a change shows.
_RATE_WINDOW = timedelta(seconds=10)
_MAX_RUNNING_SHOWN = 100
_MAX_QUEUES_SHOWN = 200
_NOT_DUE = ("later", "retrying", "throttled")
# After this time a server that does not answer counts as lost. Counting a large table takes long.
_PATIENCE_S = 60.0
_CONNECT_AGAIN_AFTER_S = 1.0


@dataclass(frozen=True)
class Frame:
    """What one reading of the database found."""

    stats: Sequence[Row]
    paused: dict[str, Row]
    limited: Sequence[Row]
    workers: Sequence[Row]
    running: Sequence[Row]
    rates: dict[str, float]
    read_at: datetime

    @property
    def oldest_due(self) -> timedelta | None:
        ages = [r["oldest_due"] for r in self.stats if r["oldest_due"] is not None]
        return max(ages, default=None)

    def count(self, state: str) -> int:
        """How many jobs have that status, or that state of pending jobs."""
        return sum(r["count"] for r in self._of(state))

    def total(self, state: str) -> str:
        """Returns the count; with ``+`` if there may be more."""
        is_capped = any(r["capped"] for r in self._of(state))
        return f"{self.count(state)}{'+' if is_capped else ''}"

    def _of(self, state: str) -> list[Row]:
        return [r for r in self.stats if state in (r["status"], r["state"])]

    def as_data(self) -> dict[str, Any]:
        return {
            "stats": [as_dict(row) for row in self.stats],
            "paused": {queue: as_dict(row) for queue, row in self.paused.items()},
            "limited": [as_dict(row) for row in self.limited],
            "workers": [as_dict(row) for row in self.workers],
            "running": [as_dict(row) for row in self.running],
            "finished_per_second": self.rates,
            "oldest_due": self.oldest_due,
        }


async def read_for_ever(
    dsn: str | None,
    schema: str,
    every: timedelta,
    show: Callable[[Frame | None, str | None], None],
    may_read: asyncio.Event | None = None,
) -> None:
    """Shows one frame after the other; tells of a lost connection, and makes it again.

    At the start, where the address may be wrong, an error ends the command. A look-up that takes
    long is given up, for example while another session has the table locked: the last frame stays.
    """
    is_lost: tuple[type[Exception], ...] = ()
    while True:
        try:
            async with opened(dsn) as connection:
                database = Database(connection, schema)
                while True:
                    if may_read is not None:
                        await may_read.wait()
                    try:
                        async with asyncio.timeout(_PATIENCE_S), bounded(connection):
                            frame = await read_frame(database)
                    except asyncpg.QueryCanceledError:
                        show(None, f"no answer within {LOOK_UP_ENDS_AFTER_S} s, trying again")
                    except UPGRADE_ERRORS as error:
                        show(None, f"trying again: {error}")
                    else:
                        show(frame, None)
                    is_lost = (*BROKEN, Unreachable)
                    await asyncio.sleep(every.total_seconds())
        except is_lost as error:
            # What to do about it is told at the start; meanwhile the database has been there.
            reason = error.reason if isinstance(error, Unreachable) else "the connection was lost"
            show(None, f"connecting again: {reason.partition(';')[0]}")
            await asyncio.sleep(_CONNECT_AGAIN_AFTER_S)


async def read_frame(database: Database) -> Frame:
    return Frame(
        stats=await database.stats(),
        paused=await database.paused(),
        limited=await database.held_back(),
        workers=await database.workers(),
        running=await database.processing(_MAX_RUNNING_SHOWN),
        rates=await database.rates(_RATE_WINDOW),
        read_at=datetime.now(UTC).astimezone(),
    )


def lengths(frame: Frame) -> list[int]:
    """How many lines each table of ``body`` has below its headings."""
    places = {(row["queue"], row["job_type"]) for row in frame.stats}
    return [min(len(places), _MAX_QUEUES_SHOWN), len(frame.workers), len(frame.running)]


def body(frame: Frame, max_lines: Sequence[int] | None = None) -> "RenderableType":
    """Returns the tables of queues, workers and running jobs.

    ``max_lines``: of each table, below its headings.
    """
    from rich.console import Group

    max_queues, max_workers, max_running = max_lines or lengths(frame)
    parts: list[RenderableType] = []
    if frame.stats:
        queues = queue_table(frame.stats, frame.paused, "Queues", max_queues)
        parts.append(queues)
    if frame.workers:
        workers, title = frame.workers, "Workers"
        if max_workers < len(workers):
            # Those first that need somebody.
            workers = sorted(workers, key=_is_alive)[:max_workers]
            title += f" ({max_workers} of {len(frame.workers)})"
        rows = (
            # As text: a number of 0 would be left out, if all are.
            [w["worker"], ", ".join(w["queues"]), str(w["taken"]),
             str(w["concurrency"] - w["taken"]), _mode(w), w["unseen"], w["version"]]
            for w in workers
        )
        parts.append(table("worker queues >taken >free !mode >seen version", rows, title))
    if frame.running:
        running = (
            [r["id"], r["queue"], r["job_type"], r["age"], _lease(r), r["attempt"], r["worker"]]
            for r in frame.running[:max_running]
        )
        # The jobs are counted before they are read, and may end in between.
        is_cut = len(frame.running) == _MAX_RUNNING_SHOWN
        known = max(len(frame.running), frame.count("processing") if is_cut else 0)
        more = known - min(len(frame.running), max_running)
        title = "Running, the longest first" + (f" ({more} more)" if more > 0 else "")
        parts.append(table(">id queue !type >age >lease >attempt worker", running, title))
    # A blank line between two tables.
    spaced = [line for part in parts for line in ("", part)]
    return Group(*spaced[1:])


def head(frame: Frame, schema: str, trouble: str | None = None) -> "RenderableType":
    """Returns the lines above the tables. ``trouble``: why the frame is an old one."""
    oldest = frame.oldest_due
    rates = ", ".join(f"{status} {rate:.1f}/s" for status, rate in frame.rates.items())
    alive = sum(w["mode"] != "gone" for w in frame.workers)
    gone = len(frame.workers) - alive
    workers = (str(alive) if alive else "none") + (f", {gone} gone" if gone else "")
    rows: list[list[object]] = [
        ["pgjobs", f"schema {schema}, {frame.read_at:%H:%M:%S}"],
        ["jobs", _counts(frame, ["pending", "processing", "failed"])],
        ["rate", f"{rates} (of the last {_RATE_WINDOW.seconds} s)"],
        ["oldest due", "none is waiting" if oldest is None else oldest],
        ["workers", workers if alive else styled(workers, "yellow")],
    ]
    waiting = [state for state in _NOT_DUE if frame.count(state)]
    if waiting:
        rows.insert(2, ["pending", _counts(frame, ["due", *waiting])])
    if frame.limited:
        limited = "; ".join(f"{row['queue']}: {row['told']}" for row in frame.limited)
        rows.append(["at limit", styled(limited, "yellow")])
    if trouble is not None:
        age_s = (datetime.now(UTC) - frame.read_at).total_seconds()
        as_of = f"as of {frame.read_at:%H:%M:%S}, {age_s:.0f} s ago"
        rows[0][1] = styled(f"schema {schema}, {as_of}", "red")
        rows.append(["database", styled(trouble, "red")])
    return table("!name ~value", rows, headings=False)


def _counts(frame: Frame, states: Sequence[str]) -> str:
    return ", ".join(f"{frame.total(state)} {SHORTER.get(state, state)}" for state in states)


def _is_alive(worker: Row) -> bool:
    return bool(worker["mode"] != "gone" and not hangs(worker))


def _mode(worker: Row) -> object:
    if worker["mode"] == "gone":
        return styled("gone", "red")
    if hangs(worker):
        return styled("hangs", "red")
    return worker["mode"]


def _lease(job: Row) -> object:
    if job["cancel_requested_at"] is not None:
        return styled("cancelling", "yellow")
    if job["lease"] is None:
        return "none"
    return styled("expired", "red") if job["lease"] < timedelta(0) else job["lease"]
