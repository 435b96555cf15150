"""Flows from Python: depends_on, refs, batches, parents."""

from datetime import UTC, datetime, timedelta

import asyncpg
import psycopg
import pytest

from pgjobs import App, Backoff, ConnectionLost, InvalidArgument, JobNotFound, JobNotHeld, Parent

WITHIN_S = 5


@pytest.fixture
def ran(app):
    """The types of the jobs that ran, in order; `bad` fails for good."""
    seen = []

    for job_type in ("fetch", "parse", "report"):
        @app.job(job_type, max_retries=0)
        async def handle(job):
            seen.append(job.job_type)
            if job.payload == "bad":
                raise ValueError("no such page")
            return [p.result for p in await job.parents()] or job.payload

    return seen


async def test_a_job_runs_after_the_jobs_that_it_names(app, ran, working, until_status):
    first = await app.enqueue("fetch", 1)
    second = await app.enqueue("fetch", 2)
    report = await app.enqueue("report", depends_on=[first, second.id])
    assert (report.status, report.depends_on_left) == ("blocked", 2)
    async with working():
        assert await report.wait() == [1, 2]
    assert ran == ["fetch", "fetch", "report"]
    assert await report.parents() == [
        Parent(first.id, "fetch", "completed", 1, None),
        Parent(second.id, "fetch", "completed", 2, None),
    ]


async def test_jobs_of_several_types_go_in_one_call_and_name_each_other(app, ran, working):
    fetch, parse, report = (app.tasks[name] for name in ("fetch", "parse", "report"))
    ids = await app.enqueue_many([
        fetch.new("page", ref="page"),
        *(parse.new(text, ref=text, depends_on=["page"]) for text in ("good", "bad")),
        report.new(depends_on=["good", "bad"], on_parent_failed="run", priority=3),
    ])
    async with working():
        (outcome,) = await app.wait([ids[-1]])
    assert outcome.result == [["page"], None]
    assert ran[0] == "fetch"
    assert ran[-1] == "report"
    jobs = [await app.get(job_id) for job_id in ids]
    assert [job.job_type for job in jobs] == ["fetch", "parse", "parse", "report"]
    assert jobs[-1].priority == 3


async def test_a_new_job_takes_every_option_of_enqueue(app, ran, conn):
    parse, at = app.tasks["parse"], datetime(2030, 1, 1, tzinfo=UTC)
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    ids = await app.enqueue_many([
        parse.new(1, ref="a", queue="q", priority=2, run_at=at, reference=("page", "x"),
                  max_retries=5, backoff=Backoff.fixed(minute), group_key="g", headers={"h": 1},
                  expires=at + hour, unique_key="k", unique_scope="period", unique_for=hour),
        parse.new(2, unique_key="l", on_conflict="debounce", delay=hour, max_wait=minute),
    ])
    first, second = [await app.get(job_id) for job_id in ids]
    assert (first.queue, first.priority, first.run_at) == ("q", 2, at)
    assert (first.reference, first.max_retries) == (("page", "x"), 5)
    assert (first.backoff, first.group_key, first.headers) == ([minute], "g", {"h": 1})
    assert (first.expires_at, first.unique_key) == (at + hour, "k")
    until = await conn.fetchval("select unique_until from jobs where id = $1", first.id)
    assert hour - minute < until - first.created_at <= hour + minute
    assert second.run_at - second.created_at <= minute


async def test_a_refused_job_adds_none_and_is_named(app, ran, conn):
    parse = app.tasks["parse"]
    with pytest.raises(InvalidArgument, match=r"jobs\[1\]: depends_on names the ref x"):
        await app.enqueue_many([parse.new(), parse.new(depends_on=["x"])])
    with pytest.raises(InvalidArgument, match="a ref is a name within one call"):
        await app.enqueue("parse", depends_on=["x"])
    with pytest.raises(InvalidArgument, match=r"jobs\[0\] must be what task.new"):
        await app.enqueue_many([{"job_type": "parse"}])
    for parents in ("12", b"12", {1: 2}, 1):
        with pytest.raises(InvalidArgument, match="depends_on must be a list"):
            await app.enqueue("parse", depends_on=parents)
    with pytest.raises(InvalidArgument, match="what depends_on names must be one of pgjobs"):
        await app.enqueue("parse", depends_on=[1.5])
    with pytest.raises(JobNotFound, match="there is no job 77, which depends_on names"):
        await app.enqueue("parse", depends_on=[77])
    with pytest.raises(InvalidArgument, match="on_parent_failed must be cancel, run, wait or only"):
        await app.enqueue("parse", on_parent_failed="stop")
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_a_batch_runs_its_callback_when_all_members_have_ended(app, ran, working):
    async with app.batch("report", "done") as batch:
        for payload in ("good", "bad"):
            await app.enqueue("parse", payload, batch=batch)
        await app.enqueue_many("parse", ["a", "b"], batch=batch)
        await app.enqueue_many([app.tasks["fetch"].new("c", batch=batch)])
    async with working():
        assert await batch.job.wait() == ["good", None, "a", "b", "c"]
    counts = await app.get_batch(batch.id)
    assert (counts.total, counts.completed, counts.failed, counts.cancelled) == (5, 4, 1, 0)
    assert not counts.is_open
    with pytest.raises(JobNotHeld, match="takes no more jobs: its callback is completed"):
        await app.enqueue("parse", batch=batch)
    with pytest.raises(JobNotFound, match="there is no batch 77"):
        await app.get_batch(77)


async def test_an_exception_in_the_block_cancels_the_callback(app, ran):
    begun = {}

    async def begin():
        async with app.batch(app.tasks["report"], "done", queue="slow") as batch:
            begun["callback"] = batch.job
            begun["member"] = await app.enqueue("parse", batch=batch)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await begin()
    callback = await begun["callback"].refresh()
    assert (callback.status, callback.queue) == ("cancelled", "slow")
    assert callback.error == "its producer raised ZeroDivisionError"
    assert (await begun["member"].refresh()).status == "pending"


async def test_a_batch_in_a_transaction_is_there_with_the_commit(app, ran, conn, working):
    async def give_up():
        async with conn.transaction(), app.batch("report", conn=conn) as batch:
            await app.enqueue("parse", batch=batch, conn=conn)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await give_up()
    assert await conn.fetchval("select count(*) from jobs") == 0
    async with conn.transaction(), app.batch("report", conn=conn) as batch:
        await app.enqueue("parse", "x", batch=batch, conn=conn)
    async with working():
        assert await batch.job.wait() == ["x"]


async def test_an_exception_that_the_transaction_survives_cancels_the_callback(app, ran, conn):
    async def give_up(**options):
        async with app.batch("report", **options) as batch:
            started.append(batch)
            raise ZeroDivisionError

    started = []
    async with conn.transaction():
        with pytest.raises(ZeroDivisionError):
            await give_up(conn=conn)
    # No transaction is open, so each statement is one of its own.
    with pytest.raises(ZeroDivisionError):
        await give_up(conn=conn)
    with pytest.raises(ZeroDivisionError):
        await give_up(conn=await app.pool())
    assert [(await app.get(batch.id)).status for batch in started] == ["cancelled"] * 3


async def test_the_error_of_the_block_passes_on_where_the_callback_cannot_be_cancelled(
    app, ran, conn, caplog
):
    async def fail_in_a_transaction():
        async with conn.transaction(), app.batch("report", conn=conn):
            await conn.execute("select 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await fail_in_a_transaction()
    assert await conn.fetchval("select count(*) from jobs") == 0
    assert caplog.messages == []

    async def fail_alone():
        async with app.batch("report"):
            await conn.execute("alter function jobs_cancel rename to gone")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_alone()
    [said] = [r.getMessage() for r in caplog.records if r.name == "pgjobs.flows"]
    assert "its callback is not cancelled" in said
    assert "pgjobs cancel" in said


async def test_nobody_waits_for_the_callback_of_a_batch_that_is_not_committed(app, ran, conn):
    async with conn.transaction(), app.batch("report", conn=conn) as batch:
        with pytest.raises(InvalidArgument, match="is not committed yet"):
            await batch.job.wait()


async def test_an_enqueue_middleware_sees_the_callback_of_a_batch(app, ran):
    seen = []

    @app.enqueue_middleware
    def mark(request):
        seen.append((request.job_type, request.payloads))
        request.headers["request"] = "r1"
        seen.append((yield))

    async with app.batch("report", "done", headers={"a": 1}) as batch:
        pass
    assert seen == [("report", ["done"]), [batch.job]]
    assert batch.job.headers == {"a": 1, "request": "r1"}
    with app.sync.batch("report") as other:
        pass
    assert other.job.headers == {"request": "r1"}


async def test_a_batch_whose_answer_was_lost_may_exist(app, ran, monkeypatch):
    async def lose(self, query, *args):
        raise ConnectionResetError

    monkeypatch.setattr(asyncpg.Connection, "fetch", lose)
    with pytest.raises(ConnectionLost) as lost:
        async with app.batch("report"):
            pass
    assert lost.value.may_exist


@pytest.mark.parametrize("job_type", [5, None, ["report"]])
async def test_a_batch_takes_a_job_type_or_a_handler(app, job_type):
    with pytest.raises(InvalidArgument, match="job_type"):
        app.batch(job_type)


async def test_a_handler_adds_members_to_its_own_batch(app, ran, working):
    @app.job("split")
    async def split(job):
        for payload in range(3):
            await app.enqueue("parse", payload, batch=job.batch_id)

    async with app.batch("report") as batch:
        await app.enqueue("split", batch=batch)
    async with working():
        assert await batch.job.wait() == [None, 0, 1, 2]


async def test_cancel_downstream(app, ran):
    first = await app.enqueue("fetch")
    second = await app.enqueue("report", depends_on=[first], on_parent_failed="run")
    await app.cancel(first.id, "wrong day", downstream=True)
    assert (await second.refresh()).error == "wrong day"


async def test_sync_code_has_the_same(pgjobs_dsn, working, eventually, conn):
    app = App(pgjobs_dsn)

    @app.job("t")
    async def handle(job):
        pass

    with app.sync.batch("t", "callback") as batch:
        first = app.sync.enqueue("t", 1, batch=batch)
        app.sync.enqueue("t", 2, depends_on=[first], batch=batch)
        handle.sync.enqueue(3, batch=batch)
    with pytest.raises(ZeroDivisionError), app.sync.batch(handle) as given_up:
        raise ZeroDivisionError
    assert app.sync.get(given_up.id).status == "cancelled"
    with psycopg.connect(pgjobs_dsn) as own, app.sync.batch("t", conn=own) as within:
        app.sync.enqueue_many([handle.new(1, ref="a", batch=within),
                               handle.new(2, depends_on=["a"], batch=within)], conn=own)
    async with working(app):
        async def are_done():
            return [app.sync.get_batch(b.id).completed for b in (batch, within)] == [3, 2]

        await eventually(are_done, WITHIN_S)
    job = app.sync.enqueue("t")
    app.sync.enqueue("t", depends_on=[job])
    app.sync.cancel(job.id, downstream=True)
    assert await conn.fetchval("select count(*) from jobs where status = 'cancelled'") == 3
    app.sync.close()


async def test_a_plain_function_reads_what_became_of_its_parents(app, working):
    @app.job("square")
    def square(job):
        return job.payload ** 2

    @app.job("total")
    def total(job):
        return sum(parent.result for parent in app.sync.parents(job.id))

    async with app.batch(total) as batch:
        await square.enqueue_many([1, 2, 3], batch=batch)
    async with working():
        assert await batch.job.wait() == 14
    app.sync.close()


async def test_an_enqueue_middleware_sees_one_call_of_several_types(app, ran, conn):
    seen = []

    @app.enqueue_middleware
    def mark(request):
        seen.append(request.payloads)
        request.headers["request"] = "r1"
        seen.append((yield))

    parse = app.tasks["parse"]
    ids = await app.enqueue_many([parse.new(1, headers={"a": 1}), app.tasks["fetch"].new(2)])
    assert seen == [[1, 2], ids]
    assert [(await app.get(i)).headers for i in ids] == [{"a": 1, "request": "r1"},
                                                         {"request": "r1"}]
