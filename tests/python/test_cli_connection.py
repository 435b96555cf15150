"""A database that cannot be reached gives one line on stderr, without the password."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pgjobs.testing import Server

ROOT = Path(__file__).parents[2]
SECRET = "s3kr1t-pässword"
Pgjobs = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pgjobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pgjobs:
    """Runs the command in a process of its own, as users do."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pgjobs", *arguments],
            check=False, capture_output=True, text=True, cwd=tmp_path, timeout=60,
        )

    return run


@pytest.fixture
def app(tmp_path: Path) -> str:
    (tmp_path / "shop.py").write_text(
        "import pgjobs\napp = pgjobs.App()\n@app.job('a')\nasync def a(job): ...\n"
    )
    return "shop:app"


@pytest.mark.parametrize("command", ["list", "migrate", "worker"])
@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("127.0.0.1:1/db", "nothing listens there"),
        ("no-such-host.invalid:5432/db", "cannot connect to"),
        ("127.0.0.1:{port}/db", "check user and password"),
        ("127.0.0.1:{port}/db?sslmode=nonsense", "sslmode"),
    ],
)
def test_a_database_that_cannot_be_reached(
    pgjobs: Pgjobs, pgjobs_server: Server, app: str, command: str, where: str, why: str
) -> None:
    dsn = f"postgresql://user:{SECRET}@{where.format(port=pgjobs_server.port)}"
    arguments = [command, app] if command == "worker" else [command]
    done = pgjobs(*arguments, "--dsn", dsn)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("pgjobs: cannot connect to ")
    assert done.stderr.count("\n") == 1
    assert why in done.stderr
    assert SECRET not in done.stderr


def test_a_database_that_does_not_exist(pgjobs: Pgjobs, pgjobs_server: Server) -> None:
    for command in ("list", "migrate"):
        done = pgjobs(command, "--dsn", pgjobs_server.dsn("nowhere"))
        assert done.returncode == 1
        assert 'database "nowhere" does not exist; make it by createdb' in done.stderr


def test_a_dsn_that_cannot_be_read(pgjobs: Pgjobs) -> None:
    for dsn in (f"host='x password={SECRET}", f"http://u:{SECRET}@h/d"):
        done = pgjobs("list", "--dsn", dsn)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert SECRET not in done.stderr


@pytest.mark.parametrize("separator", "/#?@%")
def test_a_password_that_is_not_escaped_is_not_shown(pgjobs: Pgjobs, separator: str) -> None:
    for command in ("stats", "migrate"):
        done = pgjobs(command, "--dsn", f"postgresql://app:tiger{separator}blood@127.0.0.1/shop")
        assert done.returncode == 2
        assert "escape the characters / ? # @ % of the password" in done.stderr
        assert "tiger" not in done.stderr
        assert "blood" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("stats", "{}"), ("{}",), ("list", "--limit", "{}"), ("worker", "{}"), ("show", "{}"),
     ("worker", "shop:app", "--grace", "{}"), ("enqueue", "a", "--delay", "{}")],
    ids=" ".join,
)
def test_a_dsn_in_a_wrong_place_is_shown_without_its_password(
    pgjobs: Pgjobs, arguments: tuple[str, ...]
) -> None:
    done = pgjobs(*(text.format("postgresql://app:tiger/blood@h/d") for text in arguments))
    assert done.returncode in (1, 2)
    assert "tiger" not in done.stderr
    assert "blood" not in done.stderr


def test_the_environment_names_the_database(
    pgjobs: Pgjobs, pgjobs_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGJOBS_DSN", raising=False)
    monkeypatch.setenv("DATABASE_URL", pgjobs_dsn.replace("postgresql:", "postgresql+asyncpg:"))
    assert pgjobs("enqueue", "a").stdout == "job 1 is pending in queue default\n"
    monkeypatch.setenv("PGJOBS_DSN", "postgresql://127.0.0.1:1/x")
    assert pgjobs("list").returncode == 1
    assert pgjobs("list", "--dsn", pgjobs_dsn).returncode == 0


def test_a_reader_that_closes_the_pipe_is_no_error(
    pgjobs_dsn: str, psql: Callable[..., object]
) -> None:
    psql(pgjobs_dsn, "-c", "insert into jobs (job_type) select 'a' from generate_series(1, 20000)")
    done = subprocess.run(
        f"'{sys.executable}' -m pgjobs list -n 20000 --dsn '{pgjobs_dsn}' | head -n 1",
        check=False, shell=True, capture_output=True, text=True, cwd=ROOT,
    )
    assert done.stdout.split()[0] == "id"
    assert done.stderr == ""


def test_without_any_address_the_error_says_what_to_set(
    pgjobs: Pgjobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PG") or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    done = pgjobs("list")
    assert done.returncode == 1
    assert "no address is given: give --dsn, or set PGJOBS_DSN or DATABASE_URL" in done.stderr
