"""Plain functions: threads that nobody can end, child processes that die, and forked children."""

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from typing import Any

import pytest
from chaos.load import HOLDS, HOLDS_NOTHING, Size, add, begun, counted, ended
from chaos.processes import Processes, eventually
from chaos.report import Note

NOTICED_S = 5
GONE_AFTER_GRACE_S = 5
AT_ONCE = """select count(*) from ledger a join ledger b on a.job_id = b.job_id and a.run <> b.run
    where b.at >= a.at and (a.stopped_at is null or b.at < a.stopped_at)"""


@pytest.mark.fault(
    20,
    "SIGKILL of a worker whose handler has forked a child that lives on; the handler has ended"
    " another child by SIGTERM",
    "the child's SIGTERM does not stop the worker; the worker's death is noticed as if it had no"
    " child; jobs of the dead worker run again within 5 s",
)
async def test_a_forked_child_neither_stops_its_worker_nor_hides_its_death(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    alive = [workers.start() for _ in range(2)]
    [forking] = await add(ledger, 1, 600, job_type="fork")
    await add(ledger, size.jobs, 0.05)
    await begun(ledger, size.jobs // 2)
    pid = await ledger.fetchval("select pid from ledger where job_id = $1", forking)
    [victim] = [worker for worker in alive if worker.pid == pid]
    await eventually(lambda: ledger.fetchval(HOLDS, victim.name), "it is at work")
    victim.kill()
    took = await eventually(lambda: ledger.fetchval(HOLDS_NOTHING, victim.name), "it is noticed")
    await ended(ledger)
    counts = await counted(ledger, size.jobs + 1)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, twice_why="of the dead worker",
            seconds=took, what="from the kill until its jobs were taken back")
    assert (counts.lost, counts.retries, counts.stale) == (0, 0, 0)
    assert took < NOTICED_S
    assert [worker.poll() for worker in alive if worker is not victim] == [None]


@pytest.mark.fault(
    21,
    "SIGTERM of a worker with threads that never end, among other jobs",
    "the worker exits with status 0 within 5 s of its grace; all its jobs are given back, without"
    " a retry or a loss",
)
async def test_a_thread_that_never_ends_does_not_keep_its_worker(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    stuck = await add(ledger, 5, 600, job_type="thread")
    worker = workers.start(grace=1)
    await begun(ledger, len(stuck))
    await add(ledger, size.jobs, 0.05)
    await begun(ledger, len(stuck) + size.jobs // 4)
    worker.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert await asyncio.to_thread(worker.wait, 60) == 0
    took = time.monotonic() - began - 1
    pending = "select count(*) = 5 from jobs where id = any ($1) and status = 'pending'"
    assert await ledger.fetchval(pending, stuck)
    await ledger.execute("select jobs_cancel(id) from jobs where id = any ($1)", stuck)
    workers.start()
    await ended(ledger)
    counts = await counted(ledger, size.jobs, but=("thread",))
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, seconds=took,
            what="from the end of the grace to the exit")
    assert (counts.lost, counts.retries, counts.crashes, counts.stale) == (0, 0, 0, 0)
    assert took < GONE_AFTER_GRACE_S
    assert worker.said.count("still runs, and cannot be stopped") == len(stuck)


@pytest.mark.fault(
    22,
    "plain functions that outlive their timeout, on two workers; each fails at its first attempt",
    "no function runs beside its own retry, in either worker",
)
async def test_a_function_past_its_timeout_never_runs_twice_at_once(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    for _ in range(2):
        workers.start()
    overdue = size.jobs // 20
    await add(ledger, overdue, 0.6, job_type="overdue")
    await ledger.execute("update jobs set backoff = '{0 s}' where job_type = 'overdue'")
    await add(ledger, size.jobs, 0.02)
    await ended(ledger)
    counts = await counted(ledger, size.jobs + overdue)
    at_once = await ledger.fetchval(AT_ONCE)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice,
            twice_why="by their retries, none at once", seconds=None)
    assert (counts.lost, counts.crashes, at_once) == (0, 0, 0)
    # A busy event loop may see the end of the timeout after the end of the function.
    assert overdue * 0.9 < counts.twice <= overdue


@pytest.mark.fault(
    23,
    'SIGKILL of child processes of `run_in="process"`, ten times, among other jobs',
    "the death is a crash of the child's job alone; that job runs again; the worker goes on",
)
async def test_a_killed_child_process_is_a_crash_of_its_job_alone(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    worker = workers.start()
    ids = await add(ledger, size.jobs // 20, 0.1, job_type="process")
    await add(ledger, size.jobs, 0.02)
    killed: set[int] = set()
    latest = """select pid from ledger l join jobs j on j.id = l.job_id and j.attempt = l.attempt
        where j.status = 'processing' and l.pid <> $1 and stopped_at is null"""
    for _ in range(size.times):
        await eventually(lambda: ledger.fetchval(latest, worker.pid), "a child is at work")
        await asyncio.sleep(random.uniform(0, 0.2))
        for row in (await ledger.fetch(latest, worker.pid))[:1]:
            with suppress(ProcessLookupError):
                os.kill(row["pid"], signal.SIGKILL)
                killed.add(row["pid"])
    await ended(ledger)
    counts = await counted(ledger, size.jobs + len(ids))
    crashed = await ledger.fetchval("select sum(crash_count) from jobs")
    others = "select count(*) from jobs where crash_count > 0 and id <> all ($1::bigint[])"
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, twice_why="of killed children",
            seconds=None)
    assert (counts.lost, counts.retries, counts.stale) == (0, 0, 0)
    assert await ledger.fetchval(others, ids) == 0
    # A child may have ended its job before the signal came.
    assert 0 < counts.twice <= crashed <= len(killed)
    assert worker.poll() is None
