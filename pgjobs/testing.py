"""A pytest plugin: gives each test its own migrated database, and runs jobs without delays.

    async def test_the_handler_alone():
        assert await ingest(make_job(IngestFile(file_path="a.pdf"))) == Ingested(pages=3)

    async def test_the_file_is_ingested(pgjobs_dsn):
        async with App(dsn=pgjobs_dsn) as app:
            ...
            assert await drain(app) == 1

With the extra ``testing`` installed, pytest finds the plugin by itself. The server is the one that
``--postgresql-host`` names, as with pytest-postgresql, else an embedded one (extra ``embedded``).
"""

import importlib.util
import itertools
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import pytest

from pgjobs.errors import InvalidArgument, PgjobsError
from pgjobs.job.payload import NO_PAYLOAD, encode

if TYPE_CHECKING:
    import asyncpg

    from pgjobs.app import App, RunningJob
    from pgjobs.embedded import EmbeddedPostgres
    from pgjobs.handler.task import Task

    Connection = asyncpg.Connection[Any] | asyncpg.Pool[Any]

P = TypeVar("P")

# Fast, because the server may lose its data in a crash.
FAST_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "shared_buffers": "64MB",
}


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server, with the attributes that pytest-postgresql reads."""

    host: str
    port: int | str
    user: str = "postgres"
    password: str | None = field(default=None, repr=False)
    options: str = ""
    maintenance_dbname: str = "postgres"
    template_dbname: str | None = None

    def dsn(self, dbname: str) -> str:
        parameters = {"host": self.host, "port": str(self.port), "user": self.user}
        if self.password:
            parameters["password"] = self.password
        return f"postgresql:///{quote(dbname)}?{urlencode(parameters, quote_via=quote)}"


@pytest.fixture(scope="session")
def pgjobs_embedded() -> "Iterator[EmbeddedPostgres]":
    """Starts the embedded server of this session at its first use."""
    from pgjobs.embedded import EmbeddedPostgres

    with EmbeddedPostgres(settings=FAST_SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def pgjobs_server(request: pytest.FixtureRequest) -> Server:
    """Returns the server of this session; override the fixture to use another server."""
    config = request.config
    if config.getoption("postgresql_host", None):
        from pytest_postgresql.config import get_config

        given = get_config(request)
        return Server(
            host=given.host,
            port=given.port or 5432,
            user=given.user,
            password=given.password or os.environ.get("PGPASSWORD"),
            options=given.options,
            maintenance_dbname=given.maintenance_dbname,
        )
    embedded = request.getfixturevalue("pgjobs_embedded")
    return Server(host=str(embedded.socket_folder), port=embedded.port)


def _load_template(**connection: Any) -> None:
    from pgjobs.schema.migrate import migrate

    server = Server(
        connection["host"], connection["port"], connection["user"], connection.get("password")
    )
    migrate(server.dsn(connection["dbname"]))


def _template_fixture() -> Any:
    if importlib.util.find_spec("pytest_postgresql"):
        from pytest_postgresql import factories

        return factories.postgresql_noproc(
            depends_on="pgjobs_server", dbname="pgjobs_tests", load=[_load_template]
        )

    # pytest loads this plugin wherever pgjobs is installed, also without the extra: fail only when
    # a test uses the fixture.
    @pytest.fixture(scope="session")
    def missing() -> None:
        pytest.fail("pgjobs.testing is an extra: pip install 'pgjobs-queue[testing]'")

    return missing


pgjobs_template = _template_fixture()
_numbers = itertools.count(1)


@pytest.fixture
def pgjobs_dsn(pgjobs_template: Any, pgjobs_server: Server) -> Iterator[str]:
    """Creates a database for this test, with pgjobs in its schema public; yields its DSN."""
    import psycopg
    from psycopg import sql

    template = sql.Identifier(pgjobs_template.template_dbname)
    dbname = f"{pgjobs_template.dbname}_{os.getpid()}_{next(_numbers)}"
    maintenance = pgjobs_server.dsn(pgjobs_server.maintenance_dbname)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        # Copying files is the fastest strategy, and the only one before PostgreSQL 15.
        strategy = "" if connection.info.server_version < 150000 else "strategy file_copy"
        name = sql.Identifier(dbname)
        connection.execute(
            sql.SQL("create database {} template {} {}").format(name, template, sql.SQL(strategy))
        )
        try:
            yield pgjobs_server.dsn(dbname)
        finally:
            # A failed test may have left connections open.
            connection.execute(sql.SQL("drop database {} with (force)").format(name))


async def make_due(conn: "Connection", job_id: int | None = None) -> None:
    """Makes a pending job due now, by default all: scheduled jobs and jobs that wait to retry."""
    rows = await conn.fetch(
        "update jobs set run_at = clock_timestamp() where status = 'pending'"
        " and run_at > clock_timestamp() and ($1::bigint is null or id = $1) returning id",
        job_id,
    )
    # Claims look at a group when its turn has come.
    await conn.execute("select _jobs_signal_jobs($1)", [row["id"] for row in rows])


async def expire_lease(conn: "Connection", job_id: int | None = None) -> None:
    """Lets the lease of a running job expire, by default of all, as if their worker had died."""
    await conn.execute(
        "update jobs set lease_until = clock_timestamp() - $2::interval"
        " where status = 'processing' and ($1::bigint is null or id = $1)",
        job_id,
        timedelta(seconds=1),
    )


async def drain(app: "App", *, raise_on_failure: bool = False) -> int:
    """Runs the jobs of all queues that are due, in this event loop; returns the number of runs.

    Jobs that the handlers enqueue run too, if they are due, jobs that wait for others which have
    ended, and jobs whose lease is over.
    What the app declares, limits for one, is written before, as a worker writes it when it starts.
    ``raise_on_failure``: raises ``PgjobsError`` if a run failed, even if its job will be retried;
    its ``__cause__`` is what the first of these handlers raised in this process.
    """
    from pgjobs.database import Database, quote
    from pgjobs.producer.declared import KINDS
    from pgjobs.worker.flows import Flows

    jobs = f"{quote(app.schema)}.jobs"
    pool = await app.pool()
    for kind, declared in app.declarations.items():
        await KINDS[kind].declare(Database(pool, app.schema), app.declared_in, declared, False)
    rows = await pool.fetch(f"select id, attempt from {jobs}")
    attempts_before = {row["id"]: row["attempt"] for row in rows}
    ran: list[Any] = []
    causes: dict[int, BaseException] = {}
    runs, runs_before = 0, -1
    while runs != runs_before:
        await pool.execute(f"select from {quote(app.schema)}.jobs_recover()")
        while await Flows.finish(Database(pool, app.schema)):
            pass
        due = await pool.fetch(
            f"select distinct queue from {jobs} where status = 'pending'"
            " and run_at <= clock_timestamp()"
        )
        if due:
            worker = app.worker(queues=[row["queue"] for row in due])
            worker.causes = causes
            await worker.run(until_empty=True)
        rows = await pool.fetch(f"select id, attempt, job_type, error from {jobs} order by id")
        ran = [row for row in rows if row["attempt"] > attempts_before.get(row["id"], 0)]
        runs_before = runs
        runs = sum(row["attempt"] - attempts_before.get(row["id"], 0) for row in ran)
    failed = [row for row in ran if row["error"] is not None]
    if failed and raise_on_failure:
        errors = "\n".join(f"job {row['id']} ({row['job_type']}): {row['error']}" for row in failed)
        raise PgjobsError(
            f"{len(failed)} of {len(ran)} jobs failed\n{errors}"
        ) from causes.get(failed[0]["id"])
    return runs


def make_job(
    payload: P = NO_PAYLOAD, *, state: Any = None, stopping: bool = False, **columns: Any
) -> "RunningJob[P]":
    """Makes a running job without a database, to test a handler alone: ``await handler(job)``.

    The handler is given the payload as a worker would read it; ``InvalidArgument`` if it does not
    fit the handler. ``state``: what the app's lifespan would yield; in the handler it is
    ``app.state``, as well as ``job.app.state``. ``stopping``: whether the handler should end soon.
    ``columns``: those of the row, such as ``id`` or ``attempt``; else they are those of the first
    attempt of a new job. What needs a database raises ``PgjobsError``.
    """
    from pgjobs.app import App, RunningJob, as_state
    from pgjobs.database import JOB_COLUMNS
    from pgjobs.handler.held_job import Holder
    from pgjobs.handler.run import Run

    class MadeJob(RunningJob[Any]):
        """A job that no worker has claimed: the call of a handler does what its worker would."""

        __slots__ = ()

        def call(self, task: "Task[Any, Any]") -> Any:
            self._payload = task.decode(task.encode(self._payload))
            return self._called(task) if task.is_async else self._call(task)

        def _call(self, task: "Task[Any, Any]") -> Any:
            with nullcontext() if state is None else task.app.with_state(self.app.state):
                return task.handler(self)

        async def _called(self, task: "Task[Any, Any]") -> Any:
            with nullcontext() if state is None else task.app.with_state(self.app.state):
                return await task.handler(self)

    class AppWithoutDatabase(App[Any]):
        @property
        def dsn(self) -> str:
            raise PgjobsError(
                "this job was made by make_job and has no database: enqueue a job in a database of"
                " the fixture pgjobs_dsn, and run it by drain(app)"
            )

    now = datetime.now(UTC)
    row: dict[str, Any] = dict.fromkeys(
        column.strip().removesuffix("::text") for column in JOB_COLUMNS.split(",")
    )
    row |= {
        "id": 1, "queue": "default", "job_type": "test", "status": "processing", "priority": 0,
        "payload": encode(payload, "the payload"), "retry_count": 0, "max_retries": 3,
        "crash_count": 0, "attempt": 1, "unique_scope": "live", "worker": "make_job",
        "run_at": now, "created_at": now, "updated_at": now, "started_at": now,
        "lease_until": now + timedelta(minutes=1),
    }
    if unknown := columns.keys() - (row.keys() - {"payload"}):
        raise InvalidArgument(f"a job has no column {', '.join(sorted(unknown))}")
    run = Run(row | columns, claimed_at=0.0)
    run.is_asked_to_stop = stopping
    app = AppWithoutDatabase()
    app._last_state = as_state(state)
    job = MadeJob(run, app, Holder("make_job", keep_completed=True))
    job._payload = payload
    return job
