"""What a worker calls for jobs that failed, in place of jobs_fail_many: it tells what follows."""

from datetime import timedelta

import pytest

END = """select * from _jobs_end_attempts('me', array[$1::bigint], '{1}', '{no}',
    array[$2::boolean], array[$3::interval], $4)"""
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("columns", "retry", "crashed", "expected"),
    [
        ({"retry_count": 1}, True, False, ("pending", 2, 0, 4 * SECOND)),
        ({"retry_count": 3}, True, False, ("failed", 3, 0, 0 * SECOND)),
        ({}, False, False, ("failed", 0, 0, 0 * SECOND)),
        ({"cancel_requested_at": -SECOND}, True, False, ("cancelled", 0, 0, 0 * SECOND)),
        ({"crash_count": 1, "backoff": [9 * SECOND]}, True, True, ("pending", 0, 2, 9 * SECOND)),
        ({"crash_count": 3}, True, True, ("failed", 0, 4, 0 * SECOND)),
    ],
    ids=["retry", "last", "no retry wanted", "cancelled", "crash", "last crash"],
)
async def test_it_tells_what_became_of_each_job(conn, job, columns, retry, crashed, expected):
    job_id = await job("processing", **columns)
    [row] = await conn.fetch(END, job_id, retry, None if crashed else 4 * SECOND, crashed)
    assert tuple(row) == (job_id, *expected)


async def test_a_job_that_is_not_held_is_left_out(conn, job):
    job_id = await job("processing", attempt=2)
    assert await conn.fetch(END, job_id, True, None, False) == []
