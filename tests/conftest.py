"""One server per session, one migrated database per test (see pgjobs/testing.py)."""

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest

import pgjobs.testing
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.schema import migrate
from pgjobs.testing import FAST_SETTINGS, Server

Psql = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg-bin",
        default=os.environ.get("PGJOBS_TEST_BIN"),
        help="run on the PostgreSQL in this folder, e.g. /usr/lib/postgresql/15/bin"
        " (or PGJOBS_TEST_BIN); left out: the embedded one",
    )
    parser.addoption(
        "--chaos",
        metavar="PATH",
        help="run tests/chaos at full size, 20 minutes, and write the report there",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--chaos"):
        config.option.timeout = 0  # at full size a test may take as long as it takes
    # A shell's background job ignores SIGINT, and so would every process that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # pytest finds the plugin of pgjobs only if pgjobs is installed, and not only on the path.
    if not config.pluginmanager.has_plugin("pgjobs"):
        config.pluginmanager.register(pgjobs.testing, "pgjobs")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def pgjobs_embedded(pytestconfig: pytest.Config) -> Iterator[EmbeddedPostgres]:
    """The embedded server, or a server that runs the programs in --pg-bin."""
    chosen = pytestconfig.getoption("--pg-bin")
    with EmbeddedPostgres(settings=FAST_SETTINGS, bin=chosen) as server:
        yield server


@pytest.fixture
async def conn(pgjobs_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of this test."""
    connection = await asyncpg.connect(pgjobs_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def empty_dsn(pgjobs_server: pgjobs.testing.Server) -> Iterator[str]:
    """The DSN of a database without pgjobs, made for this test alone."""
    maintenance = pgjobs_server.dsn(pgjobs_server.maintenance_dbname)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute("create database pgjobs_empty template template0")
        try:
            yield pgjobs_server.dsn("pgjobs_empty")
        finally:
            connection.execute("drop database pgjobs_empty with (force)")


@pytest.fixture
def query(empty_dsn: str) -> Callable[..., list[tuple[Any, ...]]]:
    """query("select %s", 1) runs a statement in the database of empty_dsn."""

    def run(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(empty_dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def copied_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ that a test may change; migrate() installs from the copy."""
    copy = tmp_path / "sql"
    shutil.copytree(migrate.sql_folder(), copy)
    monkeypatch.setattr(migrate, "sql_folder", lambda: copy)
    return copy


@pytest.fixture(scope="session")
def pg_program(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Finds psql, pg_dump and similar programs: beside the server, or on the path."""

    def find(name: str) -> str:
        folder = None
        if not request.config.getoption("postgresql_host", None):
            folder = request.getfixturevalue("pgjobs_embedded").bin
        found = shutil.which(name, path=folder and str(folder)) or shutil.which(name)
        return found or pytest.skip(f"no {name} on this machine")

    return find


@pytest.fixture(scope="session")
def psql(pg_program: Callable[[str], str]) -> Psql:
    """psql without a .psqlrc: psql(dsn, "-c", "select 1")."""

    def run(dsn: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [pg_program("psql"), "-X", "-d", dsn, *arguments],
            check=False, capture_output=True, text=True, cwd=Path(__file__).parents[1],
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def dump(pg_program: Callable[[str], str]) -> Callable[..., str]:
    """The schema as pg_dump prints it, without the tables that list the migrations."""

    def run(dsn: str) -> str:
        done = subprocess.run(
            [pg_program("pg_dump"), "--schema-only", "-T", "*.pgjobs_migrations*", "-d", dsn],
            check=False, capture_output=True, text=True,
        )
        if "server version mismatch" in done.stderr:
            pytest.skip("this machine's pg_dump is older than the server")
        assert done.returncode == 0, done.stderr
        # Newer releases of pg_dump print a random key that restricts psql during a restore.
        return "\n".join(line for line in done.stdout.splitlines() if "restrict" not in line)

    return run


@pytest.fixture
async def connect(pgjobs_dsn: str) -> AsyncIterator[Callable[[], Awaitable[asyncpg.Connection]]]:
    """Opens further sessions on this test's database."""
    opened: list[asyncpg.Connection] = []

    async def open_session() -> asyncpg.Connection:
        # A session that waits for a lock against our expectation fails, and does not hang.
        settings = {"lock_timeout": "10s"}
        opened.append(await asyncpg.connect(pgjobs_dsn, server_settings=settings))
        return opened[-1]

    yield open_session
    for connection in opened:
        # Not close(): a session that still waits for a lock would not answer.
        connection.terminate()


@pytest.fixture
async def other(connect: Callable[[], Awaitable[asyncpg.Connection]]) -> asyncpg.Connection:
    """A second session."""
    return await connect()


@pytest.fixture
def ascii_dsn(pgjobs_server: Server) -> Iterator[str]:
    """The DSN of an empty database of encoding SQL_ASCII."""
    maintenance = pgjobs_server.dsn(pgjobs_server.maintenance_dbname)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(
            "create database pgjobs_ascii template template0 encoding 'SQL_ASCII'"
            " lc_collate 'C' lc_ctype 'C'"
        )
        try:
            yield pgjobs_server.dsn("pgjobs_ascii")
        finally:
            connection.execute("drop database pgjobs_ascii with (force)")


@pytest.fixture
async def make_role(conn: asyncpg.Connection) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Makes a role with these grants for this test: await make_role("producer", "worker")."""
    made: list[str] = []

    async def make(*grants: str) -> str:
        name = f"Role {uuid4().hex[:12]}"  # a name that must be quoted
        await conn.execute(f'create role "{name}" login')
        made.append(name)
        for grant in grants:
            await conn.execute("select jobs_grant($1, $2)", name, grant)
        return name

    yield make
    await conn.execute("reset role")
    for name in made:
        await conn.execute(f'drop owned by "{name}"; drop role "{name}"')


@pytest.fixture
def acting_as(conn: asyncpg.Connection) -> Callable[[str], AbstractAsyncContextManager[None]]:
    """async with acting_as(role): ``conn`` has that role's rights."""

    @asynccontextmanager
    async def act(role: str) -> AsyncIterator[None]:
        await conn.execute(f'set role "{role}"')
        try:
            yield
        finally:
            await conn.execute("reset role")

    return act
