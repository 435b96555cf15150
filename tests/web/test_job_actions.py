"""What is done with one job: run now, delete, a copy; what a ticket says; links and redaction."""

import logging
import re
from datetime import timedelta
from html import unescape
from typing import Any

import asyncpg
import httpx
import pytest
from web.conftest import ADMIN, HTML, JSON, OBSERVER, OWN_FORM, Browse, as_role
from web.scene import HOSTILE, add, ended, later, world

from pgjobs import App
from pgjobs.errors import InvalidArgument
from pgjobs.web import Access, console

Connection = asyncpg.Connection
TOMORROW = timedelta(days=1)
OPERATOR = Access("olga", "operate", payloads=True)
BLIND_OPERATOR = Access("olga", "operate")
ACTIONS = ("run", "copy", "delete")


async def post(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    return await client.post(path, data=fields, headers=OWN_FORM)


async def buttons(client: httpx.AsyncClient, job_id: int) -> list[str]:
    page = await client.get(f"/jobs/{job_id}", headers=JSON)
    actions: list[str] = page.json()["page"]["actions"]
    return actions


async def copied(client: httpx.AsyncClient, job_id: int) -> str:
    """The payload as the form of a copy has it."""
    page = (await client.get(f"/jobs/{job_id}/copy")).text
    (text,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    return unescape(text)


async def test_a_job_that_is_due_later_is_run_now_by_the_databases_clock(
    conn: Connection, browse: Browse
) -> None:
    job_id = await later(conn)
    client = await browse(OPERATOR)
    assert "run now" in await buttons(client, job_id)
    done = await post(client, f"/jobs/{job_id}/run")
    assert (done.status_code, done.headers["location"]) == (303, f"/jobs/{job_id}")
    assert await conn.fetchval("select run_at <= clock_timestamp() from jobs")
    assert tuple(await conn.fetchrow("select action, actor, job_id from jobs_audit")) == (
        "edit", "olga", job_id
    )
    assert "run now" not in await buttons(client, job_id)


async def test_a_job_that_is_due_keeps_its_place_when_a_stale_tab_runs_it(
    conn: Connection, browse: Browse
) -> None:
    job_id = await add(conn)
    before = await world(conn)
    client = await browse(OPERATOR)
    assert await buttons(client, job_id) == ["cancel", "copy"]
    assert (await post(client, f"/jobs/{job_id}/run")).status_code == 303
    assert await world(conn) == before


async def test_a_blocked_job_that_is_due_later_is_made_due(
    conn: Connection, browse: Browse
) -> None:
    parent = await add(conn)
    child = await conn.fetchval(
        "select id from jobs_enqueue('mail', depends_on => array[$1::bigint],"
        " run_at => now() + interval '1 day')", parent,
    )
    client = await browse(OPERATOR)
    assert await buttons(client, child) == ["run now", "cancel", "copy"]
    await post(client, f"/jobs/{child}/run")
    row = await conn.fetchrow("select status, run_at <= clock_timestamp() from jobs where id = $1",
                              child)
    assert tuple(row) == ("blocked", True)
    assert await buttons(client, child) == ["cancel", "copy"]


async def test_a_job_that_runs_or_has_ended_is_not_run_now(
    conn: Connection, browse: Browse
) -> None:
    failed = await ended(conn, "no")
    running = await add(conn)
    await conn.execute("select jobs_claim('w', '{default}')")
    before = await world(conn)
    client = await browse()
    assert await buttons(client, failed) == ["retry", "copy", "delete"]
    assert await buttons(client, running) == ["cancel", "copy"]
    for job_id in (failed, running):
        answer = await post(client, f"/jobs/{job_id}/run")
        assert answer.status_code == 409
        assert "it waits no more" in answer.text
    assert (await post(client, "/jobs/99/run")).status_code == 404
    assert await world(conn) == before


async def test_a_job_that_has_ended_is_deleted_after_a_word(
    conn: Connection, browse: Browse
) -> None:
    first, second = await ended(conn, "no"), await ended(conn)
    client = await browse(ADMIN)
    for word in ("", "yes", str(second), "delet"):
        refused = await post(client, f"/jobs/{first}/delete", word=word)
        assert refused.status_code == 400
        assert "nothing was deleted" in refused.text
    assert await conn.fetchval("select count(*) from jobs") == 2
    for job_id, word in ((first, f" {first} "), (second, "Delete")):
        done = await post(client, f"/jobs/{job_id}/delete", word=word)
        assert (done.status_code, done.headers["location"]) == (303, "/jobs")
        assert (await client.get(f"/jobs/{job_id}")).status_code == 404
    rows = await conn.fetch("select action, actor, jobs from jobs_audit")
    assert [tuple(row) for row in rows] == [("delete", "anna", 1)] * 2
    again = await post(client, f"/jobs/{first}/delete", word="delete")
    assert again.status_code == 409


async def test_a_job_that_has_not_ended_is_not_deleted(conn: Connection, browse: Browse) -> None:
    job_id = await add(conn)
    client = await browse(ADMIN)
    assert "/delete" not in (await client.get(f"/jobs/{job_id}")).text
    refused = await post(client, f"/jobs/{job_id}/delete", word="delete")
    assert refused.status_code == 409
    assert "only a job that has ended can be" in refused.text
    assert await conn.fetchval("select count(*) from jobs") == 1


async def test_a_copy_with_a_changed_payload_is_a_new_job(
    conn: Connection, browse: Browse
) -> None:
    job_id = await ended(conn, "no", payload='{"to": "anna"}')
    client = await browse(OPERATOR)
    assert f'href="/jobs/{job_id}/copy"' in (await client.get(f"/jobs/{job_id}")).text
    done = await post(client, f"/jobs/{job_id}/copy", payload='{"to": "otto"}')
    made = await conn.fetchval("select max(id) from jobs")
    assert (done.status_code, done.headers["location"]) == (303, f"/jobs/{made}")
    rows = await conn.fetch("select id, status, payload->>'to' from jobs order by id")
    assert [tuple(row) for row in rows] == [
        (job_id, "failed", "anna"), (made, "pending", "otto")
    ]
    assert tuple(await conn.fetchrow("select action, actor, job_id from jobs_audit")) == (
        "copy", "olga", job_id
    )


@pytest.mark.parametrize("payload", [
    '{"n": 12345678901234567890, "f": 1.10, "e": 1e400, "s": "a\\r\\n, \\"{</textarea>"}',
    "[]", '"a"', "null", '{"a": {}, "b": [1.0, -0.00]}', '{"\\u202e": "\\u007f\\u00a0"}',
])
async def test_a_payload_that_nobody_has_changed_is_copied_exactly(
    conn: Connection, browse: Browse, payload: str
) -> None:
    job_id = await add(conn, payload=payload)
    client = await browse(OPERATOR)
    text = await copied(client, job_id)
    await post(client, f"/jobs/{job_id}/copy", payload=text.replace("\n", "\r\n"))
    texts = [row[0] for row in await conn.fetch("select payload::text from jobs")]
    assert len(texts) == 2
    assert texts[0] == texts[1]


@pytest.mark.parametrize("text", [
    '{"a": tru}', "", " ", "{'a': 1}", '{"a": "\\u0000"}', "[1", "\0",
])
async def test_what_is_no_json_is_refused_and_stays_in_the_form(
    conn: Connection, browse: Browse, text: str
) -> None:
    job_id = await add(conn)
    before = await world(conn)
    client = await browse(OPERATOR)
    refused = await post(client, f"/jobs/{job_id}/copy", payload=text)
    assert refused.status_code == 400
    assert "no job was made" in refused.text
    (kept,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", refused.text, re.DOTALL)
    assert unescape(kept) == text
    told = await client.post(
        f"/jobs/{job_id}/copy", data={"payload": text}, headers=OWN_FORM | JSON
    )
    assert told.status_code == 400
    assert "no job was made" in told.json()["error"]
    assert await world(conn) == before


async def test_who_may_not_see_payloads_copies_a_job_as_it_is(
    conn: Connection, browse: Browse
) -> None:
    job_id = await add(conn, payload='{"a": "secret"}')
    client = await browse(BLIND_OPERATOR)
    for headers in (HTML, JSON):
        page = await client.get(f"/jobs/{job_id}/copy", headers=headers)
        assert page.status_code == 200
        assert "secret" not in page.text
        assert "<textarea" not in page.text
    forged = await post(client, f"/jobs/{job_id}/copy", payload="[1]")
    assert forged.status_code == 403
    assert await conn.fetchval("select count(*) from jobs") == 1
    assert (await post(client, f"/jobs/{job_id}/copy")).status_code == 303
    texts = [row[0] for row in await conn.fetch("select payload::text from jobs")]
    assert texts == ['{"a": "secret"}'] * 2


async def test_a_payload_that_is_too_large_for_the_form_is_copied_as_it_is(
    conn: Connection, browse: Browse
) -> None:
    fits = await add(conn, payload='{"a": "' + "x" * 99_000 + '"}')
    too_long = await add(conn, payload='{"a": "' + "x" * 100_000 + '"}')
    too_wide = await add(conn, payload='{"a": "' + "日" * 90_000 + '"}')
    client = await browse(OPERATOR)
    text = await copied(client, fits)
    assert (await post(client, f"/jobs/{fits}/copy", payload=text + " " * 100_000)
            ).status_code == 303
    for job_id in (too_long, too_wide):
        page = (await client.get(f"/jobs/{job_id}/copy")).text
        assert "<textarea" not in page
        assert "too large for a form" in page
        assert (await post(client, f"/jobs/{job_id}/copy")).status_code == 303
    assert await conn.fetchval("select count(*) from jobs") == 6


async def test_an_observer_and_a_forged_form_change_no_job(
    conn: Connection, browse: Browse, pgjobs_dsn: str, make_role: Any
) -> None:
    waits, failed = await later(conn), await ended(conn, "no")
    observers_role = as_role(pgjobs_dsn, await make_role("observer"))
    replica = await make_role("admin")
    await conn.execute(f'alter role "{replica}" set default_transaction_read_only = on')
    before = await world(conn)
    clients = [
        (await browse(OBSERVER), OWN_FORM), (await browse(ADMIN, observers_role), OWN_FORM),
        (await browse(ADMIN, as_role(pgjobs_dsn, replica)), OWN_FORM),
        (await browse(ADMIN), {"sec-fetch-site": "cross-site"}),
        (await browse(ADMIN), {"origin": "http://evil.example"}),
    ]
    for client, headers in clients:
        for wanted in (HTML, JSON):
            for job_id in (waits, failed):
                for action in ACTIONS:
                    answer = await client.post(
                        f"/jobs/{job_id}/{action}", headers=headers | wanted,
                        data={"word": "delete", "payload": "[]"},
                    )
                    assert answer.status_code == 403, action
    assert (await clients[0][0].get(f"/jobs/{waits}/copy")).status_code == 403
    operator = await browse(OPERATOR)
    refused = await post(operator, f"/jobs/{failed}/delete", word="delete")
    assert refused.status_code == 403
    assert "delete" not in await buttons(operator, failed)
    assert await world(conn) == before


async def test_a_ticket_tells_the_job_and_its_last_error(
    conn: Connection, browse: Browse
) -> None:
    job_id = await ended(conn, "Disk: full\nline 2", reference_type="order", reference_id=4711)
    client = await browse(OPERATOR)
    page = (await client.get(f"/jobs/{job_id}")).text
    assert 'class="needs-script" data-copy="#ticket"' in page
    (ticket,) = re.findall(r'<pre id="ticket"><bdi>(.*?)</bdi></pre>', page, re.DOTALL)
    for line in (f"job: {job_id}", "type: mail", "queue: default", "reference: order:4711",
                 "status: failed", "attempts: 1", "retries: 0 of 0", "Disk: full", "line 2"):
        assert line in ticket.splitlines(), line
    assert ticket.startswith("Failed for good at ")
    hidden = (await (await browse(OBSERVER)).get(f"/jobs/{job_id}")).text
    assert "Disk" not in hidden
    assert f"job: {job_id}" in hidden


@pytest.mark.parametrize("entity", [{"reference_id": 4711}, *(
    {"reference_key": name} for name in HOSTILE
)], ids=str)
async def test_a_link_leads_to_the_programs_own_page(
    conn: Connection, browse: Browse, entity: dict[str, Any]
) -> None:
    about = await add(conn, reference_type="order", **entity)
    other = await add(conn, reference_type="customer", **entity)
    untyped = await add(conn, **entity)
    client = await browse(links={"order": "https://shop.example/orders/{id}?a={id}"})
    page = (await client.get(f"/jobs/{about}")).text
    (href,) = re.findall(r'href="(https:[^"]*)" rel="noreferrer"', page)
    told = httpx.QueryParams(httpx.URL(unescape(href)).query)["a"]
    assert told == str(next(iter(entity.values())))
    assert re.fullmatch(r"https://shop\.example/orders/[\w%.~-]+\?a=[\w%.~-]+", href)
    for job_id in (other, untyped):
        assert "shop.example" not in (await client.get(f"/jobs/{job_id}")).text


@pytest.mark.parametrize("options", [
    {"links": {"order": "javascript:alert({id})"}}, {"links": {"order": "shop.example/{id}"}},
    {"links": {"order": ""}}, {"links": {"order": None}}, {"links": {1: "/a"}},
    {"links": "order"}, {"links": ["order"]}, {"redact": "payload"}, {"links": {"o": " https://a"}},
], ids=str)
def test_odd_links_and_hooks_are_refused_when_the_console_is_made(options: Any) -> None:
    with pytest.raises(InvalidArgument):
        console(App("postgresql://nobody@127.0.0.1:1/none"), access=lambda _: ADMIN, **options)


def masked(job_type: str, name: str, text: str) -> str:
    return re.sub("secret-[0-9]+", "***", text)


async def full_of_secrets(conn: Connection) -> int:
    job_id = await add(
        conn, payload='{"p": "secret-1"}', max_retries=1, headers='{"h": "secret-2"}',
    )
    for error in ("E: secret-3\nand secret-4", "E: secret-5\nand secret-6"):
        await conn.execute("update jobs set run_at = now() - interval '1 second'")
        attempt = await conn.fetchval("select attempt from jobs_claim('w', '{default}')")
        await conn.execute(
            "select jobs_fail($1, $2, worker => 'w', attempt => $3)", job_id, error, attempt
        )
    await conn.execute(
        "update jobs set result = '{\"r\": \"secret-7\"}', progress = '{\"g\": \"secret-8\"}'"
    )
    return job_id


async def test_what_redact_hides_is_shown_nowhere(conn: Connection, browse: Browse) -> None:
    job_id = await full_of_secrets(conn)
    client = await browse(ADMIN, redact=masked)
    for path in ("/", "/jobs", f"/jobs?q={job_id}", f"/jobs/{job_id}", f"/jobs/{job_id}/copy"):
        for headers in (HTML, JSON):
            page = await client.get(path, headers=headers)
            assert page.status_code == 200
            assert "secret" not in page.text, (path, page.text)
    page = (await client.get(f"/jobs/{job_id}")).text
    assert page.count("***") >= 8
    assert "a part of the payload is hidden" in (await client.get(f"/jobs/{job_id}/copy")).text
    seen = {}

    def noting(job_type: str, name: str, text: str) -> str:
        seen[name] = (job_type, text)
        return text

    client = await browse(ADMIN, redact=noting)
    await client.get(f"/jobs/{job_id}")
    assert {name: kind for name, (kind, _) in seen.items()} == dict.fromkeys(
        ("payload", "result", "error", "progress", "headers"), "mail"
    )
    assert "<textarea" in (await client.get(f"/jobs/{job_id}/copy")).text


async def test_a_preview_is_redacted_before_it_is_cut(conn: Connection, browse: Browse) -> None:
    secret = "secret-" + "7" * 50
    await add(conn, payload='{"a": "' + "x" * 180 + secret + '"}')
    client = await browse(ADMIN, redact=lambda _, name, text: text.replace(secret, "***"))
    page = (await client.get("/jobs")).text
    assert "x***" in page
    assert "secret" not in page


@pytest.mark.parametrize("answer", [ValueError("no"), None, b"secret", 7], ids=repr)
async def test_a_text_is_hidden_if_redact_fails(
    conn: Connection, browse: Browse, caplog: pytest.LogCaptureFixture, answer: object
) -> None:
    def failing(job_type: str, name: str, text: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    job_id = await full_of_secrets(conn)
    client = await browse(ADMIN, redact=failing)
    with caplog.at_level(logging.ERROR, "pgjobs.web"):
        for path in ("/jobs", f"/jobs/{job_id}", f"/jobs/{job_id}/copy"):
            for headers in (HTML, JSON):
                page = await client.get(path, headers=headers)
                assert page.status_code == 200
                assert "secret" not in page.text
                assert "<textarea" not in page.text
    assert "(hidden: the program" in (await client.get(f"/jobs/{job_id}")).text
    assert "redact failed on the payload of a job of type 'mail'" in caplog.text
    assert "secret" not in caplog.text


async def test_a_locked_table_holds_up_no_page_of_a_copy(
    conn: Connection, other: Connection, browse: Browse
) -> None:
    job_id = await add(conn)
    client = await browse(OPERATOR)
    async with other.transaction():
        await other.execute("lock table jobs")
        page = await client.get(f"/jobs/{job_id}/copy")
        assert page.status_code == 200
        assert "the payload is not read yet" in page.text
        assert page.elapsed < timedelta(seconds=3)
