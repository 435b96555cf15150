"""A worker looks before it starts a job: one that has not begun by its expires_at is not run."""

from datetime import UTC, datetime, timedelta

import pytest

from pgjobs.handler.run import Run

HOUR = timedelta(hours=1)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
# So that only the look before the start can end a job.
BLIND_TICKS = """create or replace function _jobs_expire(max_jobs int) returns bigint
    language sql return 0"""


def claimed(**columns):
    row = {"id": 1, "attempt": 1, "crash_count": 0, "retry_count": 0, "started_at": NOW,
           "expires_at": NOW + HOUR, **columns}
    return Run(row, claimed_at=100.0)


@pytest.mark.parametrize("run_in", [None, "thread"])
async def test_a_claimed_job_that_has_expired_is_not_run(app, conn, run_in):
    ran = []

    async def handler(job):
        ran.append(job.id)

    def plain(job):
        ran.append(job.id)

    app.job("t", run_in=run_in)(plain if run_in else handler)
    await conn.execute(BLIND_TICKS)
    expired = await app.enqueue("t", expires=HOUR)
    in_time = await app.enqueue("t", expires=HOUR)
    await conn.execute("update jobs set expires_at = clock_timestamp() where id = $1", expired.id)
    await app.worker().run(until_empty=True)
    ended = await app.get(expired.id)
    assert (ended.status, ended.error, ended.attempt) == ("cancelled", "expired", 1)
    assert (await app.get(in_time.id)).status == "completed"
    assert ran == [in_time.id]


async def test_the_retry_of_a_job_that_began_in_time_runs_after_its_expiry(app, conn):
    attempts = []

    @app.job("t")
    async def handler(job):
        attempts.append(job.attempt)
        if job.attempt == 1:
            await conn.execute("update jobs set expires_at = clock_timestamp()")
            raise ValueError("boom")

    job = await handler.enqueue(expires=HOUR)
    await app.worker().run(until_empty=True)
    await conn.execute("update jobs set run_at = clock_timestamp()")
    await app.worker().run(until_empty=True)
    assert attempts == [1, 2]
    assert (await app.get(job.id)).status == "completed"


async def test_a_worker_ends_what_it_has_no_handler_for(app, conn):
    app.job("t")(lambda job: None)
    job = await app.enqueue("other", expires=HOUR)
    await conn.execute("update jobs set expires_at = clock_timestamp()")
    await app.worker().run(until_empty=True)
    assert (await app.get(job.id)).error == "expired"


def test_time_in_the_worker_counts_by_the_databases_clock_at_the_claim():
    run = claimed()
    assert not run.has_expired(100.0)
    assert not run.has_expired(100.0 + 3599)
    assert run.has_expired(100.0 + 3600)


@pytest.mark.parametrize(
    "columns", [{"expires_at": None}, {"retry_count": 1}, {"crash_count": 1, "attempt": 2}]
)
def test_a_job_without_expiry_or_that_has_begun_before_never_expires(columns):
    assert not claimed(**columns).has_expired(1e9)
