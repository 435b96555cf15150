from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument, JobNotFound

COPIED = (
    "job_type", "queue", "priority", "reference_type", "reference_id", "reference_key",
    "max_retries", "backoff", "group_key", "headers", "payload",
)


@pytest.mark.parametrize(
    "status", ["pending", "blocked", "processing", "completed", "failed", "cancelled"]
)
async def test_a_copy_is_a_new_pending_job_whatever_the_status(conn, job, row, status):
    original = await job(
        status, job_type="mail", queue="q", priority=4, reference_type="file", reference_id=1,
        reference_key="k", max_retries=7, backoff=[timedelta(seconds=1)], group_key="g",
        headers='{"a": "b"}', payload='{"n": 1}', unique_key="u", unique_scope="kept",
        expires_at=timedelta(hours=1), run_at=timedelta(hours=2), retry_count=2, crash_count=1,
        attempt=3, error="e", result="1",
    )
    before = await row(original)
    copy = await conn.fetchrow("select * from jobs_copy($1)", original)
    assert copy["id"] != original
    assert {name: copy[name] for name in COPIED} == {name: before[name] for name in COPIED}
    assert (copy["status"], copy["retry_count"], copy["crash_count"], copy["attempt"]) == (
        "pending", 0, 0, 0,
    )
    for name in ("unique_key", "expires_at", "error", "result", "worker", "finished_at"):
        assert copy[name] is None
    assert copy["run_at"] <= await conn.fetchval("select clock_timestamp()")
    assert await row(original) == before


async def test_a_copy_may_have_another_payload(conn, job):
    original = await job(payload='{"n": 1}')
    query = "select payload from jobs_copy($1, $2)"
    assert await conn.fetchval(query, original, '{"n": 2}') == '{"n": 2}'
    assert await conn.fetchval(query, original, "null") == "null"


async def test_a_copy_does_not_go_on_with_the_trace_of_the_jobs_sender(conn, job):
    trace = '{"traceparent": "00-1-2-01", "tracestate": "a=b"'
    for headers, copied in ((trace + ', "h": 1}', '{"h": 1}'), (trace + "}", None)):
        original = await job("failed", headers=headers)
        assert await conn.fetchval("select headers from jobs_copy($1)", original) == copied


async def test_a_copy_is_signalled_and_claimed(conn, job, ears, ids):
    original = await job("failed", queue="q", group_key="g")
    await ears.heard()
    copy = await conn.fetchval("select id from jobs_copy($1)", original)
    assert await ears.heard() == ["q"]
    assert await ids("select id from jobs_claim('me', '{q}')") == [copy]


async def test_a_copy_does_not_wait_for_a_session_that_has_locked_the_job(conn, other, job):
    original = await job()
    async with conn.transaction():
        await conn.execute("select jobs_cancel($1)", original)
        assert await other.fetchval("select status from jobs_copy($1)", original) == "pending"


async def test_an_unknown_id_and_a_null_id_raise(conn):
    with pytest.raises(JobNotFound, match="there is no job 99"):
        await conn.execute("select jobs_copy(99)")
    with pytest.raises(InvalidArgument, match="job_id is missing"):
        await conn.execute("select jobs_copy(null)")
