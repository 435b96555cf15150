"""The command ``pgjobs top``: shows the queues, the workers and the running jobs."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgjobs.cli.options import AsJson, Dsn, Schema, duration
from pgjobs.cli.output import as_dict, console, print_json, print_rich, styled, table
from pgjobs.cli.queues import queue_table
from pgjobs.cli.session import connected
from pgjobs.database import Database
from pgjobs.job.job import Row

if TYPE_CHECKING:
    from rich.console import RenderableType

# The rates are those of this time until now: short, so that a change shows.
_RATE_WINDOW = timedelta(seconds=10)
_HANGS_AFTER = timedelta(seconds=30)
_MAX_RUNNING_SHOWN = 15


@dataclass(frozen=True)
class Frame:
    """What one reading of the database found."""

    stats: Sequence[Row]
    paused: dict[str, datetime]
    workers: Sequence[Row]
    running: Sequence[Row]
    rates: dict[str, float]

    @property
    def oldest_due(self) -> timedelta | None:
        ages = [r["oldest_due"] for r in self.stats if r["oldest_due"] is not None]
        return max(ages, default=None)

    def count(self, status: str) -> int:
        return sum(r["count"] for r in self.stats if r["status"] == status)

    def as_data(self) -> dict[str, Any]:
        return {
            "stats": [as_dict(row) for row in self.stats],
            "paused": self.paused,
            "workers": [as_dict(row) for row in self.workers],
            "running": [as_dict(row) for row in self.running],
            "finished_per_second": self.rates,
            "oldest_due": self.oldest_due,
        }


def top(
    once: Annotated[bool, typer.Option("--once", help="Print once, then end.")] = False,
    every: Annotated[
        timedelta,
        typer.Option("--every", parser=duration, metavar="DURATION", help="How often to print."),
    ] = "2s",  # type: ignore[assignment]  # typer parses the default as if it were typed
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Shows queues, workers and running jobs until Ctrl-C.

    [bold]pgjobs top[/bold]

    [bold]pgjobs top --once[/bold]            prints once, for watch or a log

    [bold]pgjobs top --once --json[/bold]     prints once, for a program
    """
    if every <= timedelta(0):
        raise typer.BadParameter("--every must be above 0")
    asyncio.run(_watch(dsn, schema, every, once=once or as_json, as_json=as_json))


async def _watch(
    dsn: str | None, schema: str, every: timedelta, *, once: bool, as_json: bool
) -> None:
    from rich.live import Live

    async with connected(dsn, schema) as database:
        frame = await read_frame(database)
        if as_json:
            print_json(frame.as_data())
        elif once or not sys.stdout.isatty():
            print_rich(render(frame, schema))
            while not once:
                sys.stdout.flush()
                await asyncio.sleep(every.total_seconds())
                print_rich("", render(await read_frame(database), schema))
        else:
            with Live(render(frame, schema), console=console(), screen=True, auto_refresh=False,
                      vertical_overflow="crop") as live:
                while True:
                    await asyncio.sleep(every.total_seconds())
                    live.update(render(await read_frame(database), schema), refresh=True)


async def read_frame(database: Database) -> Frame:
    return Frame(
        stats=await database.stats(),
        paused=await database.paused(),
        workers=await database.workers(),
        running=await database.processing(_MAX_RUNNING_SHOWN),
        rates={
            status: await database.finished([status], within=_RATE_WINDOW) / _RATE_WINDOW.seconds
            for status in ("completed", "failed", "cancelled")
        },
    )


def render(frame: Frame, schema: str) -> "RenderableType":
    from rich.console import Group

    parts: list[RenderableType] = [_head(frame, schema), ""]
    if frame.stats:
        parts += [queue_table(frame.stats, set(frame.paused), "Queues"), ""]
    if frame.workers:
        rows = (
            [w["worker"], ", ".join(w["queues"]), w["concurrency"],
             _mode(w), w["unseen"], w["version"]]
            for w in frame.workers
        )
        parts += [table("worker queues >slots mode >seen version", rows, "Workers"), ""]
    if frame.running:
        running = (
            [r["id"], r["queue"], r["job_type"], r["age"], _lease(r), r["attempt"], r["worker"]]
            for r in frame.running
        )
        more = frame.count("processing") - len(frame.running)
        title = "Running, the longest first" + (f" ({more} more)" if more > 0 else "")
        parts.append(table(">id queue type >age >lease >attempt worker", running, title))
    return Group(*parts)


def _head(frame: Frame, schema: str) -> "RenderableType":
    oldest = frame.oldest_due
    rates = ", ".join(f"{status} {rate:.1f}/s" for status, rate in frame.rates.items())
    now = datetime.now(UTC).astimezone()
    counted = {"pending": "pending", "processing": "running", "failed": "failed"}
    jobs = ", ".join(f"{frame.count(status)} {name}" for status, name in counted.items())
    grid = table("name value", [
        ["pgjobs", f"schema {schema}, {now:%H:%M:%S}"],
        ["jobs", jobs],
        ["rate", f"{rates} (of the last {_RATE_WINDOW.seconds} s)"],
        ["oldest due", "none is waiting" if oldest is None else oldest],
        ["workers", str(len(frame.workers)) if frame.workers else styled("none", "yellow")],
    ])
    grid.show_header = False
    return grid


def _mode(worker: Row) -> object:
    if worker["mode"] == "gone":
        return styled("gone", "red")
    if worker["unseen"] > _HANGS_AFTER:
        return styled("hangs", "red")
    return worker["mode"]


def _lease(job: Row) -> object:
    if job["cancel_requested_at"] is not None:
        return styled("cancelling", "yellow")
    if job["lease"] is None:
        return "none"
    return styled("expired", "red") if job["lease"] < timedelta(0) else job["lease"]
