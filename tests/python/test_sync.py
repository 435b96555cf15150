"""``.sync``: the calls of async code in plain functions, in the caller's transaction."""

import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import django
import psycopg
import pytest
from django.conf import settings
from django.db import transaction
from django.db.utils import ConnectionHandler
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import pgjobs
from pgjobs import (
    App,
    Backoff,
    DuplicateJob,
    InvalidArgument,
    Job,
    JobNotFound,
    JobNotHeld,
    SchemaMismatch,
)

if not settings.configured:
    settings.configure()
    django.setup()

KINDS = [
    "psycopg", "psycopg session", "psycopg connection", "psycopg2 session", "pg8000 session",
    "scoped session", "django", "django without time zones",
]
HOUR = timedelta(hours=1)


class Mail(BaseModel):
    to: str


@pytest.fixture
def app(pgjobs_dsn):
    made = App(pgjobs_dsn)

    @made.job("mail", queue="mails", max_retries=7)
    async def mail(job: Job[Mail]) -> None: ...

    yield made
    made.sync.close()


@pytest.fixture
def rows(pgjobs_dsn):
    """rows("select 1") by a connection of its own."""
    with psycopg.connect(pgjobs_dsn, autocommit=True) as conn:
        yield lambda query, *args: conn.execute(query, args).fetchall()


@pytest.fixture(params=KINDS)
def begun(request, pgjobs_dsn):
    """``with begun() as (conn, execute)``: a transaction, committed unless it raises."""
    kind = request.param
    driver = kind.split()[0]
    if driver == "django":
        given = conninfo_to_dict(pgjobs_dsn)
        connections = ConnectionHandler({"default": {
            "ENGINE": "django.db.backends.postgresql", "NAME": given["dbname"],
            "USER": given["user"], "HOST": given["host"], "PORT": given["port"],
            # Django has no zone of a database's own where USE_TZ is off.
            "TIME_ZONE": "Asia/Tokyo" if kind == "django" else None,
        }})
        conn = connections["default"]

        @contextmanager
        def begin():
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(settings, "USE_TZ", kind == "django")
                patched.setattr(settings, "TIME_ZONE", "Asia/Tokyo")
                patched.setattr("django.db.transaction.connections", connections)
                with transaction.atomic(), conn.cursor() as cursor:
                    yield conn, cursor.execute

        yield begin
        conn.close()
        return
    if kind == "psycopg":

        @contextmanager
        def begin():
            with psycopg.connect(pgjobs_dsn) as conn:
                conn.execute("set intervalstyle to iso_8601")
                conn.execute("set timezone to 'Asia/Tokyo'")
                yield conn, conn.execute

        yield begin
        return
    name = driver if driver != "scoped" else "psycopg"
    given = conninfo_to_dict(pgjobs_dsn)
    connect = {
        "psycopg": lambda: psycopg.connect(pgjobs_dsn), "psycopg2": lambda: _psycopg2(pgjobs_dsn),
        "pg8000": lambda: _pg8000(given),
    }[name]
    engine = create_engine(make_url(f"postgresql+{name}://"), creator=connect)

    @contextmanager
    def begin():
        if kind == "psycopg connection":
            with engine.begin() as conn:
                yield conn, lambda query: conn.execute(text(query))
        elif kind == "scoped session":
            session = scoped_session(sessionmaker(engine))
            with session.begin():
                yield session, lambda query: session.execute(text(query))
            session.remove()
        else:
            with Session(engine) as session, session.begin():
                yield session, lambda query: session.execute(text(query))

    yield begin
    engine.dispose()


def _psycopg2(dsn):
    import psycopg2

    return psycopg2.connect(dsn)


def _pg8000(given):
    from pg8000.dbapi import connect

    socket = f"{given['host']}/.s.PGSQL.{given['port']}"
    return connect(given["user"], unix_sock=socket, database=given["dbname"])


def test_the_job_is_there_after_the_commit_and_not_before(app, rows, begun):
    with begun() as (mine, execute):
        execute("create table orders (id int)")
        job = app.tasks["mail"].sync.enqueue(Mail(to="100%"), conn=mine)
        ids = app.sync.enqueue_many("mail", [{"to": "a"}, {"to": "b"}], conn=mine)
        assert rows("select count(*) from jobs") == [(0,)]
        assert app.sync.get(job.id, conn=mine) == job
    assert rows("select id, queue, max_retries from jobs order by id") == [
        (job_id, "mails", 7) for job_id in (job.id, *ids)
    ]
    assert job.payload == {"to": "100%"}
    assert job.is_new
    rows("select from orders")


def test_a_rollback_leaves_no_job(app, rows, begun):
    with suppress(ZeroDivisionError), begun() as (mine, _):
        app.sync.enqueue("mail", {"to": "a"}, conn=mine)
        app.sync.enqueue_many("mail", [{"to": "a"}], conn=mine, delay=HOUR)
        raise ZeroDivisionError
    assert rows("select count(*) from jobs") == [(0,)]


def test_a_wait_in_the_transaction_that_adds_the_job_is_refused_at_once(app, rows, begun):
    soon = timedelta(seconds=0.1)
    with begun() as (mine, _):
        job = app.tasks["mail"].sync.enqueue(Mail(to="a"), conn=mine)
        began = time.monotonic()
        with pytest.raises(InvalidArgument, match="commit the transaction that adds it before"):
            app.sync.wait([job, app.sync.enqueue("another")], timeout=HOUR)
        assert time.monotonic() - began < 1.5  # an id never seen takes 2 s
        found = app.sync.list(job_type="another")
    with begun() as (mine, execute):
        execute("select 1")
        assert [o.status for o in app.sync.wait([job, *found], timeout=soon)] == ["pending"] * 2


@pytest.mark.parametrize("is_rolled_back", [False, True])
def test_a_later_transaction_of_the_same_connection_holds_no_wait_up(
    app, pgjobs_dsn, is_rolled_back
):
    engine = create_engine(make_url(pgjobs_dsn).set(drivername="postgresql+psycopg"))
    with psycopg.connect(pgjobs_dsn) as conn, Session(engine) as session:
        for mine in (conn, session):
            job = app.sync.enqueue("t", conn=mine)
            (mine.rollback if is_rolled_back else mine.commit)()
            if mine is session or not is_rolled_back:
                mine.execute(text("select 1") if mine is session else "select 1")
            [outcome] = app.sync.wait([job], timeout=timedelta(seconds=2 + is_rolled_back))
            assert outcome.status == ("gone" if is_rolled_back else "pending")
    engine.dispose()


def test_every_argument_arrives(app, begun):
    at = datetime(2100, 1, 1, tzinfo=UTC)
    hours = [HOUR, timedelta(hours=2, microseconds=1)]
    with begun() as (mine, _):
        job = app.sync.enqueue(
            "t", {"k": [1, None]}, queue="q", priority=-9, run_at=at, reference=("r", 2**62),
            max_retries=0, unique_key="%(k)s", unique_scope="kept", group_key="g",
            headers={"a": "$1 %s"}, expires=at + HOUR, backoff=Backoff.listed(*hours), conn=mine,
        )
        again = app.sync.enqueue("t", unique_key="%(k)s", delay=hours[0], conn=mine)
    assert (again.id, again.is_new) == (job.id, False)
    assert (job.payload, job.queue, job.priority) == ({"k": [1, None]}, "q", -9)
    assert (job.run_at, job.expires_at, job.reference) == (at, at + HOUR, ("r", 2**62))
    assert job.created_at.tzinfo is not None
    assert abs(datetime.now(UTC) - job.created_at) < HOUR
    assert (job.unique_key, job.unique_scope, job.backoff) == ("%(k)s", "kept", hours)
    assert (job.group_key, job.headers) == ("g", {"a": "$1 %s"})


def test_every_verb_acts_in_the_callers_transaction(app, begun):
    with begun() as (mine, _):
        job = app.sync.enqueue("t", reference=("order", "x"), conn=mine)
        assert app.sync.cancel(job.id, "no", conn=mine).status == "cancelled"
        found = app.sync.list(
            status=["cancelled", "failed"], job_type="t", reference=("order", "x"), conn=mine
        )
        assert [one.id for one in found] == [job.id]
        assert app.sync.retry(job.id, conn=mine).status == "pending"


def test_every_driver_raises_the_errors_of_pgjobs(app, begun):
    for wrong, call in [
        (JobNotFound, lambda conn: app.sync.get(7, conn=conn)),
        (JobNotFound, lambda conn: app.sync.cancel(7, conn=conn)),
        (JobNotHeld, lambda conn: app.sync.retry(app.sync.enqueue("t", conn=conn).id, conn=conn)),
        (InvalidArgument, lambda conn: app.sync.enqueue("t", priority=10, conn=conn)),
        (InvalidArgument, lambda conn: app.sync.enqueue("t", queue="\x00", conn=conn)),
        (InvalidArgument, lambda conn: app.sync.enqueue("t", queue="\ud800", conn=conn)),
        (InvalidArgument, lambda conn: app.sync.enqueue("t", queue="x" * 600, conn=conn)),
        (InvalidArgument, lambda conn: app.sync.enqueue("t", reference=("r", 2**70), conn=conn)),
        (InvalidArgument, lambda conn: app.sync.enqueue("mail", {"to": 5}, conn=conn)),
        (SchemaMismatch, lambda conn: App(schema="no").sync.enqueue("t", conn=conn)),
    ]:
        with pytest.raises(wrong), begun() as (mine, _):
            call(mine)
    with begun() as (mine, _):
        app.sync.enqueue("t", unique_key="k", conn=mine)
    with pytest.raises(DuplicateJob), begun() as (mine, _):
        app.sync.enqueue("t", unique_key="k", on_conflict="raise", conn=mine)
    with pytest.raises(TypeError, match="unknown option 'prioritty'"):
        app.sync.enqueue("t", prioritty=1)
    with pytest.raises(TypeError, match="unknown option 'stats'"):
        app.sync.list(stats=1)


@pytest.mark.parametrize("conn", [object(), "postgresql://", 1])
def test_a_conn_of_another_type_is_refused(app, conn):
    with pytest.raises(InvalidArgument, match=r"conn of a \.sync call must be a psycopg"):
        app.sync.enqueue("t", conn=conn)


async def test_each_face_refuses_the_connections_of_the_other_and_names_it(app, conn, pgjobs_dsn):
    with pytest.raises(InvalidArgument, match=r"same call without \.sync"):
        app.sync.enqueue("t", conn=conn)
    with (
        psycopg.connect(pgjobs_dsn) as mine,
        pytest.raises(InvalidArgument, match=r"same call of \.sync"),
    ):
        await app.enqueue("t", conn=mine)


async def test_psycopgs_async_connection_is_taken_by_async_calls(app, rows, pgjobs_dsn):
    async with await psycopg.AsyncConnection.connect(pgjobs_dsn) as mine:
        job = await app.enqueue("t", {"a": "100%"}, delay=HOUR, conn=mine)
        assert (await app.get(job.id, conn=mine)).payload == {"a": "100%"}
        assert rows("select count(*) from jobs") == [(0,)]
    assert rows("select id from jobs") == [(job.id,)]
    for options in {"priority": 10}, {"queue": "\x00"}:
        async with await psycopg.AsyncConnection.connect(pgjobs_dsn) as mine:
            with pytest.raises(InvalidArgument):
                await app.enqueue("t", conn=mine, **options)
            await mine.rollback()


async def test_a_sync_call_works_in_the_thread_of_an_event_loop(app, rows):
    job = app.sync.enqueue("mail", {"to": "a"})
    assert (await app.get(job.id)).queue == "mails"
    await app.close()


async def test_a_plain_handler_enqueues_the_next_job(app, rows):
    @app.job("first")
    def first(job: Job[None]) -> int:
        return app.tasks["mail"].sync.enqueue(Mail(to="a")).id

    done = await app.enqueue("first")
    await app.worker().run(until_empty=True)
    assert rows("select status from jobs where id = %s", (await app.get(done.id)).result) == [
        ("completed",)
    ]
    await app.close()


def test_the_module_has_the_verbs_of_the_default_app(pgjobs_dsn, monkeypatch, rows):
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)
    job = pgjobs.sync.enqueue("t", {"a": 1})
    assert pgjobs.sync.get(job.id).payload == {"a": 1}
    assert pgjobs.sync.enqueue_many("t", [1, 2]) == [job.id + 1, job.id + 2]
    assert [found.id for found in pgjobs.sync.list(limit=1)] == [job.id + 2]
    assert pgjobs.sync.retry(pgjobs.sync.cancel(job.id).id).status == "pending"
    pgjobs.sync.close()


def test_all_threads_of_a_process_share_one_connection(app, rows):
    barrier = threading.Barrier(8)

    def enqueue():
        barrier.wait(10)
        for number in range(20):
            app.sync.enqueue("t", number)

    threads = [threading.Thread(target=enqueue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows("select count(*), count(distinct id) from jobs") == [(160, 160)]
    assert rows(
        "select count(*) from pg_stat_activity where application_name like 'pgjobs %%'"
        " and datname = current_database()"
    ) == [(1,)]


def test_in_djangos_atomic_block_a_call_without_conn_warns(app, pgjobs_dsn, monkeypatch, rows):
    connections = ConnectionHandler({"default": {"ENGINE": "django.db.backends.postgresql"}})
    monkeypatch.setattr("django.db.connections", connections)
    app.sync.enqueue("t")
    connections["default"].in_atomic_block = True
    app.sync.list()
    with pytest.warns(UserWarning, match="pass conn=django.db.connection") as told:
        app.sync.enqueue("t")
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="commits at once") as told:
        app.tasks["mail"].sync.enqueue_many([Mail(to="a")])
    assert told[0].filename == __file__
    assert rows("select count(*) from jobs") == [(3,)]
