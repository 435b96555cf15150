"""PgBouncer in transaction mode between pgjobs and PostgreSQL (docs/guides/pgbouncer.md)."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

import pgjobs
import pgjobs.testing
from pgjobs import App, InvalidArgument, RunningJob
from pgjobs.connection.connector import SESSION_SETTINGS
from pgjobs.connection.link import Link
from pgjobs.embedded import _free_port
from pgjobs.worker.worker import Worker

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
    reason="no pgbouncer on this machine (Debian: apt-get install pgbouncer)",
)

# The default is three server sessions for all clients, so that a session changes clients often.
_CONFIG = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
logfile = {folder}/log
{more}
"""


class Bouncer:
    """One PgBouncer in front of the tests' server."""

    def __init__(
        self, server: pgjobs.testing.Server, mode: str, size: int, more: str = ""
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pgjobs-bouncer-", dir="/tmp"))
        self.port = _free_port()
        self._file = self.folder / "pgbouncer.ini"
        self._file.write_text(_CONFIG.format(
            host=server.host, port=server.port, user=server.user, mode=mode, size=size,
            listen_port=self.port, folder=self.folder, more=more,
        ))
        # PgBouncer refuses to run as root; then it runs as the user of the PostgreSQL server.
        self._user = Path(server.host).stat().st_uid if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, self._user, -1)

    def start(self) -> None:
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        self._process = subprocess.Popen(
            [program, "-q", str(self._file)], user=self._user, cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def dsn(self, direct: str) -> str:
        """The same database through PgBouncer."""
        return f"postgresql://postgres@127.0.0.1:{self.port}{urlsplit(direct).path}"


@pytest.fixture
def bounced(
    pgjobs_server: pgjobs.testing.Server, pgjobs_dsn: str
) -> Iterator[Callable[..., Bouncer]]:
    bouncers: list[Bouncer] = []

    def start(mode: str = "transaction", size: int = 3, more: str = "") -> Bouncer:
        bouncer = Bouncer(pgjobs_server, mode, size, more)
        bouncer.start()
        bouncers.append(bouncer)
        return bouncer

    yield start
    for bouncer in bouncers:
        bouncer.stop()
        shutil.rmtree(bouncer.folder)


@pytest.fixture
async def dsn(bounced: Callable[..., Bouncer], pgjobs_dsn: str) -> str:
    """The test's database through PgBouncer in transaction mode."""
    address = bounced().dsn(pgjobs_dsn)
    await reachable(address)
    return address


async def reachable(address: str) -> None:
    for _ in range(100):
        with suppress(OSError, asyncpg.PostgresError):
            await (await asyncpg.connect(address, statement_cache_size=0)).close()
            return
        await asyncio.sleep(0.05)
    pytest.fail("PgBouncer does not answer")


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop()


async def eventually(conn: asyncpg.Connection, statement: str, wanted: object) -> None:
    deadline = time.monotonic() + 20
    while (found := await conn.fetchval(statement)) != wanted:
        assert time.monotonic() < deadline, f"{statement}: {found}, not {wanted}"
        await asyncio.sleep(0.02)


async def test_a_worker_drains_jobs_that_were_enqueued_through_pgbouncer(
    dsn: str, pgjobs_dsn: str, conn: asyncpg.Connection
) -> None:
    app = App(dsn=dsn)

    @app.job("double")
    async def double(job: RunningJob[int]) -> int:
        return 2 * job.payload

    @app.job("write")
    async def write(job: RunningJob[int]) -> None:
        async with job.transaction() as connection:
            await connection.execute("insert into written values ($1)", job.payload)

    await conn.execute("create table written (n int)")
    async with app:
        await app.enqueue_many("double", range(800))
        await asyncio.gather(*(double.enqueue(n) for n in range(100)))
        await asyncio.gather(*(write.enqueue(n, unique_key=f"{n}") for n in range(100)))
        await app.worker(listen_dsn=pgjobs_dsn).run(until_empty=True)
    assert await conn.fetchval("select count(*) from jobs where status = 'completed'") == 1_000
    assert await conn.fetchval("select count(*) from jobs where attempt <> 1") == 0
    assert await conn.fetchval("select count(distinct n) from written") == 100
    wrong = "select count(*) from jobs where job_type = 'double' and result <> to_jsonb(2 * %s)"
    assert await conn.fetchval(wrong % "payload::text::int") == 0


async def test_an_enqueue_through_pgbouncer_wakes_a_worker(
    dsn: str, pgjobs_dsn: str, conn: asyncpg.Connection
) -> None:
    app = App(dsn=dsn)

    @app.job("t")
    async def handle(job: RunningJob[int]) -> int:
        return job.payload

    async with app, working(app.worker(listen_dsn=pgjobs_dsn)):
        listening = "select count(*) from _jobs_worker_modes() where mode = 'listening'"
        await eventually(conn, listening, 1)
        for n in range(5):
            await asyncio.sleep(0.2)
            began = time.monotonic()
            job = await handle.enqueue(n)
            await eventually(conn, f"select status from jobs where id = {job.id}", "completed")
            # Without NOTIFY the worker would claim at its next tick, after up to ten seconds.
            assert time.monotonic() - began < 1.5


async def test_no_job_fails_while_pgbouncer_restarts(
    bounced: Callable[..., Bouncer], pgjobs_dsn: str, conn: asyncpg.Connection
) -> None:
    bouncer = bounced()
    await reachable(bouncer.dsn(pgjobs_dsn))
    app = App(dsn=bouncer.dsn(pgjobs_dsn))

    @app.job("t")
    async def handle(job: RunningJob[int]) -> None:
        await asyncio.sleep(0.005)

    async with app:
        await app.enqueue_many("t", range(1_000))
        async with working(app.worker(concurrency=20, listen_dsn=pgjobs_dsn)):
            for _ in range(3):
                await asyncio.sleep(0.1)
                bouncer.stop()
                await asyncio.sleep(0.1)
                bouncer.start()
            await eventually(conn, "select count(*) from jobs where status = 'completed'", 1_000)
    assert await conn.fetchval("select max(retry_count + crash_count) from jobs") == 0


async def test_sync_calls_go_through_pgbouncer_and_leave_nothing_in_its_sessions(
    dsn: str, conn: asyncpg.Connection
) -> None:
    apps = [App(dsn) for _ in range(5)]
    for _ in range(12):
        for app in apps:
            job = await asyncio.to_thread(app.sync.enqueue, "t", {"a": "100%"}, max_retries=1)
            assert (await asyncio.to_thread(app.sync.get, job.id)) == job
    with pytest.raises(InvalidArgument):
        await asyncio.to_thread(app.sync.enqueue, "t", priority=10)
    await asyncio.to_thread(app.sync.enqueue, "t")
    assert await conn.fetchval("select count(*) from jobs") == 61
    for app in apps:
        app.sync.close()


async def test_no_client_gets_the_prepared_statement_of_another(dsn: str) -> None:
    links = [Link(dsn, name=f"link {n}") for n in range(12)]

    async def ask(n: int, link: Link) -> None:
        for m in range(50):
            rows = await link.fetch(f"select {n} as n, $1::int as m", m)
            assert (rows[0]["n"], rows[0]["m"]) == (n, m)

    await asyncio.gather(*(ask(n, link) for n, link in enumerate(links)))
    for link in links:
        await link.close()


async def test_a_setting_of_a_claim_ends_with_its_transaction(dsn: str) -> None:
    claiming = Link(dsn, name="claim", settings={"synchronous_commit": "off"})
    settling = Link(dsn, name="settle")
    shown = "select current_setting('synchronous_commit') as value"
    for _ in range(20):
        assert (await claiming.fetch(shown))[0]["value"] == "off"
        assert (await settling.fetch(shown))[0]["value"] == "on"
    await claiming.close()
    await settling.close()


@pytest.mark.parametrize(
    "more", ["", f"ignore_startup_parameters = {','.join(SESSION_SETTINGS)}"],
    ids=["refuses startup parameters", "ignores them"],
)
async def test_each_transaction_has_the_settings_that_pgjobs_relies_on(
    bounced: Callable[..., Bouncer], pgjobs_dsn: str, conn: asyncpg.Connection, more: str
) -> None:
    for name, value in {
        "default_transaction_isolation": "serializable", "timezone": "Asia/Kathmandu",
        "intervalstyle": "sql_standard", "quote_all_identifiers": "on", "datestyle": "SQL, DMY",
    }.items():
        database = await conn.fetchval("select quote_ident(current_database())")
        await conn.execute(f"alter database {database} set {name} = '{value}'")
    dsn = bounced(more=more).dsn(pgjobs_dsn)
    await reachable(dsn)
    shown = """select current_setting('transaction_isolation'), current_setting('timezone'),
        current_setting('intervalstyle'), current_setting('quote_all_identifiers'),
        current_setting('datestyle')"""
    wanted = ["read committed", "UTC", "postgres", "off", "ISO, MDY"]
    levels: list[str] = []
    app = App(dsn=dsn)

    @app.job("t")
    async def handle(job: RunningJob[int]) -> None:
        async with job.transaction() as connection:
            levels.append(await connection.fetchval("show transaction_isolation"))

    async with app:
        pool = await app.pool()
        for executor in (pool, app._connections().producer._link):
            (row,) = await executor.fetch(shown)
            assert list(row.values()) == wanted
        await app.enqueue("t", 1)
        await app.worker(listen_dsn=pgjobs_dsn).run(until_empty=True)
        # The session that was lent has its own settings again.
        assert await pool.fetchval("show intervalstyle") == "sql_standard"
        async with pool.acquire() as mine, mine.transaction(isolation="serializable"):
            assert await mine.fetchval("show transaction_isolation") == "serializable"
            async with mine.transaction():
                assert await mine.fetchval("select 1") == 1
    assert levels == ["read committed"]


async def test_a_transaction_and_all_its_settings_begin_by_one_statement(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    original = asyncpg.Connection.execute

    async def execute(self: asyncpg.Connection, query: str, *args: object) -> str:
        sent.append(query)
        return await original(self, query, *args)

    async with App(dsn=dsn) as app:
        await app.enqueue("t")
        monkeypatch.setattr(asyncpg.Connection, "execute", execute)
        await app.enqueue("t")
    assert len(sent) == 2
    assert sent[0].startswith("begin isolation level read committed;set local ")
    assert sent[1] == "commit"


async def test_an_error_of_a_statement_rolls_back_and_the_connection_goes_on(dsn: str) -> None:
    async with App(dsn=dsn) as app:
        for options in ({}, {"unique_key": "k"}):
            with pytest.raises(InvalidArgument, match="priority"):
                await app.enqueue("t", priority=99, **options)
            assert (await app.enqueue("t", **options)).id > 0
        assert (await app._connections().for_calls()).get_size() == 1


async def test_no_statement_setting_or_lock_stays_in_the_sessions_of_pgbouncer(
    dsn: str, pgjobs_dsn: str, conn: asyncpg.Connection
) -> None:
    app = App(dsn=dsn)

    @app.job("t")
    async def handle(job: RunningJob[int]) -> None: ...

    async with app:
        await app.enqueue_many("t", range(10))
        await app.worker(listen_dsn=pgjobs_dsn).run(until_empty=True)
        pool = await app.pool()
        named = "select count(*) from pg_prepared_statements where name <> ''"
        assert await pool.fetchval(named) == 0
        assert await pool.fetchval("show jit") == await conn.fetchval("show jit")
    assert await conn.fetchval(
        """select count(*) from pg_locks l
        join pg_stat_activity a using (pid)
        where l.locktype = 'advisory' and a.datname = current_database()"""
    ) == 0


async def test_listening_through_transaction_mode_is_refused(
    dsn: str, conn: asyncpg.Connection
) -> None:
    app = App(dsn=dsn)
    app.job("t")(lambda _job: None)
    with pytest.raises(InvalidArgument, match="--listen-dsn"):
        await app.worker().run()
    assert await conn.fetchval("select count(*) from jobs_workers") == 0


async def test_migrating_through_transaction_mode_is_refused(dsn: str) -> None:
    with pytest.raises(InvalidArgument, match="own address"):
        await asyncio.to_thread(pgjobs.migrate, dsn)


async def test_everything_works_through_session_mode(
    bounced: Callable[..., Bouncer], pgjobs_dsn: str, conn: asyncpg.Connection
) -> None:
    address = bounced(mode="session", size=20).dsn(pgjobs_dsn)
    await reachable(address)
    await asyncio.to_thread(pgjobs.migrate, address)
    app = App(dsn=address)

    @app.job("t")
    async def handle(job: RunningJob[int]) -> None: ...

    async with app, working(app.worker()):
        await app.enqueue_many("t", range(100))
        await eventually(conn, "select count(*) from jobs where status = 'completed'", 100)


async def test_the_listening_session_behind_session_mode_has_the_settings_too(
    bounced: Callable[..., Bouncer], pgjobs_dsn: str, conn: asyncpg.Connection
) -> None:
    database = await conn.fetchval("select quote_ident(current_database())")
    await conn.execute(
        f"alter database {database} set default_transaction_isolation = 'serializable'"
    )
    address = bounced(mode="session", size=20).dsn(pgjobs_dsn)
    await reachable(address)
    link = Link(address, name="listen", private=True)
    (row,) = await link.fetch("select current_setting('transaction_isolation') as level")
    assert row["level"] == "read committed"
    await link.close()
