"""The workers: which ones live, what each of them runs and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pgjobs.database.workers import hangs
from pgjobs.job.job import Row
from pgjobs.web import questions
from pgjobs.web.counts import MAX_SHOWN_ROWS
from pgjobs.web.page import Asked, seconds, together

MAX_READ_JOBS = 1_000  # of those that run, the longest first
MAX_SHOWN_JOBS = 5  # of one worker
MAX_SHOWN_NAMES = 20  # of one worker's queues, and of its types
_ADVICE = {
    "gone": "its session is gone: its jobs are taken back within seconds by another worker, or when"
            " their leases end. Start it again if nobody does",
    "hangs": "its session lives, but it does not tick: a handler may block its event loop, or its"
             " process is stopped. Look at its log, then end the process: its jobs are taken back",
}


@dataclass(frozen=True)
class Running:
    """A job that a worker runs. ``lease_s``: below 0, its lease is over."""

    id: str
    queue: str
    job_type: str
    attempt: int
    runs_s: float | None
    lease_s: float | None
    is_to_stop: bool  # its end was asked for


@dataclass(frozen=True)
class Worker:
    """A worker. ``state``: its mode (listening, polling or full), gone, or hangs."""

    name: str
    state: str
    advice: str | None
    unseen_s: float | None
    started_at: datetime | None
    version: str | None
    queues: list[str]
    job_types: list[str] | None  # None: all
    taken: int
    slots: int
    jobs: list[Running] | None  # the longest first
    more_jobs: int  # than are shown


@dataclass(frozen=True)
class Workers:
    """What the page shows; None: the database has not said it."""

    q: str | None
    workers: list[Worker] | None
    total: int  # how many have the text in their names or queues
    others: list[str]  # who holds jobs without being registered
    is_capped: bool  # more jobs run than were read


async def workers(asked: Asked) -> Workers:
    """Looks up the workers: those that want a look first, then by name."""
    q = asked.one("q")
    rows, running = await together(
        questions.workers(asked),
        asked.value("processing", lambda database: database.processing(MAX_READ_JOBS)),
    )
    if rows is None:
        return Workers(q, None, 0, [], is_capped=False)
    jobs: dict[str, list[Row]] = {}
    for row in running or []:
        jobs.setdefault(row["worker"], []).append(row)
    found = [row for row in rows if _fits(row, (q or "").casefold())]
    found.sort(key=lambda row: (_state(row) not in _ADVICE, row["worker"]))
    registered = {row["worker"] for row in rows}
    return Workers(
        q,
        [
            _worker(row, None if running is None else jobs.get(row["worker"], []))
            for row in found[:MAX_SHOWN_ROWS]
        ],
        len(found), sorted(name for name in jobs if name not in registered)[:MAX_SHOWN_NAMES],
        running is not None and len(running) == MAX_READ_JOBS,
    )


def _fits(row: Row, text: str) -> bool:
    return any(text in name.casefold() for name in (row["worker"], *row["queues"]))


def _state(row: Row) -> str:
    if row["mode"] is None:
        return "unknown"
    return "hangs" if hangs(row) else str(row["mode"])


def _worker(row: Row, jobs: Sequence[Row] | None) -> Worker:
    state = _state(row)
    return Worker(
        row["worker"], state, _ADVICE.get(state), seconds(row["unseen"]), row["started_at"],
        row["version"], list(row["queues"]),
        None if row["job_types"] is None else list(row["job_types"]), row["taken"],
        row["concurrency"],
        None if jobs is None else [_running(job) for job in jobs[:MAX_SHOWN_JOBS]],
        max(0, len(jobs or []) - MAX_SHOWN_JOBS),
    )


def _running(row: Row) -> Running:
    return Running(
        str(row["id"]), row["queue"], row["job_type"], row["attempt"], seconds(row["age"]),
        seconds(row["lease"]), row["cancel_requested_at"] is not None,
    )
