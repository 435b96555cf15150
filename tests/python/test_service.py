from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pgjobs import InvalidArgument, JobNotFound, JobNotHeld, JobService, JobStatus
from pgjobs.testing import make_due


@pytest.fixture(params=["session", "transaction"])
async def service(request, conn, pgjobs_dsn):
    """Yields a service inside an SQLAlchemy session, then inside a transaction of asyncpg."""
    if request.param == "transaction":
        async with conn.transaction():
            yield JobService(conn, worker="me")
        return
    engine = create_async_engine("postgresql+asyncpg://", async_creator=_connects(pgjobs_dsn))
    async with AsyncSession(engine) as session:
        yield JobService(session, worker="me")
    await engine.dispose()


def _connects(dsn):
    async def connect():
        return await asyncpg.connect(dsn)

    return connect


async def test_the_whole_life_of_a_job_by_hand(service):
    job = await service.create("t", 2**40, "file", {"a": [1]}, max_retries=1)
    assert (job.status, job.reference, job.payload) == ("pending", ("file", 2**40), {"a": [1]})
    assert [j.id for j in await service.get_pending("t")] == [job.id]
    assert await service.get_pending("u") == []

    job = await service.mark_processing(job.id)
    assert (job.status, job.worker, job.attempt) == (JobStatus.PROCESSING, "me", 1)
    assert job.lease_until is None
    assert await service.get_pending() == []

    job = await service.mark_failed(job.id, "it rains")
    assert (job.status, job.retry_count, job.error) == ("pending", 1, "it rains")
    assert [j.id for j in await service.get_pending("t")] == [job.id]

    await service.mark_processing(job.id)
    job = await service.mark_completed(job.id, {"pages": 3})
    assert (job.status, job.result, job.error) == ("completed", {"pages": 3}, None)
    assert await service.get(job.id) == job
    assert (await service.get_by_reference("file", 2**40)).id == job.id

    assert await service.cleanup_completed() == 0
    assert await service.cleanup_completed(days=0) == 1
    with pytest.raises(JobNotFound):
        await service.get(job.id)


async def test_an_old_attempt_of_the_same_worker_cannot_end_the_new_one(conn):
    service = JobService(conn, worker="me")
    job = await service.create("t")
    old = await service.mark_processing(job.id)
    await service.recover()
    new = await service.mark_processing(job.id)
    for end in (service.mark_completed(job.id, attempt=old.attempt),
                service.mark_failed(job.id, "no", attempt=old.attempt)):
        with pytest.raises(JobNotHeld, match="is held by me in attempt 2; given: me, attempt 1"):
            await end
    assert (await service.mark_completed(job.id, attempt=new.attempt)).status == "completed"


async def test_a_failure_is_final_without_retries_left_or_without_retry(service):
    for retries, retry in ((0, True), (3, False)):
        job = await service.create("t", max_retries=retries)
        await service.mark_processing(job.id)
        job = await service.mark_failed(job.id, "no", retry=retry)
        assert job.status is JobStatus.FAILED


async def test_get_pending_returns_at_most_limit_jobs(service):
    ids = [(await service.create("t")).id for _ in range(3)]
    assert [job.id for job in await service.get_pending(limit=2)] == ids[:2]


@pytest.mark.parametrize("days", [739_948, -1, -2_912_112])
async def test_a_clean_up_of_impossible_days_is_refused(service, days):
    with pytest.raises(InvalidArgument, match="older_than must be from 0 to 1000 years"):
        await service.cleanup_completed(days=days)


async def test_get_by_reference_returns_the_newest_job(service):
    await service.create("t", 1, "file")
    newest = await service.create("u", 1, "file")
    assert (await service.get_by_reference("file", 1)).id == newest.id
    assert await service.get_by_reference("file", 2) is None


async def test_recover_takes_back_the_jobs_of_this_worker(service):
    held = await service.mark_processing((await service.create("t")).id)
    recovered = await service.recover()
    assert [(j.id, j.status, j.crash_count) for j in recovered] == [(held.id, "pending", 1)]
    assert (await service.mark_processing(held.id)).attempt == 2


async def test_another_worker_can_neither_start_nor_end_a_held_job(conn):
    mine, yours = JobService(conn, worker="me"), JobService(conn, worker="you")
    job = await mine.mark_processing((await mine.create("t")).id)
    for call in (
        yours.mark_processing(job.id), yours.mark_completed(job.id),
        yours.mark_failed(job.id, "no"),
    ):
        with pytest.raises(JobNotHeld):
            await call
    assert await yours.recover() == []
    assert (await mine.mark_completed(job.id)).status == "completed"


async def test_a_pending_job_cannot_be_completed_and_a_missing_job_cannot_be_started(conn):
    service = JobService(conn)
    job = await service.create("t")
    with pytest.raises(JobNotHeld):
        await service.mark_completed(job.id)
    with pytest.raises(JobNotFound):
        await service.mark_processing(job.id + 1)


async def test_a_lease_ends_by_itself(conn):
    service = JobService(conn, worker="me", lease=timedelta(minutes=1))
    job = await service.mark_processing((await service.create("t")).id)
    assert job.lease_until is not None
    await make_due(conn)


@pytest.mark.parametrize("value", [object(), float("nan"), "\x00"])
async def test_a_value_that_is_not_json_is_refused_and_the_transaction_goes_on(service, value):
    with pytest.raises(InvalidArgument):
        await service.create("t", payload=value)
    job = await service.mark_processing((await service.create("t")).id)
    with pytest.raises(InvalidArgument):
        await service.mark_completed(job.id, value)
    assert (await service.mark_completed(job.id, None)).result is None


async def test_an_entity_without_a_number_is_found_by_its_key(service):
    await service.create("t", "o-1", "order")
    newest = await service.create("t", UUID(int=7), "order")
    assert (newest.reference, newest.reference_id) == (("order", str(UUID(int=7))), None)
    assert (await service.get_by_reference("order", UUID(int=7))).id == newest.id
    assert (await service.get_by_reference("order", "o-1")).id == newest.id - 1
    assert await service.get_by_reference("order", 7) is None


async def test_the_service_never_commits(conn, pgjobs_dsn):
    other = await asyncpg.connect(pgjobs_dsn)
    transaction = other.transaction()
    await transaction.start()
    job = await JobService(other).create("t")
    await transaction.rollback()
    await other.close()
    with pytest.raises(JobNotFound):
        await JobService(conn).get(job.id)


async def test_a_clean_up_ends_although_more_jobs_become_old_enough(conn):
    # A thousand jobs per second, a week ago, for half a minute.
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        select 't', 'completed', clock_timestamp() - interval '7 days' + n * interval '1 ms'
        from generate_series(1, 30000) n"""
    )
    assert await JobService(conn).cleanup_completed() < 29_000
    with pytest.raises(InvalidArgument, match="older_than"):
        await JobService(conn).cleanup_completed(days=-1)


async def test_pending_jobs_come_by_priority_then_by_run_at(conn):
    service = JobService(conn)
    ids = [(await service.create("t")).id for _ in range(3)]
    await conn.execute("update jobs set priority = 1 where id = $1", ids[2])
    await conn.execute("update jobs set run_at = run_at - interval '1 h' where id = $1", ids[1])
    assert [job.id for job in await service.get_pending()] == [ids[2], ids[1], ids[0]]
    assert [job.id for job in await service.get_pending("t", 2)] == [ids[2], ids[1]]
    assert await service.get_pending("other") == []
