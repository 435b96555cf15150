"""Two workers at one queue."""

from typing import Any

import pytest
from chaos.load import Size, add, counted, ended
from chaos.processes import Processes, eventually
from chaos.report import Note


@pytest.mark.fault(
    15,
    "two workers race for 100,000 jobs",
    "each job is claimed exactly once",
)
async def test_two_workers_claim_each_job_exactly_once(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    jobs = 10 * size.jobs if size.times > 2 else 3 * size.jobs
    for _ in range(10):
        await add(ledger, jobs // 10, 0)
    await ledger.execute("select from jobs_pause('default')")
    for _ in range(2):
        workers.start(concurrency=100)
    registered = "select count(*) = 2 from jobs_workers"
    await eventually(lambda: ledger.fetchval(registered), "both workers are registered")
    await ledger.execute("select from jobs_resume('default')")
    await ended(ledger, seconds=600)
    counts = await counted(ledger, jobs)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice)
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)
    # It was a race: each worker ran a good part of the jobs.
    shares = await ledger.fetch("select count(*) as runs from ledger group by pid")
    assert min(row["runs"] for row in shares) > jobs // 10
    assert len(shares) == 2
