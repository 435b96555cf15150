"""``job.wait`` and ``app.wait``: each waiter gets its own job's outcome, whatever gets lost."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import pgjobs
from pgjobs import (
    App,
    Fail,
    InvalidArgument,
    Job,
    JobCancelled,
    JobFailed,
    JobGone,
    JobNotFound,
    PgjobsError,
)

SECOND = timedelta(seconds=1)
SOON = timedelta(seconds=20)


class Sum(BaseModel):
    a: int
    b: int


@dataclass
class Summed:
    total: int


@pytest.fixture
async def app(pgjobs_dsn: str) -> AsyncIterator[App]:
    made = App(dsn=pgjobs_dsn)

    @made.job("add")
    async def add(job: Job[Sum]) -> Summed:
        return Summed(job.payload.a + job.payload.b)

    @made.job("bad")
    async def bad(job: Job[Any]) -> None:
        raise Fail("no such file")

    @made.job("retried", backoff=pgjobs.Backoff.fixed(timedelta(0)))
    async def retried(job: Job[Any]) -> int:
        if job.retry_count < 2:
            raise ValueError("not yet")
        return job.retry_count

    async with made:
        yield made


async def complete(conn: asyncpg.Connection, *job_ids: int, keep: bool = True) -> None:
    """Completes the jobs with their ids as results, as a worker does."""
    await conn.execute("update jobs set status = 'processing', worker = 'w', attempt = 1"
                       " where id = any ($1)", job_ids)
    await conn.execute(
        "select jobs_complete_many('w', $1, array_fill(1, array[cardinality($1::bigint[])]), $2,"
        " $3)", job_ids, [str(job_id) for job_id in job_ids], keep,
    )


async def listening(conn: asyncpg.Connection) -> int:
    """The process that serves the app's waits."""
    async with asyncio.timeout(10):
        while True:
            pid: int | None = await conn.fetchval(
                "select pid from pg_stat_activity where application_name like '% wait'"
                " and state = 'idle' and datname = current_database()"
                " and exists (select from jobs_watched)"
            )
            if pid is not None:
                return pid
            await asyncio.sleep(0.01)


async def test_a_wait_returns_what_the_handler_returned_as_its_type(app, working):
    add = app.tasks["add"]
    async with working():
        job = await add.enqueue(Sum(a=1, b=2))
        assert await job.wait(timeout=SOON) == Summed(3)
        assert await (await app.get(job.id)).wait() == Summed(3)  # it has ended already


async def test_a_result_without_a_handler_in_this_app_is_plain_data(app, conn):
    job = await app.enqueue("elsewhere")
    await complete(conn, job.id)
    assert await job.wait(timeout=SOON) == job.id


async def test_a_result_that_the_handler_would_not_return_any_more_is_told(app, conn):
    job = await app.enqueue("add", {"a": 1, "b": 2})
    await complete(conn, job.id)
    with pytest.raises(PgjobsError, match="does not return results like this one any more"):
        await job.wait(timeout=SOON)


async def test_a_wait_for_a_job_that_ended_otherwise_raises_and_tells_why(app, working):
    async with working():
        with pytest.raises(JobFailed, match="no such file") as failed:
            await (await app.enqueue("bad")).wait(timeout=SOON)
        assert failed.value.error == "no such file"
    cancelled = await app.enqueue("bad")
    await app.cancel(cancelled.id, "by hand")
    with pytest.raises(JobCancelled, match="by hand"):
        await cancelled.wait(timeout=SOON)


async def test_a_wait_lasts_over_retries(app, working):
    async with working():
        assert await (await app.enqueue("retried")).wait(timeout=SOON) == 2


async def test_a_wait_gives_up_after_its_timeout_and_the_job_goes_on(app):
    job = await app.enqueue("add", {"a": 1, "b": 2})
    with pytest.raises(TimeoutError, match=r"has not ended within 0:00:00\.05"):
        await job.wait(timeout=timedelta(milliseconds=50))
    assert (await job.refresh()).status == "pending"
    for timeout in (5, -SECOND):
        with pytest.raises(InvalidArgument, match="timeout must be a timedelta of 0 or more"):
            await job.wait(timeout=timeout)


async def test_app_wait_raises_for_no_job_and_returns_what_became_of_each(app, conn):
    done, failed, pending = [await app.enqueue("elsewhere") for _ in range(3)]
    await complete(conn, done.id)
    await conn.execute("select jobs_cancel($1)", failed.id)
    outcomes = await app.wait([pending, failed.id, done, done, 999], timeout=3 * SECOND)
    assert [(o.job_id, o.status, o.result) for o in outcomes] == [
        (pending.id, "pending", None), (failed.id, "cancelled", None),
        (done.id, "completed", done.id), (done.id, "completed", done.id), (999, "gone", None),
    ]
    assert await app.wait([]) == []
    with pytest.raises(InvalidArgument, match="job_id must be"):
        await app.wait([2**63])


async def test_an_end_is_heard_at_once_by_all_who_wait_for_it(app, conn):
    jobs = [await app.enqueue("elsewhere") for _ in range(3)]
    waits = [asyncio.create_task(job.wait(timeout=SOON)) for job in [*jobs, *jobs]]
    await listening(conn)
    await asyncio.sleep(0.2)  # past the second look, so that only a notification is quick
    began = time.monotonic()
    await complete(conn, *(job.id for job in jobs))
    assert await asyncio.gather(*waits) == [job.id for job in [*jobs, *jobs]]
    assert time.monotonic() - began < 0.8


async def test_nobody_hears_of_an_end_before_its_commit(app, conn):
    job = await app.enqueue("elsewhere")
    wait = asyncio.create_task(job.wait(timeout=SOON))
    await listening(conn)
    async with conn.transaction():
        await complete(conn, job.id)
        await asyncio.sleep(0.3)
        assert not wait.done()
    assert await wait == job.id


async def test_an_end_that_began_before_the_watch_is_found_soon(app, conn):
    job = await app.enqueue("elsewhere")
    transaction = conn.transaction()
    await transaction.start()
    await complete(conn, job.id)
    wait = asyncio.create_task(job.wait(timeout=SOON))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await transaction.commit()
    assert await wait == job.id
    assert time.monotonic() - began < 2


async def test_a_wait_outlives_the_loss_of_its_connection(app, conn):
    job = await app.enqueue("elsewhere")
    wait = asyncio.create_task(job.wait(timeout=SOON))
    pid = await listening(conn)
    await asyncio.sleep(0.2)
    await conn.execute("select pg_terminate_backend($1, 5000)", pid)
    await complete(conn, job.id)
    began = time.monotonic()
    assert await wait == job.id
    assert time.monotonic() - began < 0.8  # the look after the reconnect


async def test_thousands_who_wait_share_one_connection_and_get_their_own_outcomes(app, conn):
    job_ids = await app.enqueue_many("elsewhere", [None] * 3_000)
    jobs = [await app.get(job_ids[0])] + [
        Job.from_row({**row}, app)
        for row in await conn.fetch("select * from jobs where id = any ($1)", job_ids[1:])
    ]
    waits = [asyncio.create_task(job.wait(timeout=3 * SOON)) for job in jobs]
    await listening(conn)
    for place in range(0, 3_000, 500):
        await complete(conn, *job_ids[place:place + 500])
    assert await asyncio.gather(*waits) == [job.id for job in jobs]
    assert await conn.fetchval(
        "select count(*) from pg_stat_activity where application_name like '% wait'"
    ) == 1
    assert await conn.fetchval("select count(*) from jobs_watched") == 0


async def test_an_app_that_waits_for_nothing_has_no_connection_for_it(app, conn):
    await app.enqueue("elsewhere")
    assert await app.wait([]) == []
    assert await conn.fetchval(
        "select count(*) from pg_stat_activity where application_name like '% wait'"
    ) == 0


async def test_a_wait_for_a_job_whose_own_transaction_is_open_is_refused_at_once(
    app, conn, pgjobs_dsn
):
    transaction = conn.transaction()
    await transaction.start()
    job = await app.enqueue("elsewhere", conn=conn)
    for wait in (job.wait, lambda: app.wait([job])):
        with pytest.raises(InvalidArgument, match="not committed yet: commit the transaction"):
            await wait()
    await transaction.commit()
    async with conn.transaction():  # another transaction of that connection
        pass
    await complete(conn, job.id)
    assert await job.wait(timeout=SOON) == job.id
    engine = create_async_engine(pgjobs_dsn.replace("postgresql", "postgresql+asyncpg", 1))
    async with AsyncSession(engine) as session:
        job = await app.enqueue("elsewhere", conn=session)
        with pytest.raises(InvalidArgument, match="not committed yet"):
            await job.wait()
        await session.commit()
        await complete(conn, job.id)
        assert await job.wait(timeout=SOON) == job.id
    async with engine.connect() as connection:
        job = await app.enqueue("elsewhere", conn=connection)
        with pytest.raises(InvalidArgument, match="not committed yet"):
            await app.wait([job])
    await engine.dispose()


async def test_an_id_never_seen_is_not_found_after_two_seconds(app, conn):
    began = time.monotonic()
    transaction = conn.transaction()
    await transaction.start()
    job = await app.enqueue("elsewhere", conn=conn)
    await transaction.rollback()
    with pytest.raises(JobNotFound, match="commit it before you wait"):
        await job.wait(timeout=SOON)
    assert (await app.wait([job, 7]))[0].status == "gone"
    assert 3.5 < time.monotonic() - began < 8


async def test_a_wait_for_a_job_that_is_deleted_raises_job_gone(app, conn):
    job, deleted = await app.enqueue("elsewhere"), await app.enqueue("elsewhere")
    await conn.execute("delete from jobs where id = $1", deleted.id)
    with pytest.raises(JobGone, match="enqueue with watch=True"):
        await deleted.wait(timeout=SOON)
    wait = asyncio.create_task(job.wait(timeout=SOON))
    await listening(conn)
    await conn.execute("delete from jobs")
    with pytest.raises(JobGone):
        await wait


async def test_an_uncommitted_job_is_waited_for_by_its_id_if_it_comes_within_two_seconds(
    app, conn
):
    transaction = conn.transaction()
    await transaction.start()
    job = await app.enqueue("elsewhere", conn=conn)
    wait = asyncio.create_task(app.wait([job.id], timeout=SOON))
    await asyncio.sleep(0.3)
    await transaction.commit()
    await listening(conn)
    await complete(conn, job.id)
    assert (await wait)[0].result == job.id


async def test_what_is_watched_from_the_start_is_kept_where_workers_delete(app, conn):
    watched = await app.enqueue("elsewhere", watch=True)
    plain = await app.enqueue("elsewhere")
    async with conn.transaction():
        in_transaction = await app.enqueue("elsewhere", conn=conn, watch=True)
        assert await conn.fetchval("select count(*) from jobs_watched") == 2
    await complete(conn, watched.id, plain.id, in_transaction.id, keep=False)
    assert await watched.wait() == watched.id
    assert await in_transaction.wait() == in_transaction.id
    with pytest.raises(JobGone):
        await plain.wait()


async def test_a_wait_of_a_role_that_may_not_read_outcomes_says_what_to_grant(
    app, conn, pgjobs_dsn
):
    await conn.execute("create role pgjobs_web; grant pgjobs_web to current_user")
    await conn.execute("select jobs_grant('pgjobs_web', 'producer')")
    dsn = f"{pgjobs_dsn}&options=-c%20role%3Dpgjobs_web"
    try:
        async with App(dsn) as web:
            job = await web.enqueue("elsewhere")
            with pytest.raises(PgjobsError, match="pgjobs grant ROLE reader"):
                await job.wait(timeout=SOON)
            await conn.execute("select jobs_grant('pgjobs_web', 'reader')")
            await complete(conn, job.id)
            assert await job.wait(timeout=SOON) == job.id
    finally:
        await conn.execute("drop owned by pgjobs_web; drop role pgjobs_web")


async def test_a_wait_in_a_schema_of_another_version_says_so(app, conn):
    job = await app.enqueue("elsewhere")
    await conn.execute("alter function jobs_outcomes rename to jobs_outcomes_gone")
    with pytest.raises(pgjobs.SchemaMismatch):
        await job.wait(timeout=SOON)


async def test_strangers_notifications_end_no_wait(app, conn):
    job = await app.enqueue("elsewhere")
    wait = asyncio.create_task(job.wait(timeout=SOON))
    await listening(conn)
    for payload in ("", "x", f"{job.id}", "٣", "9" * 5_000, ",,", "-1", "1" * 18):
        await conn.execute("select pg_notify('public.jobs_done', $1)", payload)
    await asyncio.sleep(0.2)
    assert not wait.done()
    await complete(conn, job.id)
    assert await wait == job.id


async def test_a_wait_ends_with_an_error_when_its_app_is_closed(app, conn):
    job = await app.enqueue("elsewhere")
    wait = asyncio.create_task(job.wait())
    await listening(conn)
    await app.close()
    with pytest.raises(PgjobsError, match="the app was closed"):
        await wait


async def test_a_handler_that_waits_in_the_last_slot_of_its_worker_is_warned(
    app, working, caplog, monkeypatch
):
    monkeypatch.setattr("pgjobs.handler.slots._warning.said_at", -1e9)

    @app.job("parent")
    async def parent(job: pgjobs.RunningJob[Any]) -> Any:
        child = await job.app.enqueue("elsewhere")
        with pytest.raises(TimeoutError):
            await child.wait(timeout=timedelta(milliseconds=10))

    with caplog.at_level(logging.WARNING, "pgjobs.wait"):
        async with working(concurrency=2):
            await (await app.enqueue("parent")).wait(timeout=SOON)
            assert not any("slot" in message for message in caplog.messages)
        async with working(concurrency=1):
            await (await app.enqueue("parent")).wait(timeout=SOON)
    [message] = [m for m in caplog.messages if "no free slot" in m]
    assert "unless another worker takes the job, both wait for ever" in message


async def test_a_job_without_an_app_says_what_to_call(conn):
    job = Job.from_row({"id": 5})
    with pytest.raises(PgjobsError, match=r"call app.wait\(\[5\]\)"):
        await job.wait()
