"""One address that asyncpg and libpq both understand."""

from urllib.parse import parse_qsl, urlsplit

import asyncpg
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgjobs.connection.dsn import redact, resolve
from pgjobs.errors import InvalidArgument


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGJOBS_DSN", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_argument_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(None) == ""
    monkeypatch.setenv("DATABASE_URL", "postgres://u@h/from_database_url")
    assert resolve(None) == "postgresql://u@h/from_database_url"
    monkeypatch.setenv("PGJOBS_DSN", "postgres://u@h/from_pgjobs_dsn")
    assert resolve(None) == "postgresql://u@h/from_pgjobs_dsn"
    assert resolve("postgresql://u@h/given") == "postgresql://u@h/given"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql+asyncpg://u:p@h:6432/d", "postgresql://u:p@h:6432/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql://h", "postgresql://h/"),
        ("postgresql://[::1]:5433,other:5432/d", "postgresql://[::1]:5433,other:5432/d"),
        ("postgresql://h/d?ssl=require", "postgresql://h/d?sslmode=require"),
        ("postgresql://h/?dbname=d%2Fe", "postgresql://h/d%2Fe"),
        ("postgresql://h/d?ssl=true", "postgresql://h/d?sslmode=require"),
        ("postgresql://h/d?prepared_statement_cache_size=0", "postgresql://h/d"),
        # Known to libpq alone; asyncpg would send it to the server as a setting.
        ("postgresql://h/d?connect_timeout=5&keepalives=1", "postgresql://h/d"),
        # Known to asyncpg alone, as a setting of the server; libpq would refuse it.
        (
            "postgresql://h/d?statement_timeout=5000",
            "postgresql://h/d?options=-c%20statement_timeout%3D5000",
        ),
    ],
)
def test_an_address_is_rewritten_for_both_drivers(given: str, expected: str) -> None:
    assert resolve(given) == expected
    assert resolve(expected) == expected
    psycopg.conninfo.make_conninfo(expected)


def test_the_keywords_of_libpq_become_an_address() -> None:
    found = resolve("host=/tmp/x user=me password='a b&c' dbname=d connect_timeout=3")
    assert urlsplit(found).scheme == "postgresql"
    assert conninfo_to_dict(found) == {
        "host": "/tmp/x", "user": "me", "password": "a b&c", "dbname": "d"
    }
    assert dict(parse_qsl(urlsplit(found).query))["password"] == "a b&c"


@pytest.mark.parametrize(
    "dsn", ["mysql://u:secret@h/d", "sqlite:///x", "secret", "host", "postgresql://[secret/d"]
)
def test_an_invalid_address_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(InvalidArgument, match="write it like") as caught:
        resolve(dsn)
    assert "secret" not in str(caught.value)
    assert "secret" not in redact(dsn)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:secret@h/d",
        "postgres://u:se%3Acret@h:1/d?password=secret",
        "postgresql://h/d?password=secret&sslpassword=secret",
        "host=h password=secret",
    ],
)
def test_redact_removes_the_password(dsn: str) -> None:
    shown = redact(dsn)
    assert "secret" not in shown
    assert "cret" not in shown
    assert "***" in shown
    assert "h" in shown


def test_redact_leaves_an_address_without_a_password_unchanged() -> None:
    assert redact("postgresql://u@h/d") == "postgresql://u@h/d"
    assert redact("postgresql://u:@/d?host=/tmp/x") == "postgresql://u:@/d?host=/tmp/x"
    assert redact("") == ""


async def test_both_drivers_connect(pgjobs_dsn: str) -> None:
    parts = urlsplit(pgjobs_dsn)
    parameters = dict(parse_qsl(parts.query))
    host, port = parameters["host"], parameters["port"]
    for given in (
        pgjobs_dsn,
        f"postgresql+asyncpg://postgres:@{parts.path}?host={host}&port={port}",
        f"host={host} port={port} dbname={parts.path[1:]} user=postgres",
        f"{pgjobs_dsn}&application_name=a%20b&work_mem=5MB&connect_timeout=3",
    ):
        dsn = resolve(given)
        connection = await asyncpg.connect(dsn)
        settings = await connection.fetchrow(
            "select current_database(), current_setting('application_name'),"
            " current_setting('work_mem')"
        )
        await connection.close()
        assert settings is not None
        with psycopg.connect(dsn) as other:
            assert other.execute(
                "select current_database(), current_setting('application_name'),"
                " current_setting('work_mem')"
            ).fetchone() == tuple(settings)
        assert settings[0] == parts.path[1:]
        assert settings[2] == ("5MB" if "work_mem" in given else "4MB")
