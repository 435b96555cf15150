"""One address that asyncpg and libpq both understand."""

import re
import traceback
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import asyncpg
import psycopg
import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args
from psycopg.conninfo import conninfo_to_dict

from pgjobs import App
from pgjobs.connection.dsn import redact, resolve, without_passwords
from pgjobs.errors import InvalidArgument


@dataclass
class Address:
    """Not a string, but what a library of settings might give."""

    password: str


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
        # Of what is given twice, libpq takes the parameter, and asyncpg would not.
        (
            "postgresql://u:p@localhost/d?host=/cloudsql/a:b:c",
            "postgresql://u:p@%2Fcloudsql%2Fa%3Ab%3Ac/d",
        ),
        ("postgresql://u:p@h:1/d?port=2&user=v&password=q", "postgresql://v:q@h:2/d"),
        ("postgresql://[::1],h:1/d?port=2", "postgresql://[::1]:2,h:2/d"),
        # asyncpg would read no IPv6 address there.
        ("host=::1,h port=1,2 dbname=d", "postgresql://[::1]:1,h:2/d"),
        ("postgresql:///d?host=fe80::1%25eth0", "postgresql://[fe80::1%25eth0]/d"),
        # A + is a space for SQLAlchemy, and a + for libpq.
        ("postgresql://h/d?user=u&password=a+b", "postgresql://h/d?user=u&password=a%2Bb"),
        (
            "postgresql+asyncpg://h/d?application_name=a+b",
            "postgresql://h/d?application_name=a%20b",
        ),
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
    others = dict.fromkeys(signature(_parse_connect_dsn_and_args).parameters) | {"dsn": expected}
    _parse_connect_dsn_and_args(**others)
    psycopg.conninfo.make_conninfo(expected)


def test_hosts_and_ports_that_do_not_match_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="the DSN has 2 hosts, but 3 ports"):
        resolve("postgresql://a:1,b:2/d?port=1,2,3")


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


UNREADABLE = [
    # The password tiger/blood and its kin, written as it is.
    "postgresql://app:tiger/blood@host/shop", "postgresql://app:tiger#blood@host/shop",
    "postgresql://app:tiger?blood@host/shop", "postgresql://app:tiger?a=blood@host/shop",
    "postgresql://app:tiger@blood@host/shop", "postgresql://app:tiger%blood@host/shop",
    "postgresql://app:tiger%@host/shop", "postgresql://app:tiger%00@host/shop",
    "postgresql://app:tiger%ff@host/shop", "postgresql://app:ti\tger@host/shop",
    "postgresql://app:ti\nger@host/shop", "postgresql://app:/tiger@host/shop",
    "postgresql://app:?tiger@host/shop", "postgresql://app:#tiger@host/shop",
    "postgresql://app:1/tiger@host/shop", "postgresql://app:1#tiger@host/shop",
    "postgresql://app:1?tiger@host/shop", "postgresql://app:1?a=tiger@host/shop",
    "postgresql://app:1@tiger/2@host/shop", "postgresql://app:[tiger/@host/shop",
    "postgresql+asyncpg://app:tiger/blood@host/shop", "postgres://app:tiger/blood@host/shop",
    # Without a host, without a scheme, with another one, with a port that is none.
    "postgresql://app:tiger", "app:tiger@host/shop", "tiger",
    "tiger://app:blood@host", "mysql://app:tiger@host/shop", "jdbc:postgresql://host/?user=tiger",
    "postgresql://app:pass@host:tiger/shop", "postgresql://[tiger/shop", "postgresql://a b:tiger",
    "postgresql://app:pass@host/shop?tiger", "postgresql://app:pass@host/shop?ti%ger=1",
    "postgresql://app:pass@host/shop?password=ti%ger",
    # By keywords.
    "host=h password=ti ger", "host=h password='tiger", "host=h password=tiger\\'s 'blood",
    "host=h passwort=tiger", "password=tiger\0 host=h", "host=h password=ti =ger",
    "password=\udcfftiger host=h",
]


@pytest.mark.parametrize("dsn", UNREADABLE, ids=ascii)
def test_a_dsn_that_cannot_be_read_is_refused_and_no_part_of_it_shown(dsn: str) -> None:
    with pytest.raises(InvalidArgument, match="write it like") as caught:
        resolve(dsn)
    shown = "".join(traceback.format_exception(caught.value))
    for text in (str(caught.value), shown, redact(dsn), repr(App(dsn))):
        assert not re.search("tiger|blood|ti.ger|ger@", text)


def test_the_refusal_says_how_to_escape_the_password() -> None:
    with pytest.raises(InvalidArgument, match=r"escape .* by %2F %3F %23 %40 %25"):
        resolve("postgresql://app:tiger/blood@host/shop")


@pytest.mark.parametrize(
    "password",
    ["/?#@%", ":", "[x]", "a b", "&=+", "pässwörd", "'\"\\", "%2F", "\u2100", "!$()*,;~"],
)
def test_any_password_that_is_escaped_reaches_both_drivers(password: str) -> None:
    escaped = quote(password, safe="")
    for dsn in (
        f"postgresql://app:{escaped}@host:1/shop",
        f"postgresql+asyncpg://app@host:1/shop?password={escaped}",
        "host=host port=1 user=app dbname=shop password='{}'".format(
            password.replace("\\", "\\\\").replace("'", "\\'")
        ),
    ):
        found = resolve(dsn)
        assert resolve(found) == found
        assert conninfo_to_dict(found)["password"] == password
        others = dict.fromkeys(signature(_parse_connect_dsn_and_args).parameters) | {"dsn": found}
        _, parameters = _parse_connect_dsn_and_args(**others)
        assert parameters.password == password
        assert redact(dsn).count("***") == 1
        assert conninfo_to_dict(redact(dsn))["password"] == "***"


@pytest.mark.parametrize("value", ["12345", "0x", ":tiger", "ti:ger", "$tiger"])
def test_what_a_password_may_hold_unescaped(value: str) -> None:
    found = conninfo_to_dict(resolve(f"postgresql://app:{value}@host/shop"))
    assert (found["user"], found["password"], found["host"]) == ("app", value, "host")


@pytest.mark.parametrize(
    "secret",
    [
        "options=-c%20my.password%3Dtiger", "sslpassword=tiger", "my.password=tiger",
        "passfile=tiger",
    ],
)
def test_redact_shows_no_option_that_may_hold_a_secret(secret: str) -> None:
    shown = redact(f"postgresql://app@host/shop?{secret}")
    assert "tiger" not in shown
    assert "app@host/shop" in shown


@pytest.mark.parametrize("given", [b"postgresql://u:tiger@h/d", Address("tiger")], ids=type)
def test_what_is_no_string_is_refused_and_not_shown(given: object) -> None:
    with pytest.raises(InvalidArgument, match="must be a string, not") as caught:
        resolve(given)  # type: ignore[arg-type]
    assert "tiger" not in str(caught.value)


@pytest.mark.parametrize("line", ["password=50%tiger", "password tiger"])
async def test_a_service_file_that_asyncpg_cannot_read_is_refused_and_not_quoted(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "services"
    file.write_text(f"[shop]\nhost=127.0.0.1\n{line}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    async with App("postgresql:///?service=shop") as app:
        with pytest.raises(InvalidArgument, match="service file") as caught:
            await app.enqueue("t")
    assert "tiger" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("got postgresql://app:ti/g@er@h/d there", "got postgresql://app:***@h/d there"),
        ("got host=h password='ti ger' user=u", "got host=h password=*** user=u"),
        ("got postgresql://h/d?password=tiger&a=b", "got postgresql://h/d?password=***&a=b"),
        ("got no secret, me@host", "got no secret, me@host"),
    ],
)
def test_a_text_is_shown_without_the_passwords_in_it(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


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
