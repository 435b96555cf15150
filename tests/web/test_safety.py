"""Who may look and act, what each answer carries, and a database that does not answer."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse
from web.conftest import ADMIN, HTML, JSON, OBSERVER, OWN_FORM, Browse, as_role
from web.scene import add, ended

from pgjobs import App
from pgjobs.errors import InvalidArgument
from pgjobs.web import Access, console

Connection = asyncpg.Connection
MakeRole = Callable[..., Awaitable[str]]
SCRIPT = '<script type="module" src="/static/console.js"></script>'
PATHS = ("/", "/jobs", "/jobs/1", "/failures", "/nothing", "/static/console.css")


async def statuses(conn: Connection) -> list[str]:
    return [row["status"] for row in await conn.fetch("select status from jobs order by id")]


async def test_each_answer_has_the_safe_headers(conn: Connection, browse: Browse) -> None:
    await add(conn)

    def broken(request: Request) -> Access:
        raise ValueError("the program's access fails")

    for client in (await browse(), await browse(lambda _: None), await browse(broken)):
        for path in PATHS:
            for headers in (HTML, JSON):
                got = (await client.get(path, headers=headers)).headers
                assert got["content-security-policy"].startswith("default-src 'none'; ")
                assert "unsafe" not in got["content-security-policy"]
                assert got["x-content-type-options"] == "nosniff"
                assert got["referrer-policy"] == "same-origin"
                assert got["cache-control"] == "no-store"
                assert got["x-robots-tag"] == "noindex"


async def test_no_page_has_a_script_or_a_style_within(conn: Connection, browse: Browse) -> None:
    await ended(conn, "no")
    client = await browse()
    for path in ("/", "/jobs", "/jobs/1", "/failures"):
        page = (await client.get(path)).text
        assert not any(part in page for part in ("<style", " style=", " onclick="))
        assert re.findall(r"<script.*?</script>", page, re.DOTALL) == [SCRIPT]


async def test_access_may_be_async_and_may_send_to_a_login(browse: Browse) -> None:
    async def who_may(request: Request) -> Any:
        return RedirectResponse("/login", 303)

    client = await browse(who_may)
    for path in ("/", "/jobs", "/nothing"):
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_without_access_nothing_is_shown_or_done(conn: Connection, browse: Browse) -> None:
    job_id = await add(conn, "mail-of-nobody")
    client = await browse(lambda _: None)
    for headers in (HTML, JSON):
        for path in ("/", "/jobs", f"/jobs/{job_id}", "/failures", "/nothing"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 403
            assert "mail-of-nobody" not in answer.text
    answer = await client.post(f"/jobs/{job_id}/cancel", headers=OWN_FORM)
    assert answer.status_code == 403
    assert await statuses(conn) == ["pending"]


async def test_whatever_else_access_returns_refuses(browse: Browse) -> None:
    for odd in (True, "admin", {"may": "admin"}):
        client = await browse(lambda _, odd=odd: odd)
        assert (await client.get("/")).status_code == 500


def test_an_access_without_a_user_or_of_an_unknown_level_is_refused() -> None:
    for user, may in (("", "observe"), (None, "observe"), ("anna", "root"), ("anna", None)):
        with pytest.raises(InvalidArgument):
            Access(user, may)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        console(App())  # type: ignore[call-arg]


async def test_an_observer_changes_nothing_and_sees_no_payload(
    conn: Connection, browse: Browse
) -> None:
    job_id = await add(conn, payload='{"a": "secret"}', unique_key="secret")
    failed = await ended(conn, "secret")
    client = await browse(OBSERVER)
    for headers in (HTML, JSON):
        for path in ("/jobs", f"/jobs/{job_id}", f"/jobs/{failed}", "/failures"):
            page = await client.get(path, headers=headers)
            assert page.status_code == 200
            assert "secret" not in page.text
            assert 'method="post"' not in page.text
        for action in ("retry", "cancel"):
            for each in (job_id, failed):
                answer = await client.post(f"/jobs/{each}/{action}", headers=headers | OWN_FORM)
                assert answer.status_code == 403
    assert await statuses(conn) == ["pending", "failed"]


async def test_an_observer_with_payloads_sees_them(conn: Connection, browse: Browse) -> None:
    await add(conn, payload='{"a": "seen"}')
    client = await browse(Access("otto", "observe", payloads=True))
    assert "seen" in (await client.get("/jobs/1")).text


@pytest.mark.parametrize("headers", [
    {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "none"},
    {"sec-fetch-site": "cross-site", "origin": "http://console"},
    {"origin": "http://evil.example"}, {"origin": "http://console.evil.example"},
    {"origin": "null"}, {"origin": "console"}, {"origin": "http://[console"},
    {"origin": "http://console:81"}, {},
], ids=str)
async def test_a_form_of_another_site_changes_nothing(
    conn: Connection, browse: Browse, headers: dict[str, str]
) -> None:
    await add(conn)
    client = await browse()
    for wanted in (HTML, JSON):
        answer = await client.post("/jobs/1/cancel", headers=headers | wanted)
        assert answer.status_code == 403
    assert await statuses(conn) == ["pending"]


async def test_a_form_whose_origin_is_the_host_is_taken(conn: Connection, browse: Browse) -> None:
    await add(conn)
    client = await browse()
    answer = await client.post("/jobs/1/cancel", headers={"origin": "http://console"})
    assert answer.status_code == 303
    assert await statuses(conn) == ["cancelled"]


async def test_a_link_changes_nothing(conn: Connection, browse: Browse) -> None:
    await add(conn)
    client = await browse()
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = await client.request(method, "/jobs/1/cancel", headers=OWN_FORM)
        assert answer.status_code == 405
    assert await statuses(conn) == ["pending"]


async def test_an_admin_may_do_no_more_than_the_databases_role(
    conn: Connection, browse: Browse, make_role: MakeRole, pgjobs_dsn: str
) -> None:
    await add(conn)
    role = await make_role("observer")
    client = await browse(ADMIN, as_role(pgjobs_dsn, role))
    page = await client.get("/jobs/1")
    assert 'method="post"' not in page.text
    answer = await client.post("/jobs/1/cancel", headers=OWN_FORM)
    assert answer.status_code == 403
    assert await statuses(conn) == ["pending"]


async def test_a_role_without_any_right_is_told_what_to_ask_for(
    conn: Connection, browse: Browse, make_role: MakeRole, pgjobs_dsn: str
) -> None:
    await add(conn, "mail-of-nobody")
    client = await browse(ADMIN, as_role(pgjobs_dsn, await make_role()))
    for headers in (HTML, JSON):
        for path in ("/", "/jobs", "/jobs/1"):
            page = await client.get(path, headers=headers)
            assert page.status_code == 200
            assert "pgjobs grant ROLE observer" in page.text
            assert "mail-of-nobody" not in page.text


async def test_another_role_acts_than_the_one_that_reads(
    conn: Connection, browse: Browse, make_role: MakeRole, pgjobs_dsn: str
) -> None:
    await add(conn)
    reads, acts = await make_role("observer"), await make_role("admin")
    client = await browse(
        ADMIN, as_role(pgjobs_dsn, reads), actions_dsn=as_role(pgjobs_dsn, acts)
    )
    assert 'action="/jobs/1/cancel"' in (await client.get("/jobs/1")).text
    assert (await client.post("/jobs/1/cancel", headers=OWN_FORM)).status_code == 303
    assert "Was cancelled" in (await client.get("/jobs/1")).text
    assert await conn.fetchval("select db_role from jobs_audit where action = 'cancel'") == acts


async def test_a_database_that_takes_no_changes_is_looked_at_only(
    conn: Connection, browse: Browse, make_role: MakeRole, pgjobs_dsn: str
) -> None:
    await add(conn)
    role = await make_role("admin")
    await conn.execute(f'alter role "{role}" set default_transaction_read_only = on')
    client = await browse(ADMIN, as_role(pgjobs_dsn, role))
    for path in ("/", "/jobs", "/jobs/1"):
        page = await client.get(path)
        assert "the database takes no changes now" in page.text
        assert 'method="post"' not in page.text
        assert (await client.get(path, headers=JSON)).json()["troubles"] == []
    answer = await client.post("/jobs/1/cancel", headers=OWN_FORM)
    assert answer.status_code == 403
    assert await statuses(conn) == ["pending"]


async def test_a_locked_table_leaves_the_last_values_and_their_age(
    conn: Connection, other: Connection, browse: Browse
) -> None:
    job_id = await add(conn, "seen-before")
    client = await browse()
    for path in ("/", "/jobs", f"/jobs/{job_id}"):
        assert (await client.get(path)).status_code == 200
    # The answers are made old, so that the pages ask again.
    kept = client._transport.app._reading  # type: ignore[attr-defined]
    (await kept._here()).changes += 1
    unseen = await add(conn)
    async with other.transaction():
        await other.execute("lock table jobs")
        for path in ("/", "/jobs", f"/jobs/{job_id}", f"/jobs/{unseen}"):
            began = time.monotonic()
            page = await client.get(path)
            assert time.monotonic() - began < 3
            assert page.status_code == 200
            assert "the database gave no answer within 2 s" in page.text, path
            if path not in ("/", f"/jobs/{unseen}"):
                assert "seen-before" in page.text
                assert "old." in page.text
        began = time.monotonic()
        told = (await client.get("/jobs", headers=JSON)).json()
        assert time.monotonic() - began < 3
        assert told["troubles"]
        assert told["stale_s"] > 0
        answer = await client.post(f"/jobs/{job_id}/cancel", headers=OWN_FORM)
        assert answer.status_code == 503
        assert "nothing was changed" in answer.text
    for path in ("/", "/jobs", f"/jobs/{job_id}"):
        assert "no answer" not in (await client.get(path)).text
    assert await statuses(conn) == ["pending", "pending"]


async def test_a_server_that_cannot_be_reached_leaves_a_page(browse: Browse) -> None:
    client = await browse(ADMIN, "postgresql://nobody@127.0.0.1:1/none")
    for path in ("/", "/jobs", "/jobs/1"):
        page = await client.get(path)
        assert page.status_code == 200
        assert "the database could not be read" in page.text
    assert (await client.post("/jobs/1/cancel", headers=OWN_FORM)).status_code == 403


async def test_viewers_share_a_look_up(conn: Connection, browse: Browse) -> None:
    await add(conn)
    client = await browse()
    await asyncio.gather(*(client.get("/jobs") for _ in range(30)))
    pool = (await client._transport.app._reading._here()).pool  # type: ignore[attr-defined]
    assert pool.get_size() <= 3


async def test_who_waits_during_a_change_gets_the_answer_after_it(
    conn: Connection, other: Connection, browse: Browse
) -> None:
    await add(conn)
    client = await browse()
    await client.get("/")  # the rights are known
    here = await client._transport.app._reading._here()  # type: ignore[attr-defined]
    async with other.transaction():
        await other.execute("lock table jobs")
        early = asyncio.create_task(client.get("/jobs/1"))
        while ("listed", 1) not in here.kept:
            await asyncio.sleep(0.01)
        here.changes += 1  # as an action of another viewer does
        late = asyncio.create_task(client.get("/jobs/1"))
        first = here.kept["listed", 1].task
        while here.kept["listed", 1].task is first:
            await asyncio.sleep(0.01)
    for page in (await early, await late):
        assert page.status_code == 200
        assert "Waits to start" in page.text


async def test_what_takes_long_is_shown_at_once_and_asked_again(
    conn: Connection, browse: Browse
) -> None:
    client = await browse()
    lookups = client._transport.app._reading  # type: ignore[attr-defined]
    here = await lookups._here()
    may_answer = asyncio.Event()
    until = asyncio.get_running_loop().time() + 10

    async def slow(_: object) -> str:
        await may_answer.wait()
        return "new"

    async def quick(_: object) -> str:
        return "old"

    assert (await lookups.look("key", quick, until)).value == "old"
    here.kept["key"].read_at -= 5
    seen = await lookups.look("key", slow, until, at_once_for_s=10)
    assert (seen.value, seen.trouble) == ("old", None)
    may_answer.set()
    await here.kept["key"].task
    assert (await lookups.look("key", slow, until, at_once_for_s=10)).value == "new"
    # After an action nothing old is shown.
    here.changes += 1
    assert (await lookups.look("key", quick, until, at_once_for_s=10)).value == "old"


async def test_a_database_without_pgjobs_is_told_so(browse: Browse, empty_dsn: str) -> None:
    client = await browse(ADMIN, empty_dsn)
    assert "run `pgjobs migrate --schema public`" in (await client.get("/")).text


@pytest.mark.parametrize("root_path", ["", "/behind/a proxy"])
async def test_the_links_hold_below_each_prefix(
    conn: Connection, pgjobs_dsn: str, root_path: str
) -> None:
    await add(conn)
    api = FastAPI()
    mounted = console(App(pgjobs_dsn), access=lambda _: ADMIN)
    api.mount("/jobs", mounted)
    transport = httpx.ASGITransport(api, root_path=root_path)
    headers = HTML | {"host": "inner:8000", "x-forwarded-proto": "https"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://inner:8000", headers=headers
    ) as client:
        prefix = f"{root_path.replace(' ', '%20')}/jobs"
        # The server of a stripped prefix puts it back into the path (ASGI).
        for path in ("/jobs/", "/jobs/jobs", "/jobs/jobs/1"):
            page = await client.get(root_path + path)
            assert page.status_code == 200, page.text
            assert f'href="{prefix}/static/console.css"' in page.text
            assert "http:" not in page.text
            assert "//inner" not in page.text
        page = await client.get(f"{root_path}/jobs/jobs/1")
        assert f'action="{prefix}/jobs/1/cancel"' in page.text
        assert (await client.get(f"{root_path}/jobs/static/console.css")).status_code == 200
        done = await client.post(f"{root_path}/jobs/jobs/1/cancel", headers=OWN_FORM)
        assert (done.status_code, done.headers["location"]) == (303, f"{prefix}/jobs/1")
    await mounted._reading.close()  # type: ignore[attr-defined]


async def test_static_files_lead_nowhere_else(browse: Browse) -> None:
    client = await browse()
    css = await client.get("/static/console.css")
    assert css.headers["content-type"].startswith("text/css")
    script = await client.get("/static/console.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert len(script.text.splitlines()) <= 200
    for name in ("..%2fconsole.py", "%2e%2e/console.py", "layout.html"):
        assert (await client.get(f"/static/{name}")).status_code == 404


async def test_a_form_that_is_too_large_is_refused(conn: Connection, browse: Browse) -> None:
    await add(conn)
    client = await browse()
    answer = await client.post("/jobs/1/cancel", content=b"x" * 100_000, headers=OWN_FORM)
    assert answer.status_code == 413
    assert await statuses(conn) == ["pending"]
