"""Workers that are killed, restarted, or killed by a job of their own."""

import asyncio
import random
import signal
from typing import Any

import pytest
from chaos.load import HOLDS_NOTHING, REPEATS, RUNS, Size, add, begun, counted, ended
from chaos.processes import Process, Processes, eventually
from chaos.report import Note

CUT_LISTENER = """select count(pg_terminate_backend(pid)) from pg_stat_activity
    where datname = current_database() and application_name = 'pgjobs ' || $1 || ' listen'"""
NOTICED = 5  # seconds from a death to the re-run


@pytest.mark.fault(
    1,
    "SIGKILL of one of three workers, ten times; after each kill the LISTEN connection of a"
    " living worker is cut",
    "no job lost; only jobs of a killed worker run twice; they begin again within 5 s of their"
    " first loss; writes in `job.transaction()` happen once; a worker whose connection is cut"
    " goes on",
)
async def test_a_killed_worker_loses_no_job_and_only_its_running_ones_run_twice(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    alive = [workers.start() for _ in range(3)]
    await add(ledger, size.jobs, 300 * size.times / size.jobs, every_tenth="write")
    killed: dict[int, Any] = {}
    for number in range(size.times):
        await begun(ledger, (number + 1) * 50)
        victim = alive.pop(random.randrange(len(alive)))
        killed[victim.pid] = await _killed(ledger, victim, cut=alive[0])
        alive.append(workers.start())
    await ended(ledger)
    counts = await counted(ledger, size.jobs)
    repeats = await ledger.fetch(REPEATS)
    # Only first losses: a job that the next kill lost again, begun or not, waits for its backoff.
    took = max(
        (r["next_at"] - killed[r["pid"]]).total_seconds()
        for r in repeats
        if r["pid"] in killed and r["attempt"] == 1
        and (r["next_attempt"] == 2 or r["crash_count"] < 2)
    )
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, twice_why="of killed workers",
            seconds=took, what="from the kill to the last re-run")
    assert (counts.lost, counts.retries, counts.stale) == (0, 0, 0)
    assert [r for r in repeats if r["pid"] not in killed] == []
    assert await ledger.fetchval("select count(*) - count(distinct job_id) from writes") == 0
    assert await ledger.fetchval("select count(*) from writes") == size.jobs // 10
    assert took < NOTICED
    assert [worker.poll() for worker in alive] == [None] * 3


async def _killed(ledger: Any, victim: Process, *, cut: Process) -> Any:
    """Kills a worker at work, waits until it holds no job, and returns the time of the kill."""
    await eventually(lambda: ledger.fetchval(RUNS, victim.name), "it is at work")
    killed_at = await ledger.fetchval("select clock_timestamp()")
    victim.kill()
    await asyncio.sleep(0.5)
    await eventually(lambda: ledger.fetchval(CUT_LISTENER, cut.name), "it is cut")
    await eventually(lambda: ledger.fetchval(HOLDS_NOTHING, victim.name), "its jobs are taken")
    return killed_at


@pytest.mark.fault(
    2,
    "SIGTERM during load: a rolling restart of three workers",
    "no job lost, none run twice, no retry spent; each exits with status 0",
)
async def test_a_rolling_restart_runs_nothing_twice_and_spends_no_retry(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    alive = [workers.start() for _ in range(3)]
    await add(ledger, size.jobs, 0.1)
    restarts = 3 * max(1, size.times // 3)
    longest = 0.0
    for number in range(restarts):
        await begun(ledger, (number + 1) * size.jobs // (restarts + 2))
        old = alive.pop(0)
        began = asyncio.get_running_loop().time()
        old.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(old.wait, 15) == 0
        longest = max(longest, asyncio.get_running_loop().time() - began)
        alive.append(workers.start())
        assert await ledger.fetchval("select count(*) > 0 from jobs where status = 'pending'")
    await ended(ledger)
    counts = await counted(ledger, size.jobs)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice,
            seconds=longest, what="from SIGTERM to the exit")
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)


@pytest.mark.fault(
    8,
    "a poison job that kills its process, among other jobs at concurrency 100, under"
    " `pgjobs worker --processes 2`",
    "it ends failed after max_retries; no job that ran beside it fails or spends a retry;"
    " the pool of processes survives",
)
async def test_a_poison_job_ends_failed_and_its_neighbours_do_not(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    await add(ledger, size.jobs // 10, 0.3)
    [poison] = await add(ledger, 1, 0, job_type="poison")
    neighbours = await add(ledger, 10, 1)
    await add(ledger, size.jobs - size.jobs // 10 - 10, 0.3)
    # With this backoff the jobs that were lost with the poison job come back with it.
    await ledger.execute(
        "update jobs set backoff = '{1 s}' where id = any ($1::bigint[])", [poison, *neighbours]
    )
    pool = workers.supervise(processes=2, concurrency=100)
    await ended(ledger)
    counts = await counted(ledger, size.jobs, but=("poison",))
    row = await ledger.fetchrow(
        """select j.*, extract(epoch from j.finished_at -
            (select min(l.at) from ledger l where l.job_id = j.id))::float as seconds
        from jobs j where j.id = $1""",
        poison,
    )
    runs = await ledger.fetchval("select count(*) from ledger where job_id = $1", poison)
    figures(jobs=counts.jobs + 1, lost=counts.lost, twice=counts.twice,
            twice_why=f"beside the poison job, which ran {runs} times", seconds=row["seconds"],
            what="from its first run to its end")
    assert (row["status"], row["crash_count"], row["retry_count"]) == ("failed", 4, 0)
    assert (runs, counts.lost, counts.retries, counts.stale) == (4, 0, 0, 0)
    assert pool.poll() is None
    pool.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(pool.wait, 30) == 0
