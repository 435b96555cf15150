"""An application's table may refer to jobs: its open transactions do not hinder workers.

A foreign key locks the job's row `for key share` until the transaction ends. All functions lock
rows `for no key update`, which does not conflict with that lock.
"""

from datetime import timedelta

import pytest

MINUTE = timedelta(minutes=1)
STATEMENTS = {
    "jobs_claim": "select * from jobs_claim('me', max_jobs => 9)",
    "jobs_claim, two types":
        "select * from jobs_claim('me', max_jobs => 9, job_types => '{{t,u}}')",
    "jobs_start": "select * from jobs_start({pending}, 'me')",
    "jobs_heartbeat": "select * from jobs_heartbeat('me', '{{{held}}}', '{{1}}', '1 hour')",
    "_jobs_worker_beat":
        "select * from _jobs_worker_beat('me', '{{{held}}}', '{{1}}', '1 hour', '1 s')",
    "_jobs_worker_beat, unnamed":
        "select * from _jobs_worker_beat('me', '{{}}', '{{}}', '1 hour', '1 s')",
    "jobs_complete": "select * from jobs_complete({held})",
    "jobs_complete_many":
        "select * from jobs_complete_many('me', '{{{held}}}', '{{1}}', '{{null}}')",
    "jobs_fail": "select * from jobs_fail({held}, 'e')",
    "jobs_fail_many":
        "select * from jobs_fail_many('me', '{{{held}}}', '{{1}}', '{{e}}', '{{t}}', '{{null}}')",
    "jobs_release_many": "select * from jobs_release_many('me', '{{{held}}}', '{{1}}')",
    "jobs_recover": "select * from jobs_recover('me')",
    "jobs_cancel": "select * from jobs_cancel({held})",
    "jobs_retry": "select * from jobs_retry({failed})",
    "jobs_retry_many": "select jobs_retry_many()",
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_an_open_transaction_that_refers_to_jobs_hinders_no_function(
    conn, other, job, row, name
):
    jobs = {
        "pending": await job(run_at=-MINUTE),
        "held": await job("processing", started_at=-MINUTE),
        "failed": await job("failed"),
    }
    before = {job_id: await row(job_id) for job_id in jobs.values()}
    await conn.execute("create table files (job_id bigint references jobs)")
    async with other.transaction():
        await other.execute("insert into files select id from jobs")
        await conn.execute("set lock_timeout = '1s'")
        await conn.execute(STATEMENTS[name].format(**jobs))
        after = {job_id: await row(job_id) for job_id in jobs.values()}
        assert after != before


async def test_an_open_transaction_that_refers_to_jobs_does_not_hide_a_suspect(
    conn, other, job, ids
):
    suspect, ordinary = await job(crash_count=2), await job()
    await conn.execute("create table files (job_id bigint references jobs)")
    async with other.transaction():
        await other.execute("insert into files select id from jobs")
        assert await ids(STATEMENTS["jobs_claim"]) == [suspect, ordinary]
