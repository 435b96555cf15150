"""Workers that are killed: what is counted of the ends of attempts is what the rows say."""

import asyncio
import signal
from collections import Counter
from typing import Any

import pytest
from chaos.load import FULL, HOLDS_NOTHING, Size, begun, ended
from chaos.processes import Process, Processes, eventually
from chaos.report import Note

Counts = Counter[tuple[str, str]]  # by type and outcome

ADD = """select count(*) from jobs_enqueue_many((
    select jsonb_agg(jsonb_build_object(
        'job_type', case when n % 10 = 0 then 'fail' else 'work' end,
        'payload', '{"seconds": 0}'::jsonb, 'max_retries', 1,
        'backoff', jsonb_build_array('0.1 s'),
        'queue', case when n % 10 = 1 then 'closed' else 'default' end))
    from generate_series(1, $1::int) n))"""
DELETED = """insert into deleted select * from jobs
    where status = 'completed' and attempt = 1 order by random() limit 200 returning id"""
JOBS = "(select * from jobs union all select * from deleted) j"
ROWS = f"""select job_type, status, count(*) from {JOBS} where finished_at is not null group by 1, 2
    union all
    select a.job_type, case a.outcome when 'failed' then 'retried' else a.outcome end, count(*)
    from jobs_attempts a
    join jobs j on j.id = a.job_id
    where j.status <> 'failed' or j.attempt <> a.attempt
    group by 1, 2"""
# What a worker ended last. It tells of that every ten seconds.
LATE = f"""select j.job_type, 'completed', count(*)
    from {JOBS}
    join ledger l on l.job_id = j.id and l.attempt = j.attempt
    where j.status = 'completed' and l.pid = $1
        and j.finished_at > $3::timestamptz - interval '12 s'
    group by 1
    union all
    select a.job_type, case when j.status = 'failed' and j.attempt = a.attempt then 'failed'
        else 'retried' end, count(*)
    from jobs_attempts a
    join jobs j on j.id = a.job_id
    where a.outcome = 'failed' and a.worker = $2 and a.ended_at > $3::timestamptz - interval '12 s'
    group by 1, 2"""


@pytest.mark.fault(
    30,
    "SIGKILL of two of three workers, among completions, failures, retries, cancellations and"
    " deletions",
    "the totals are what the rows say, but for what each killed worker ended in its last ten"
    " seconds",
)
async def test_the_totals_are_what_the_rows_say(
    ledger: Any, workers: Processes, size: Size, figures: Note
) -> None:
    jobs = 99_990 if size is FULL else 3_000
    await ledger.execute("create table deleted (like jobs)")
    alive = [workers.start(concurrency=100) for _ in range(3)]
    late: Counts = Counter()
    for part in range(3):
        await ledger.execute(ADD, jobs // 3)
        await begun(ledger, (part + 1) * jobs // 4)
        if part < 2:
            late += await _killed(ledger, alive.pop(0))
            alive.append(workers.start(concurrency=100))
        ids = [row["id"] for row in await ledger.fetch(DELETED)]
        assert await ledger.fetchval("select jobs_delete_many($1)", ids) == len(ids)
        while await ledger.fetchval("select jobs_cancel_many(queues => '{closed}')"):
            pass
    await ended(ledger)
    for worker in alive:
        worker.send_signal(signal.SIGTERM)
    for worker in alive:
        await asyncio.to_thread(worker.wait, 30)
    await ledger.execute("select jobs_recover()")

    rows = await _counts(ledger, ROWS)
    totals = await _counts(ledger, "select job_type, outcome, jobs from _jobs_totals()")
    missing = {labels: n - totals[labels] for labels, n in rows.items() if n != totals[labels]}
    figures(jobs=jobs, lost=0, seconds=10, what="of ends that a kill may lose; 2 kills lost"
            f" {sum(missing.values()):,} of {sum(rows.values()):,} ends")
    assert set(totals) <= set(rows)
    assert rows["work", "cancelled"] == jobs // 10
    assert rows["fail", "failed"] == jobs // 10
    assert all(0 <= n <= late[labels] for labels, n in missing.items()), (missing, late)
    history = "select job_type, outcome, sum(jobs)::bigint from jobs_history group by 1, 2"
    assert await _counts(ledger, history) == totals


async def _killed(ledger: Any, victim: Process) -> Counts:
    """Kills a worker; returns what it may not have told."""
    killed_at = await ledger.fetchval("select clock_timestamp()")
    victim.kill()
    await eventually(lambda: ledger.fetchval(HOLDS_NOTHING, victim.name), "its jobs are taken")
    return await _counts(ledger, LATE, victim.pid, victim.name, killed_at)


async def _counts(ledger: Any, query: str, *arguments: object) -> Counts:
    counts: Counts = Counter()
    for job_type, outcome, jobs in await ledger.fetch(query, *arguments):
        counts[job_type, outcome] += jobs
    return counts
