"""Workers that lost their jobs and do not know it: their late reports are discarded."""

import asyncio
import random
import signal
from datetime import timedelta
from typing import Any

import pytest
from chaos.load import HOLDS_NOTHING, REPEATS, Size, add, begun, counted, ended
from chaos.processes import Processes, eventually
from chaos.report import Note

from pgjobs import JobNotHeld
from pgjobs.database import Database

MINUTE = timedelta(minutes=1)
SNAPSHOT = "select md5(string_agg(j::text, '' order by id)) from jobs j"


@pytest.mark.fault(
    6,
    "one handler blocks the event loop for five leases",
    "other workers run its neighbours, and the ends of their first runs are discarded; the log"
    " names the handler",
)
async def test_a_blocked_event_loop_is_named_and_its_jobs_are_fenced(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    alive = [workers.start(lease=3)]
    # When the block is over these jobs have ended there, and another worker has run them, too: full
    # ticks find leases that are over, up to 10 s later.
    neighbours = await add(ledger, 10, 3.5)
    await begun(ledger, 10)
    [blocking] = await add(ledger, 1, 15, job_type="block")
    await begun(ledger, 11)
    alive += [workers.start(lease=3) for _ in range(2)]
    await add(ledger, size.jobs, 0.1)
    await ended(ledger)
    # Wait until the blocked worker has tried to write the ends of its lost jobs.
    discarded = "(completed) is discarded: the job is not held"
    await eventually(lambda: _said(alive, discarded), "it is logged")
    counts = await counted(ledger, size.jobs + 11)
    at = await ledger.fetchval("select min(at) from ledger where job_id = $1", blocking)
    pid = await ledger.fetchval("select pid from ledger where job_id = $1 order by at", blocking)
    repeats = await ledger.fetch(REPEATS)
    took = max(((r["next_at"] - at).total_seconds() for r in repeats), default=0.0)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice,
            twice_why="beside the handler, fenced", seconds=took,
            what="from the block to the last re-run; the lease is 3 s")
    assert (counts.lost, counts.retries, counts.stale) == (0, 0, 0)
    assert {*neighbours, blocking} <= {r["job_id"] for r in repeats}
    assert {r["pid"] for r in repeats} == {pid}
    [blocked] = [worker for worker in alive if worker.pid == pid]
    assert f"the event loop has been blocked for 1 s by job {blocking} (block)" in blocked.said


async def _said(alive: list[Any], what: str) -> bool:
    return any(what in worker.said for worker in alive)


@pytest.mark.fault(
    7,
    "a worker is stopped (SIGSTOP) for longer than its lease, and goes on",
    "its late completions have no effect; the handlers that still run are cancelled; its log says"
    " so",
)
async def test_a_worker_that_continues_after_its_lease_says_so_and_cancels_its_handlers(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    zombie = workers.start(lease=3)
    long = await add(ledger, 5, 60, job_type="once")
    await begun(ledger, 5)
    workers.start(lease=3)
    await add(ledger, size.jobs, 0.1)
    await begun(ledger, 5 + size.jobs // 4)
    zombie.send_signal(signal.SIGSTOP)
    await eventually(lambda: ledger.fetchval(HOLDS_NOTHING, zombie.name), "its jobs are taken")
    await asyncio.sleep(1)
    zombie.send_signal(signal.SIGCONT)
    stopped = """select count(*) = 5 from ledger
        where stopped_at is not null and pid = $1 and job_id = any ($2::bigint[])"""
    took = await eventually(
        lambda: ledger.fetchval(stopped, zombie.pid, long), "they are cancelled", seconds=10
    )
    await ended(ledger)
    counts = await counted(ledger, size.jobs + 5)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, twice_why="fenced",
            seconds=took, what="from SIGCONT until its handlers are cancelled")
    assert (counts.lost, counts.retries, counts.stale) == (0, 0, 0)
    assert {r["pid"] for r in await ledger.fetch(REPEATS)} == {zombie.pid}
    assert "is asked to end: the worker has lost it" in zombie.said
    assert zombie.poll() is None


@pytest.mark.fault(
    7,
    "stale completions, failures, releases and heartbeats after recovery, also by a worker that"
    " holds the job again in a later attempt",
    "no effect, and each caller is told",
)
async def test_late_calls_of_a_worker_that_lost_its_jobs_change_nothing(
    ledger: Any, size: Size, figures: Note
) -> None:
    database = Database(ledger, "public")
    await add(ledger, size.jobs, 0)
    held = [(row["id"], row["attempt"]) for row in await database.claim("zombie", None, size.jobs)]
    assert len(held) == size.jobs
    await ledger.execute("update jobs set lease_until = clock_timestamp() - interval '1 s'")
    assert len(await database.recover()) == size.jobs
    heirs = [row["id"] for row in await database.claim("heir", None, size.jobs // 2)]
    own = [row["id"] for row in await database.claim("zombie", None, size.jobs)]
    assert sorted(heirs + own) == [job_id for job_id, _ in held]

    before = await ledger.fetchval(SNAPSHOT)
    random.shuffle(held)
    ids, attempts = [job_id for job_id, _ in held], [attempt for _, attempt in held]
    nothing: list[Any] = [None] * len(ids)
    assert await database.complete_many("zombie", ids, attempts, ["1"] * len(ids)) == []
    assert await database.complete_many("zombie", ids, attempts, nothing, keep=False) == []
    assert await database.fail_many(
        "zombie", ids, attempts, ["late"] * len(ids), [True] * len(ids), nothing) == []
    assert await database.release_many("zombie", ids, attempts) == []
    states = await database.heartbeat("zombie", ids, attempts, MINUTE)
    assert set(states) == {"lost"}
    for job_id, attempt in held[:100]:
        with pytest.raises(JobNotHeld):
            await database.complete(job_id, None, "zombie", attempt)
        with pytest.raises(JobNotHeld):
            await database.fail(job_id, "late", worker="zombie", attempt=attempt)
        with pytest.raises(JobNotHeld):
            await database.cancel(job_id, "late", "zombie", attempt)
    unchanged = await ledger.fetchval(SNAPSHOT) == before

    done = await database.complete_many("heir", heirs, [2] * len(heirs), [None] * len(heirs))
    done += await database.complete_many("zombie", own, [2] * len(own), [None] * len(own))
    figures(jobs=size.jobs, lost=size.jobs - len(done))
    assert unchanged
    assert sorted(done) == sorted(ids)
