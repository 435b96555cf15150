"""``pgjobs web``: who is let in, and where it listens."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from typer.testing import CliRunner
from web.conftest import HTML, JSON, OWN_FORM, as_role

from pgjobs import App
from pgjobs.cli.commands import cli
from pgjobs.errors import InvalidArgument
from pgjobs.web import console
from pgjobs.web.login import Login

TOKEN = "a token of some length"


@pytest.fixture
def serve(pgjobs_dsn: str, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts ``pgjobs web`` and returns the address that it prints."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "pgjobs", "web", "--port", "0", "--dsn", pgjobs_dsn, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2],
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("open http://"), process.communicate()
        return line.split()[1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=20)


def test_on_this_machine_the_printed_address_opens_once(serve: Callable[..., str]) -> None:
    address = serve()
    with httpx.Client(headers=HTML) as client:
        assert client.head(address).status_code == 401  # a preview does not use it up
        assert client.get(address.partition("?")[0]).status_code == 401
        entered = client.get(address)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        cookie = entered.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get(address.partition("?")[0]).status_code == 200
    again = httpx.get(address, headers=HTML)
    assert again.status_code == 401
    assert "it opens once" in again.text
    assert "server" not in again.headers


def test_a_prefix_that_a_proxy_takes_away_stands_in_each_link(serve: Callable[..., str]) -> None:
    address = serve("--root-path", "/our/jobs/")
    with httpx.Client(headers=HTML) as client:
        entered = client.get(address)  # as the proxy asks
        assert entered.headers["location"] == "/our/jobs/"
        assert "path=/our/jobs;" in entered.headers["set-cookie"].lower() + ";"
        page = client.get(address.partition("?")[0]).text
    assert set(re.findall('(?:href|src|action)="/([^"/]*)', page)) == {"our"}


async def test_changes_are_made_at_an_address_of_their_own(
    serve: Callable[..., str], conn: asyncpg.Connection, pgjobs_dsn: str,
    make_role: Callable[..., Awaitable[str]], monkeypatch: pytest.MonkeyPatch,
) -> None:
    await conn.execute("select jobs_enqueue('t')")
    monkeypatch.setenv("PGJOBS_WEB_TOKEN", TOKEN)
    reads, acts = await make_role("observer"), await make_role("admin")
    address = await asyncio.to_thread(
        serve, "--dsn", as_role(pgjobs_dsn, reads), "--actions-dsn", as_role(pgjobs_dsn, acts)
    )
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}) as client:
        answer = await client.post(f"{address}jobs/1/cancel", headers=OWN_FORM)
        assert answer.status_code == 303
    assert await conn.fetchval("select db_role from jobs_audit where action = 'cancel'") == acts


def test_a_function_says_who_may_instead_of_a_token(
    serve: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text(
        "from pgjobs import App\nfrom pgjobs.web import Access\n\napp = App()\n\n\n"
        "def who_may(request):\n"
        "    return Access('anna', 'observe') if 'x-user' in request.headers else None\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    address = serve("shop:app", "--host", "0.0.0.0", "--access", "shop:who_may")
    address = address.replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(address).status_code == 403
    page = httpx.get(address, headers={"x-user": "anna"})
    assert page.status_code == 200
    assert "may observe" in page.text


def test_a_token_in_a_file_lets_in_by_a_form_and_as_a_bearer(
    serve: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    address = serve("--host", "0.0.0.0", "--token-file", str(tmp_path / "token"))
    assert "token" not in address
    address = address.replace("0.0.0.0", "127.0.0.1")
    with httpx.Client(headers=HTML) as client:
        assert 'type="password"' in client.get(address).text
        for form, headers in (
            ({"token": "another token of length"}, OWN_FORM), ({}, OWN_FORM),
            ({"token": TOKEN}, {"sec-fetch-site": "cross-site"}),
        ):
            answer = client.post(address, data=form, headers=headers)
            assert answer.status_code in (401, 403)
            assert "set-cookie" not in answer.headers
        assert client.post(address, data={"token": TOKEN}, headers=OWN_FORM).status_code == 303
        assert client.get(address).status_code == 200
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert httpx.get(address, headers=JSON | bearer).json()["troubles"] == []
    assert httpx.get(address, headers=JSON).status_code == 401
    scraped = httpx.get(f"{address}metrics", headers=bearer)  # as Prometheus does
    assert scraped.status_code == 200
    assert "pgjobs_workers{" in scraped.text
    assert httpx.get(f"{address}metrics").status_code == 401
    assert httpx.get(f"{address}?token={TOKEN}", headers=JSON).status_code == 401


async def test_a_login_leads_to_no_other_host() -> None:
    asgi = console(App("postgresql://x@127.0.0.1:1/x"), access=Login(TOKEN))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), headers=HTML) as client:
        for path in ("//evil.example/", "/\\evil.example/", "/%2f%2fevil.example"):
            client.cookies.clear()
            answer = await client.post(
                f"http://console{path}?a=1&token=x", data={"token": TOKEN}, headers=OWN_FORM
            )
            assert answer.status_code == 303, (path, answer.text)
            location = answer.headers["location"]
            assert re.match(r"/[^/\\]", location), location
            assert location.endswith("?a=1")


def test_a_short_token_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="openssl rand"):
        Login("short")


@pytest.mark.parametrize(("options", "told"), [
    (["--host", "0.0.0.0"], "can be reached from other machines: give a token"),
    (["--host", ""], "can be reached from other machines: give a token"),
    (["--host", "::"], "can be reached from other machines: give a token"),
    (["--token-file", "/nowhere/token"], "cannot be read"),
    (["--access", "odd"], "is not MODULE:FUNCTION"),
    (["--access", "json:nothing"], "json has no function nothing"),
    (["--host", "203.0.113.1"], "name another address"),
], ids=str)
async def test_what_cannot_be_served_safely_is_refused(
    pgjobs_dsn: str, options: list[str], told: str
) -> None:
    result = await asyncio.to_thread(
        CliRunner().invoke, cli, ["web", "--port", "0", "--dsn", pgjobs_dsn, *options]
    )
    assert result.exit_code in (1, 2)
    assert told in result.output


async def test_access_and_a_token_do_not_go_together(
    pgjobs_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGJOBS_WEB_TOKEN", TOKEN)
    result = await asyncio.to_thread(
        CliRunner().invoke, cli, ["web", "--dsn", pgjobs_dsn, "--access", "json:loads"]
    )
    assert result.exit_code == 2
    assert "but not both" in result.output


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("pgjobs.web")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = CliRunner().invoke(cli, ["web"])
    assert result.exit_code == 1
    assert "pip install 'pgjobs-queue[web]'" in result.output
