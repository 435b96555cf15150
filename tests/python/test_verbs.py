"""What an app does with jobs that exist."""

import asyncio
import gc
import weakref
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from pgjobs import (
    App,
    DuplicateJob,
    InvalidArgument,
    Job,
    JobNotFound,
    JobNotHeld,
    JobService,
    PgjobsError,
    RunningJob,
)


@pytest.fixture(params=["alone", "asyncpg", "sqlalchemy asyncpg", "sqlalchemy psycopg"])
async def options(request, pgjobs_dsn, conn):
    """How the calls reach the database."""
    if request.param == "alone":
        yield {}
    elif request.param == "asyncpg":
        yield {"conn": conn}
    else:
        driver = request.param.split()[1]
        connect = {
            "asyncpg": lambda: asyncpg.connect(pgjobs_dsn),
            "psycopg": lambda: psycopg.AsyncConnection.connect(pgjobs_dsn),
        }[driver]
        engine = create_async_engine(
            f"postgresql+{driver}://", async_creator=connect, isolation_level="AUTOCOMMIT"
        )
        async with engine.connect() as connection:
            yield {"conn": connection}
        await engine.dispose()


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


async def test_a_job_that_waits_is_edited(app, conn, options):
    job = await app.enqueue("t", {"a": 1}, delay=timedelta(hours=1))
    edited = await app.edit(job.id, payload={"b": 2}, priority=5, queue="q", **options)
    assert (edited.id, edited.payload, edited.priority, edited.queue, edited.run_at) == (
        job.id, {"b": 2}, 5, "q", job.run_at
    )
    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert (await app.edit(job.id, run_at=at, **options)).run_at == at
    assert (await app.edit(job.id, delay=timedelta(0), **options)).run_at < job.run_at
    await conn.execute("select jobs_claim('me', '{q}')")
    with pytest.raises(JobNotHeld):
        await app.edit(job.id, priority=1, **options)
    with pytest.raises(JobNotFound):
        await app.edit(77, priority=1, **options)


async def test_a_job_is_copied_with_its_payload_or_another_one(app, options):
    job = await app.enqueue("t", {"a": 1}, reference=("file", 1), unique_key="k")
    copy = await app.copy(job.id, **options)
    assert (copy.payload, copy.reference_id, copy.unique_key) == ({"a": 1}, 1, None)
    assert copy.id != job.id
    assert (await app.copy(job.id, {"b": 2}, **options)).payload == {"b": 2}
    with pytest.raises(JobNotFound):
        await app.copy(77, **options)


@pytest.mark.parametrize("job_id", ["7", None, 2**63, 1.5], ids=repr)
async def test_what_is_no_id_is_an_invalid_argument_whichever_driver_says_so(app, options, job_id):
    for verb in (app.get, app.cancel, app.retry, app.edit, app.copy):
        with pytest.raises(InvalidArgument):
            await verb(job_id, **options)


async def test_other_arguments_of_a_wrong_type_are_invalid_too(app, options):
    job = await app.enqueue("t")
    for call in (
        app.cancel(job.id, 5, **options), app.cancel(job.id, "\0", **options),
        app.edit(job.id, priority="5", **options), app.edit(job.id, queue=5, **options),
        app.edit(job.id, payload=object(), **options), app.edit(job.id, priority=10, **options),
        app.edit(job.id, run_at=datetime(2030, 1, 1), **options),  # noqa: DTZ001
        app.copy(job.id, object(), **options),
        app.list(before="x", **options), app.list(queue="\ud800", **options),
        app.list(reference=("a", 2**63), **options), app.list(limit=2**63, **options),
    ):
        with pytest.raises(InvalidArgument):
            await call


async def test_a_job_is_read_again_and_stays_as_it_was(app, options):
    for job in (await app.enqueue("t", {"a": 1}), await app.get(1), (await app.list())[0]):
        await app.cancel(job.id)
        fresh = await job.refresh(**options)
        assert (fresh.id, fresh.status, fresh.payload) == (job.id, "cancelled", {"a": 1})
        assert type(fresh) is Job
        assert (await fresh.refresh()) == fresh
        assert job.status == "pending"
        await app.retry(job.id)


async def test_a_job_of_a_transaction_is_read_again_within_it_and_after_it(app, conn, options):
    async with conn.transaction():
        job = await app.enqueue("t", conn=conn)
        assert (await job.refresh(conn=conn)) == job
        with pytest.raises(JobNotFound):
            await job.refresh()
    assert (await job.refresh(**options)) == job
    for other in await asyncio.gather(*(app.enqueue("t") for _ in range(5))):
        assert (await other.refresh(**options)) == other


async def test_a_running_job_that_is_read_again_keeps_its_typed_payload(app):
    seen = []

    @app.job("t")
    async def handler(job: RunningJob[set[int]]) -> None:
        await job.app.cancel(job.id)
        fresh = await job.refresh()
        seen.append((type(fresh), fresh.payload, fresh.cancel_requested_at is not None, job.status))

    await handler.enqueue({1, 2})
    await app.worker().run(until_empty=True)
    assert seen == [(Job, {1, 2}, True, "processing")]


async def test_a_job_without_its_app_cannot_be_read_again(app, conn):
    job = await app.enqueue("t")
    with pytest.raises(PgjobsError, match=rf"call app\.get\({job.id}\)"):
        await (await JobService(conn).get(job.id)).refresh()


async def test_a_job_says_whether_it_is_new(app, conn, options):
    assert (await app.enqueue("t", **options)).is_new is True
    keyed = [await app.enqueue("t", unique_key="k", **options) for _ in range(2)]
    assert [(job.id, job.is_new) for job in keyed] == [(keyed[0].id, True), (keyed[0].id, False)]
    assert (await app.get(keyed[0].id)).is_new is None
    assert (await keyed[0].refresh()).is_new is None
    assert (await JobService(conn).create("t")).is_new is True
    assert {job.is_new for job in await asyncio.gather(*(app.enqueue("t") for _ in range(5)))} == {
        True
    }


@pytest.mark.parametrize("is_kept", [True, False])
async def test_of_two_jobs_with_one_key_at_once_only_the_added_one_is_new(
    app, conn, other, is_kept
):
    transaction = conn.transaction()
    await transaction.start()
    first = await app.enqueue("t", unique_key="k", conn=conn)
    second = asyncio.create_task(app.enqueue("t", unique_key="k"))
    while not await other.fetchval("select count(*) from pg_locks where not granted"):
        await asyncio.sleep(0.01)
    await (transaction.commit() if is_kept else transaction.rollback())
    found = await second
    assert first.is_new
    assert (found.id == first.id, found.is_new) == (is_kept, not is_kept)


async def test_a_producers_role_is_told_whether_its_job_is_new(app, conn, pgjobs_dsn):
    await conn.execute("create role told login")
    try:
        await conn.execute("select jobs_grant('told', 'producer'); set role told")
        jobs = [await app.enqueue("t", unique_key="k", conn=conn) for _ in range(2)]
        assert [job.is_new for job in jobs] == [True, False]
    finally:
        await conn.execute("reset role; drop owned by told; drop role told")


async def test_the_connections_of_an_app_do_not_keep_it_alive(pgjobs_dsn):
    app = App(dsn=pgjobs_dsn)
    await app.enqueue("t")
    await asyncio.gather(*(app.enqueue("t") for _ in range(5)))
    await asyncio.sleep(0)  # the event loop itself has held the jobs until now
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None
