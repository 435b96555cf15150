"""Middleware surrounds each run of a handler, and each call that adds jobs."""

import asyncio
from contextvars import ContextVar
from datetime import timedelta

import psycopg
import pytest
from pydantic import BaseModel
from python import middleware_in_children

from pgjobs import App, Backoff, Cancel, ConnectionLost, Fail, InvalidArgument, Job, Retry, Snooze

HOUR = timedelta(hours=1)

request_id: ContextVar[str] = ContextVar("request_id", default="none")


class Mail(BaseModel):
    to: str


@pytest.fixture
def ran(app, conn):
    """Enqueues a job of type t and runs it; returns its row."""

    async def go(payload=None, **options):
        job = await app.enqueue("t", {"to": "a"} if payload is None else payload, **options)
        await app.worker().run(until_empty=True)
        return await conn.fetchrow("select * from jobs where id = $1", job.id)

    return go


@pytest.fixture(params=["async def", "def"])
def handle(app, request):
    """Registers an ``act`` as a handler of each kind."""

    def register(act, **options):
        if request.param == "def":

            def handler(job: Job[Mail]):
                return act(job)

        else:

            async def handler(job: Job[Mail]):
                return act(job)

        app.job("t", **options)(handler)

    return register


async def test_middlewares_surround_a_run_in_the_order_of_their_registration(app, handle, ran):
    seen = []
    for name in "ab":

        @app.middleware
        async def around(job, call_next, name=name):
            seen.append((name, job.payload, job.headers["h"]))
            seen.append((name, await call_next(job)))

    handle(lambda job: seen.append("handler") or {"n": 1})
    row = await ran(headers={"h": 1})
    mail = Mail(to="a")
    assert seen == [
        ("a", mail, 1), ("b", mail, 1), "handler", ("b", {"n": 1}), ("a", {"n": 1})
    ]
    # A middleware that returns nothing does not lose the result.
    assert (row["status"], row["result"]) == ("completed", '{"n": 1}')


async def test_context_variables_of_a_middleware_reach_the_handler(app, handle, ran):
    @app.middleware
    async def around(job, call_next):
        request_id.set(job.headers["request_id"])
        await call_next(job)

    handle(lambda job: request_id.get())
    assert (await ran(headers={"request_id": "r1"}))["result"] == '"r1"'
    assert (await ran(headers={"request_id": "r2"}))["result"] == '"r2"'
    assert request_id.get() == "none"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_a_middleware_raises_ends_that_run_alone(app, handle, ran, when):
    @app.middleware
    async def around(job, call_next):
        if when == "after":
            await call_next(job)
        if job.headers.get("bad"):
            raise ZeroDivisionError("bad")
        if when == "before":
            await call_next(job)

    ids = []
    handle(lambda job: ids.append(job.id))
    row = await ran(headers={"bad": True}, max_retries=0)
    assert (row["status"], row["error"].splitlines()[0]) == ("failed", "ZeroDivisionError: bad")
    assert "around" in row["error"]
    assert len(ids) == (when == "after")
    assert (await ran())["status"] == "completed"


@pytest.mark.parametrize(
    ("raised", "status"), [(Cancel("no"), "cancelled"), (Retry(timedelta(hours=1)), "pending")]
)
async def test_a_middleware_ends_a_run_by_the_signals_of_handlers(
    app, handle, ran, raised, status
):
    @app.middleware
    async def around(job, call_next):
        raise raised

    handle(lambda job: None)
    row = await ran()
    assert (row["status"], row["error"]) == (status, str(raised))


async def test_a_middleware_cannot_hide_that_the_handler_failed(app, handle, ran):
    @app.middleware
    async def around(job, call_next):
        try:
            await call_next(job)
        except ZeroDivisionError:
            return "fine"

    handle(lambda job: 1 / 0)
    row = await ran(max_retries=0)
    assert (row["status"], row["result"]) == ("failed", None)
    assert row["error"].startswith("ZeroDivisionError")


@pytest.mark.parametrize(
    ("calls", "told"), [(0, "has not called call_next"), (2, "has called call_next twice")]
)
async def test_a_middleware_that_does_not_call_the_handler_once_fails_the_job(
    app, handle, ran, calls, told
):
    @app.middleware
    async def around(job, call_next):
        for _ in range(calls):
            await call_next(job)

    ids = []
    handle(lambda job: ids.append(job.id))
    row = await ran(max_retries=0)
    assert row["status"] == "failed"
    assert told in row["error"]
    assert len(ids) == min(calls, 1)


async def test_a_payload_that_cannot_be_read_fails_the_job_before_its_middleware(app, handle, conn):
    seen = []

    @app.middleware
    async def around(job, call_next):
        seen.append(job.id)
        await call_next(job)

    handle(lambda job: None)
    [job_id] = await app.enqueue_many("t", [{"from": "a"}])
    await app.worker().run(until_empty=True)
    row = await conn.fetchrow("select * from jobs where id = $1", job_id)
    assert row["status"] == "failed"
    assert "the payload is not valid" in row["error"]
    assert not seen


async def test_the_timeout_holds_for_the_middleware_too(app, handle, ran):
    stopped = []

    @app.middleware
    async def around(job, call_next):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(job.id)
            raise
        await call_next(job)

    handle(lambda job: None, timeout=timedelta(seconds=0.2))
    row = await ran(max_retries=0)
    assert row["status"] == "failed"
    assert "still running after" in row["error"]
    assert stopped == [row["id"]]


async def test_a_middleware_sees_the_cancellation_of_the_handler(app, working, until_status):
    seen = []

    @app.middleware
    async def around(job, call_next):
        try:
            await call_next(job)
        except asyncio.CancelledError:
            seen.append(job.id)

    @app.job("t")
    async def handler(job):
        await asyncio.sleep(60)

    job = await app.enqueue("t")
    async with working():
        await until_status(job.id, "processing")
        await app.cancel(job.id)
        await until_status(job.id, "cancelled")
    assert seen == [job.id]


async def test_middleware_surrounds_a_plain_function_in_its_child_process(pgjobs_dsn):
    middleware_in_children.app.connect_to(pgjobs_dsn)
    surrounded = middleware_in_children.surrounded
    async with middleware_in_children.app as app:
        job = await surrounded.enqueue({"raises": False}, headers={"request_id": "r1"})
        bad = await surrounded.enqueue(
            {"raises": True}, headers={"request_id": "r2"}, max_retries=0
        )
        # Its child imports the module of a handler whose app has no middleware of its own.
        included = await app.enqueue("included", headers={"request_id": "r3"})
        await app.worker().run(until_empty=True)
        assert (await app.get(included.id)).result == "r3"
        assert (await app.get(job.id)).result == ["r1", "in a loop of its own"]
        error = (await app.get(bad.id)).error
    assert error is not None
    assert "ValueError: seen by the middleware: 'r2'" in error


@pytest.mark.parametrize("wrong", [None, 5, lambda job, call_next: None, Mail])
def test_what_is_no_middleware_is_refused_at_once(wrong):
    with pytest.raises(InvalidArgument, match="async def middleware"):
        App().middleware(wrong)
    with pytest.raises(InvalidArgument, match="plain generator"):
        App().enqueue_middleware(wrong)


FACES = ["app", "task", "app.sync", "task.sync"]


@pytest.fixture(params=FACES)
def add(app, request):
    """add(*payloads) by each kind of call: one job by enqueue, several by enqueue_many."""

    @app.job("t")
    async def handler(job: Job[Mail]) -> None: ...

    async def call(*payloads, **options):
        of_task = request.param.startswith("task")
        face = handler if of_task else app
        is_sync = request.param.endswith("sync")
        face = face.sync if is_sync else face
        given = [] if of_task else ["t"]
        given.append(payloads[0] if len(payloads) == 1 else iter(payloads))
        done = (face.enqueue if len(payloads) == 1 else face.enqueue_many)(*given, **options)
        return done if is_sync else await done

    yield call
    app.sync.close()


MAILS = [Mail(to="a"), Mail(to="b")]


async def test_an_enqueue_middleware_surrounds_one_call_with_all_its_jobs(app, add, conn):
    seen = []

    for name in "ab":

        @app.enqueue_middleware
        def around(request, name=name):
            seen.append((name, request.job_type, request.queue, request.payloads))
            request.headers[name] = len(request.payloads)
            jobs = yield
            seen.append((name, jobs))

    job = await add(MAILS[0], headers={"own": "h"}, queue="q")
    payload = [{"to": "a"}]
    assert seen == [
        ("a", "t", "q", payload), ("b", "t", "q", payload), ("b", [job]), ("a", [job])
    ]
    assert job.headers == {"own": "h", "a": 1, "b": 1}
    seen.clear()
    ids = await add(*MAILS, delay=timedelta(hours=1))
    payloads = [{"to": "a"}, {"to": "b"}]
    assert seen == [
        ("a", "t", "default", payloads), ("b", "t", "default", payloads), ("b", ids), ("a", ids)
    ]
    rows = await conn.fetch("select headers::text, payload->>'to' from jobs where id >= $1", ids[0])
    assert [tuple(row) for row in rows] == [('{"a": 2, "b": 2}', "a"), ('{"a": 2, "b": 2}', "b")]


async def test_what_an_enqueue_middleware_raises_before_adds_no_job(app, add, conn):
    @app.enqueue_middleware
    def around(request):
        raise ZeroDivisionError
        yield

    for payloads in MAILS[:1], MAILS:
        with pytest.raises(ZeroDivisionError):
            await add(*payloads)
    assert await conn.fetchval("select count(*) from jobs") == 0
    app.enqueue_middlewares.clear()
    await add(*MAILS)


async def test_what_an_enqueue_middleware_raises_after_leaves_the_jobs(app, add, conn):
    @app.enqueue_middleware
    def around(request):
        yield
        raise ZeroDivisionError

    for payloads in MAILS[:1], MAILS:
        with pytest.raises(ZeroDivisionError):
            await add(*payloads)
    assert await conn.fetchval("select count(*) from jobs") == 3


async def test_an_enqueue_middleware_sees_the_error_of_its_call_and_cannot_hide_it(app, add):
    seen = []

    @app.enqueue_middleware
    def around(request):
        try:
            yield
        except InvalidArgument as error:
            seen.append(error)

    for payloads in MAILS[:1], MAILS:
        with pytest.raises(InvalidArgument) as raised:
            await add(*payloads, priority=10)
        assert seen.pop() is raised.value


async def test_a_header_that_cannot_be_stored_fails_the_call_alone(app, add, conn):
    @app.enqueue_middleware
    def around(request):
        request.headers["h"] = float("nan") if request.headers.pop("bad", False) else 1
        yield

    for payloads in MAILS[:1], MAILS:
        with pytest.raises(InvalidArgument, match="headers"):
            await add(*payloads, headers={"bad": True})
        await add(*payloads)
    assert await conn.fetchval("select count(*) from jobs where headers = '{\"h\": 1}'") == 3


@pytest.mark.parametrize("yields", [0, 2])
async def test_an_enqueue_middleware_that_does_not_yield_once_is_told_so(app, add, yields):
    @app.enqueue_middleware
    def around(request):
        for _ in range(yields):
            yield

    with pytest.raises(Exception, match="around must yield exactly once"):
        await add(*MAILS)


async def test_calls_that_share_a_statement_have_each_their_own_middleware(app):
    @app.enqueue_middleware
    def around(request):
        request.headers["n"] = request.payloads[0]
        [job] = yield
        assert job.payload == request.payloads[0]

    jobs = await asyncio.gather(*(app.enqueue("t", n) for n in range(50)))
    assert [job.headers["n"] for job in jobs] == [*range(50)]


def test_a_lost_connection_is_told_to_the_middleware():
    app = App("postgresql:///x?host=/nowhere")
    seen = []

    @app.enqueue_middleware
    def around(request):
        try:
            yield
        except ConnectionLost as error:
            seen.append(error.may_exist)
            raise

    with pytest.raises(ConnectionLost):
        app.sync.enqueue("t")
    assert seen == [False]


async def test_the_call_in_a_callers_transaction_is_surrounded_too(app, add, pgjobs_dsn, conn):
    @app.enqueue_middleware
    def around(request):
        request.headers["h"] = 1
        yield

    with psycopg.connect(pgjobs_dsn) as mine:
        assert app.sync.enqueue("t", {"to": "a"}, conn=mine).headers == {"h": 1}
    async with conn.transaction():
        assert (await app.enqueue("t", {"to": "a"}, conn=conn)).headers == {"h": 1}


async def test_an_enqueue_middleware_is_told_how_many_jobs_of_which_types_and_queues(app):
    told = []

    @app.enqueue_middleware
    def tell(request):
        told.append((request.count, request.job_types, request.queues, request.job_type))
        yield

    a = app.job("a", queue="q")(lambda job: None)
    b = app.job("b")(lambda job: None)
    await a.enqueue()
    await a.enqueue_many(n for n in range(2))
    await app.enqueue_many("a", [1], queue="r")
    await app.enqueue_many([a.new(1), b.new(1), a.new(1, queue="r")])
    assert told == [
        (None, ["a"], ["q"], "a"), (2, ["a"], ["q"], "a"), (1, ["a"], ["r"], "a"),
        (3, ["a", "b"], ["q", "default", "r"], "a"),
    ]


async def test_only_a_middleware_writes_the_headers_of_a_trace(app):
    @app.enqueue_middleware
    def write(request):
        request.headers |= {"traceparent": "x", **more}
        yield

    more = {}
    task = app.job("t")(lambda job: None)
    assert (await task.enqueue()).headers == {"traceparent": "x"}
    [one] = await app.enqueue_many([task.new(headers={"mine": 1})])
    assert (await app.get(one)).headers == {"traceparent": "x", "mine": 1}
    with pytest.raises(InvalidArgument, match="an enqueue middleware writes the header"):
        await task.enqueue(headers={"tracestate": "x"})
    more = {"pgjobs.schedule": "mine"}
    with pytest.raises(InvalidArgument, match="pgjobs itself writes the header"):
        await task.enqueue()


OUTCOMES = {
    "return": "completed", "snooze": "released", "cancel": "cancelled", "fail": "failed",
    "raise": "retried", "late": "retried", "commit": "committed",
}


@pytest.mark.parametrize("what", OUTCOMES)
async def test_a_middleware_is_told_what_becomes_of_the_run(app, caplog, what):
    told = []
    caplog.set_level("DEBUG", logger="pgjobs.worker")

    @app.middleware
    async def tell(job, call_next):
        error = None
        try:
            await call_next(job)
        except BaseException as raised:
            error = raised
            raise
        finally:
            told.append(job.outcome_of(error))

    timeout = timedelta(seconds=0.1) if what == "late" else None

    @app.job("t", timeout=timeout, max_retries=1, backoff=Backoff.fixed(HOUR))
    async def handler(job: Job[None]):
        match what:
            case "snooze":
                raise Snooze(HOUR)
            case "cancel":
                raise Cancel("no")
            case "fail":
                raise Fail("no")
            case "raise":
                raise ValueError
            case "late":
                await asyncio.sleep(60)
            case "commit":
                async with job.transaction():
                    pass

    job = await handler.enqueue()
    await app.worker().run(until_empty=True)
    # The log, which hears of it by the database, has the same words.
    logged = [r.outcome for r in caplog.records if getattr(r, "outcome", None) and
              r.job_id == job.id]
    assert told == logged == [OUTCOMES[what]]
