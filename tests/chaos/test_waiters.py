"""The connections of those who wait for jobs are cut, and the server of sync calls restarts."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from chaos.load import Size, add, connected, counted
from chaos.processes import Processes, Serve
from chaos.report import Note

from pgjobs import App, Outcome
from pgjobs.embedded import StopMode

CUT = """select count(*) from (
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and application_name like 'pgjobs % wait') cut"""
ENDS = "select id, status, result::text, error, finished_at::timestamptz from jobs"
# Without a new connection, the looks behind notifications would find most ends later.
LATEST_S = 3.0
SLOTS = 50  # of each worker
THREADS = 8


@pytest.mark.fault(
    27,
    "pg_terminate_backend on the listener of 10,000 waiters, at random, and SIGKILL of one of two"
    " workers, ten times",
    "each hears the outcome of its own row, not before its commit, and within 3 s of its end",
)
async def test_waiters_whose_listener_is_cut_hear_their_own_rows_outcomes(
    ledger: Any, workers: Processes, size: Size, figures: Note, pgjobs_dsn: str
) -> None:
    alive = [workers.start(concurrency=SLOTS) for _ in range(2)]
    heard: dict[int, tuple[Outcome, float]] = {}
    too_early: list[int] = []

    async def hear(app: App, job_id: int) -> None:
        [outcome] = await app.wait([job_id])
        heard[job_id] = outcome, time.time()
        if job_id % 20 == 0 and (await app.get(job_id)).status != outcome.status:
            too_early.append(job_id)

    cuts = kills = 0
    async with App(pgjobs_dsn) as app, asyncio.TaskGroup() as waits:
        ids = await add(ledger, size.jobs, 2 * SLOTS * size.seconds / size.jobs)
        tasks = [waits.create_task(hear(app, job_id)) for job_id in ids]
        for job_id in ids[::10]:
            await app.cancel(job_id, f"not job {job_id}")
        while not all(task.done() for task in tasks):
            cuts += await ledger.fetchval(CUT)
            if len(heard) > size.jobs * kills / (size.times + 1) and kills < size.times:
                kills += 1
                alive.pop(0).kill()
                alive.append(workers.start(concurrency=SLOTS))
            await asyncio.sleep(random.uniform(0.05, 0.5))
    rows = {row["id"]: row for row in await ledger.fetch(ENDS)}
    wrong = [job_id for job_id in ids if _told(heard[job_id][0]) != _stands(rows[job_id])]
    late = max(at - outcome.finished_at.timestamp() for outcome, at in heard.values()
               if outcome.finished_at is not None)
    counts = await counted(ledger, size.jobs)
    figures(jobs=counts.jobs, lost=len(ids) - len(heard), twice=counts.twice,
            twice_why="of killed workers", seconds=late,
            what=f"from an end until it was heard, at most; {cuts} cuts, {kills} kills;"
            f" {len(wrong)} wrong, {len(too_early)} too early")
    assert (wrong, too_early) == ([], [])
    assert heard.keys() == set(ids)
    assert late < LATEST_S
    assert cuts
    assert kills == size.times


def _told(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.status, outcome.result, outcome.error, outcome.finished_at


def _stands(row: Any) -> tuple[Any, ...]:
    return _told(Outcome.from_row({**row, "job_id": row["id"]}))


@pytest.mark.fault(
    28,
    "PostgreSQL restarted, `-m immediate` and `-m fast`, ten times between the sync calls of 8"
    " threads",
    "the next call of each thread succeeds, and its jobs are there once",
)
async def test_the_sync_calls_after_a_restart_succeed_and_add_their_jobs_once(
    serve: Serve, size: Size, figures: Note
) -> None:
    server = serve()
    app = App(server.dsn)
    modes: tuple[StopMode, ...] = ("immediate", "fast")
    slowest = await asyncio.to_thread(
        _call_between_restarts, app, lambda n: server.restart(modes[n % 2]), size.times
    )
    rounds = range(size.times + 1)
    expected = {(number, thread): 4 for number in rounds for thread in range(THREADS)}
    async with connected(server.dsn) as conn:
        rows = await conn.fetch(
            """select (payload ->> 'round')::int as round, (payload ->> 'thread')::int as thread,
            count(*) as jobs from jobs where job_type = 'work' group by 1, 2"""
        )
    found = {(row["round"], row["thread"]): row["jobs"] for row in rows}
    await asyncio.to_thread(app.sync.close)
    figures(jobs=sum(found.values()), lost=sum(expected.values()) - sum(found.values()),
            seconds=slowest, what="the slowest call")
    assert found == expected


def _call_between_restarts(app: App, restart: Callable[[int], None], restarts: int) -> float:
    """Calls in all threads at once, before the first restart and after each; the slowest call."""
    took: list[float] = []
    at_once = threading.Barrier(THREADS)
    first_job = app.sync.enqueue("first")

    def call(payload: dict[str, int]) -> None:
        """Adds four jobs, by three kinds of statements, and waits for a job."""
        verbs: list[Callable[[], Any]] = [
            lambda: app.sync.enqueue("work", payload),
            lambda: app.sync.enqueue("work", payload, unique_key=f"{payload}"),
            lambda: app.sync.enqueue_many("work", [payload, payload]),
            lambda: app.sync.wait([app.sync.cancel(first_job.id)]),
        ]
        # After a restart each thread's first call is of another kind.
        first = payload["thread"] % len(verbs)
        at_once.wait()
        for verb in verbs[first:] + verbs[:first]:
            began = time.monotonic()
            verb()
            took.append(time.monotonic() - began)

    with ThreadPoolExecutor(THREADS) as threads:
        for number in range(restarts + 1):
            if number:
                restart(number)
            payloads = [{"round": number, "thread": thread} for thread in range(THREADS)]
            list(threads.map(call, payloads))
    return max(took)
