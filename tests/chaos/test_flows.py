"""Workers that die when jobs have ended and nobody has counted that for their children."""

import asyncio
import json
import random
from typing import Any

import pytest
from chaos.load import Size, counted, ended
from chaos.processes import Processes
from chaos.report import Note

# Each flow: one job, eight that wait for it, one that waits for the eight, and a batch's callback.
WIDTH = 8
JOBS_PER_FLOW = WIDTH + 3
UNCOUNTED = "select exists (select from jobs_flow_changes)"
BLOCKED = "select count(*) from jobs where status = 'blocked'"
# A child whose first run began before one of its parents had ended.
EARLY = """select count(*) from jobs_flow_edges e
    join jobs p on p.id = e.parent_id
    join (select job_id, min(at) as at from ledger group by job_id) l on l.job_id = e.child_id
    where l.at < p.finished_at or p.finished_at is null"""
PAUSE = """select max(extract(epoch from l.at - p.at))::float from (
        select e.child_id, max(p.finished_at) as at
        from jobs_flow_edges e join jobs p on p.id = e.parent_id group by e.child_id) p
    join (select job_id, min(at) as at from ledger group by job_id) l on l.job_id = p.child_id"""


@pytest.mark.fault(
    29,
    "SIGKILL of one of three workers, ten times, each time when jobs have ended and nobody has"
    " counted that for the jobs that wait for them",
    "each job starts after all its parents, and completes; no callback of a batch is forgotten",
)
async def test_workers_killed_between_an_end_and_its_count_strand_no_child(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    flows = size.jobs // JOBS_PER_FLOW
    alive = [workers.start() for _ in range(3)]
    kills = 0
    await _add(ledger, flows)
    while await ledger.fetchval(BLOCKED):
        if kills < size.times and await ledger.fetchval(UNCOUNTED):
            kills += 1
            # The first by name is the one that is told to count.
            alive.sort(key=lambda worker: worker.name)
            alive.pop(0 if kills % 2 else random.randrange(3)).kill()
            alive.append(workers.start())
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.005)
    await ended(ledger)
    counts = await counted(ledger, flows * JOBS_PER_FLOW)
    early = await ledger.fetchval(EARLY)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, twice_why="of killed workers",
            seconds=await ledger.fetchval(PAUSE),
            what=f"from the end of the last parent to a run, at most; {kills} kills;"
            f" {early} too early")
    assert (counts.lost, early) == (0, 0)
    assert await ledger.fetchval("select count(*) from jobs_flow_changes") == 0
    assert kills == size.times


async def _add(conn: Any, flows: int) -> None:
    payload = {"seconds": 0.02}
    for _ in range(flows):
        async with conn.transaction():
            batch = await conn.fetchval(
                "select id from jobs_batch('work', $1)", json.dumps(payload))
            jobs = [{"job_type": "work", "payload": payload, "ref": "first", "batch_id": batch}]
            jobs += [
                {"job_type": "work", "payload": payload, "ref": f"middle {place}",
                 "depends_on": ["first"], "batch_id": batch} for place in range(WIDTH)
            ]
            jobs.append({
                "job_type": "work", "payload": payload, "batch_id": batch,
                "depends_on": [f"middle {place}" for place in range(WIDTH)],
            })
            await conn.execute("select jobs_enqueue_many($1)", json.dumps(jobs))
            await conn.execute("select jobs_batch_close($1)", batch)
