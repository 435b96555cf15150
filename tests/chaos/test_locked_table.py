"""Another session holds the table jobs exclusively, as vacuum full or alter table does."""

import asyncio
from typing import Any

import asyncpg
import pytest
from chaos.load import Size, add, connected, counted, ended
from chaos.processes import Processes, eventually
from chaos.report import Note

WORKERS = 3
LINKS = 3 * WORKERS  # besides the pools of the handlers
AT_WORK = f"""select count(*) = {WORKERS} from (
    select pid from ledger group by pid having count(*) >= 5) busy"""
SESSIONS = """select count(*) filter (where application_name <> 'pgjobs workload.py') as links,
        count(*) filter (where application_name = 'pgjobs workload.py') as pools
    from pg_stat_activity
    where datname = current_database() and application_name like 'pgjobs %'"""
# A job that was claimed after the release: an earlier one may write to the ledger late.
FIRST_RUN = """select extract(epoch from min(l.at) - $1)::float
    from ledger l join jobs j on j.id = l.job_id and j.attempt = l.attempt
    where j.started_at > $1"""
NOTICED = 1  # second from the release to the next run


@pytest.mark.fault(
    18,
    "three workers, and another session locks the table jobs for a minute",
    "the workers open no further sessions; jobs run again within a second of the release;"
    " all jobs completed",
)
async def test_workers_wait_for_a_locked_table_without_more_and_more_sessions(
    ledger: Any, pgjobs_dsn: str, workers: Processes, size: Size, figures: Note
) -> None:
    alive = [workers.start() for _ in range(WORKERS)]
    await add(ledger, size.jobs, 0.2)
    await eventually(lambda: ledger.fetchval(AT_WORK), "all workers are at work")
    async with connected(pgjobs_dsn) as holder:
        most, pools, released_at = await _locked(holder, 60 if size.times > 2 else 20)
        ran = f"select ({FIRST_RUN}) is not null"
        await eventually(lambda: holder.fetchval(ran, released_at), "jobs run again")
        took = await holder.fetchval(FIRST_RUN, released_at)
    await ended(ledger)
    counts = await counted(ledger, size.jobs)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice,
            twice_why="of the jobs that were running", seconds=took,
            what=f"from the release to the next run; at most {most} sessions without the pools")
    assert (counts.lost, counts.stale) == (0, 0)
    assert WORKERS <= most <= LINKS
    assert pools <= 10 * WORKERS
    assert took < NOTICED
    assert [worker.poll() for worker in alive] == [None] * WORKERS


async def _locked(holder: asyncpg.Connection, seconds: float) -> tuple[int, int, Any]:
    """Locks the table; returns the highest counts of sessions meanwhile, and when it ended."""
    links = pools = 0
    async with holder.transaction():
        await holder.execute("lock table jobs in access exclusive mode")
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            # The view is frozen within a transaction, unless it is cleared.
            await holder.execute("select pg_stat_clear_snapshot()")
            row = await holder.fetchrow(SESSIONS)
            assert row is not None
            links, pools = max(links, row["links"]), max(pools, row["pools"])
            await asyncio.sleep(0.1)
    return links, pools, await holder.fetchval("select clock_timestamp()")
