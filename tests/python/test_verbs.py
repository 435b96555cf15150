"""What an app does with jobs that exist."""

from uuid import UUID

import pytest

from pgjobs import DuplicateJob, InvalidArgument, JobNotFound, JobNotHeld


@pytest.fixture(params=["alone", "conn"])
def options(request, conn):
    return {} if request.param == "alone" else {"conn": conn}


async def test_a_job_is_got_by_its_id(app, options):
    job = await app.enqueue("t", {"a": 1}, max_retries=2)
    found = await app.get(job.id, **options)
    assert (found, found.payload, found.retries_left) == (job, {"a": 1}, 2)
    with pytest.raises(JobNotFound, match="there is no job 77"):
        await app.get(77, **options)


async def test_jobs_are_listed_the_newest_first_page_by_page(app, options):
    ids = await app.enqueue_many("t", [{}] * 5)
    first = await app.list(limit=3, **options)
    assert [job.id for job in first] == ids[:1:-1]
    rest = await app.list(limit=3, before=first[-1].id, **options)
    assert [job.id for job in rest] == ids[1::-1]
    assert await app.list(before=rest[-1].id, **options) == []


async def test_a_list_is_narrowed_by_each_filter(app, conn, options):
    key = UUID(int=7)
    one = await app.enqueue("a", queue="q", reference=("order", 1))
    other = await app.enqueue("b", reference=("order", key))
    await conn.execute("select from jobs_cancel($1)", other.id)
    for filters, expected in (
        ({"status": "pending"}, [one]), ({"status": ["cancelled", "failed"]}, [other]),
        ({"job_type": "b"}, [other]), ({"job_type": ["a", "b"]}, [other, one]),
        ({"queue": "q"}, [one]), ({"reference": ("order", 1)}, [one]),
        ({"reference": ("order", key)}, [other]), ({"reference": ("file", 1)}, []),
    ):
        found = await app.list(**filters, **options)
        assert [job.id for job in found] == [job.id for job in expected], filters


@pytest.mark.parametrize(
    "filters", [{"status": "nonsense"}, {"limit": 0}, {"queue": [1]}, {"reference": "order"}]
)
async def test_a_filter_that_selects_nothing_sensible_is_refused(app, filters):
    with pytest.raises(InvalidArgument):
        await app.list(**filters)


async def test_a_job_is_cancelled_and_retried(app, options):
    job = await app.enqueue("t", unique_key="k")
    job = await app.cancel(job.id, "nobody wants it", **options)
    assert (job.status, job.error) == ("cancelled", "nobody wants it")
    again = await app.retry(job.id, **options)
    assert (again.id, again.status, again.error) == (job.id, "pending", None)
    with pytest.raises(JobNotHeld):
        await app.retry(job.id, **options)
    await app.cancel(job.id, **options)
    await app.enqueue("t", unique_key="k")
    with pytest.raises(DuplicateJob):
        await app.retry(job.id, **options)
    with pytest.raises(JobNotFound):
        await app.cancel(77, **options)
