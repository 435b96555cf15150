"""Many jobs at once: ticked ones, and everything that matches the filters of the list."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
import httpx
import pytest
from web.conftest import ADMIN, HTML, JSON, OBSERVER, OWN_FORM, Browse, as_role
from web.scene import HOSTILE, add, ended, later, world

from pgjobs.web import Access

Connection = asyncpg.Connection
OPERATOR = Access("olga", "operate", payloads=True)
KINDS = ("retry", "cancel", "run", "delete")


async def fill(conn: Connection, jobs: int, **fields: object) -> None:
    """So many pending jobs of one kind."""
    await conn.execute(
        "select jobs_enqueue_many((select jsonb_agg($1::jsonb) from generate_series(1, $2)))",
        json.dumps({"job_type": "mail", **fields}), jobs,
    )


async def end(conn: Connection, status: str) -> None:
    """Ends all pending jobs, as their workers would."""
    await conn.execute(
        "update jobs set status = $1, finished_at = clock_timestamp(), attempt = 1"
        " where status = 'pending'", status,
    )


async def preview(
    client: httpx.AsyncClient, action: str, **query: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The view of the preview, and the fields of its form."""
    params = {"action": action, **query}
    view = (await client.get("/jobs/many", params=params, headers=JSON)).json()["page"]
    page = await client.get("/jobs/many", params={**params, "as_of": view["as_of"]})
    return view, form(page.text)


def form(page: str) -> dict[str, Any]:
    """The hidden fields of the page's form."""
    fields: dict[str, Any] = {}
    (html,) = re.findall(r'<form method="post".*?</form>', page, re.DOTALL)
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', html):
        fields.setdefault(name, []).append(unescape(value))
    return fields


async def step(client: httpx.AsyncClient, action: str, fields: dict[str, Any]) -> httpx.Response:
    return await client.post(f"/jobs/many/{action}", data=fields, headers=OWN_FORM)


async def run(client: httpx.AsyncClient, action: str, **query: Any) -> list[str]:
    """Goes from the preview to the end; returns what each page says is done."""
    _, fields = await preview(client, action, **query)
    fields["word"] = action
    told = []
    for _ in range(20):
        sent = await step(client, action, fields)
        assert sent.status_code == 303, sent.text
        page = await client.get(sent.headers["location"], headers=OWN_FORM)
        told += re.findall(r'class="sentence" role="status">(.*?)</p>', page.text, re.DOTALL)
        if "<form method=\"post\"" not in page.text:
            assert told[-1].startswith(("Done: ", "Nothing was changed"))
            return told
        assert "data-continue" in page.text
        fields = form(page.text)
    raise AssertionError(told)


async def statuses(conn: Connection) -> dict[str, int]:
    rows = await conn.fetch("select status, count(*) from jobs group by status")
    return {row["status"]: row["count"] for row in rows}


async def test_ticked_jobs_are_retried(conn: Connection, browse: Browse) -> None:
    first, second, kept = [await ended(conn, "no") for _ in range(3)]
    waits = await add(conn)
    client = await browse()
    page = (await client.get("/jobs")).text
    assert f'<input type="checkbox" name="id" value="{first}" aria-label="Tick job ' in page
    view, fields = await preview(client, "retry", id=[first, second, waits])
    assert (view["jobs"], view["told_jobs"]) == (2, "2")
    assert sorted(job["id"] for job in view["first"]) == [str(first), str(second)]
    sent = await step(client, "retry", fields)
    assert "2 jobs are made pending again" in (await client.get(sent.headers["location"])).text
    assert await conn.fetchval("select status from jobs where id = $1", kept) == "failed"
    assert await statuses(conn) == {"pending": 3, "failed": 1}
    rows = await conn.fetch("select action, actor, jobs from jobs_audit")
    assert [tuple(row) for row in rows] == [("retry", "anna", 2)]


async def test_everything_that_matches_is_changed_in_steps(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.web.pages.many.STEP_JOBS", 20)
    await fill(conn, 50, queue="files")
    await end(conn, "failed")
    await fill(conn, 5, queue="files")
    await ended(conn, "no")
    client = await browse()
    page = (await client.get("/jobs?status=failed&queue=files")).text
    assert 'Everything that matches:' in page
    view, _ = await preview(client, "retry", status="failed", queue="files")
    assert (view["told_jobs"], len(view["first"])) == ("50", 10)
    told = await run(client, "retry", status="failed", queue="files")
    assert told == [
        "20 jobs are made pending again; 30 left.", "40 jobs are made pending again; 10 left.",
        "Done: 50 jobs are made pending again.",
    ]
    assert await statuses(conn) == {"pending": 55, "failed": 1}
    rows = await conn.fetch(
        "select action, actor, jobs, filters->>'queues' as q from jobs_audit order by id"
    )
    assert [tuple(row) for row in rows] == [
        ("retry", "anna", jobs, '["files"]') for jobs in (20, 20, 10)
    ]


@pytest.mark.parametrize(("action", "status", "left"), [
    ("delete", "completed", {"pending": 1, "failed": 1, "cancelled": 1, "processing": 1}),
    ("delete", None, {"pending": 1, "processing": 1}),
    ("retry", None, {"pending": 2, "completed": 1, "cancelled": 1, "processing": 1}),
    ("cancel", "pending", {"cancelled": 2, "failed": 1, "completed": 1, "processing": 1}),
    ("cancel", None, {"cancelled": 2, "failed": 1, "completed": 1, "processing": 1}),
], ids=str)
async def test_the_preview_counts_what_is_changed_and_nothing_else(
    conn: Connection, browse: Browse, action: str, status: str | None, left: dict[str, int]
) -> None:
    for each in ("completed", "failed", "cancelled"):
        await fill(conn, 1)
        await end(conn, each)
    running = await add(conn)
    await conn.execute("select jobs_claim('w', '{default}')")
    await add(conn)
    await add(conn, "other")
    other = await conn.fetchrow("select * from jobs where job_type = 'other'")
    before = await statuses(conn)
    client = await browse()
    query = {"type": "mail", **({} if status is None else {"status": status})}
    view, _ = await preview(client, action, **query)
    await run(client, action, **query)
    assert await conn.fetchrow("select * from jobs where job_type = 'other'") == other
    after = await statuses(conn)
    after["pending"] -= 1
    assert {name: count for name, count in after.items() if count} == left
    asked = await conn.fetchval(
        "select cancel_requested_at is not null from jobs where id = $1", running
    )
    assert asked is (action == "cancel" and status is None)
    before["pending"] -= 1
    changed = sum(max(0, count - left.get(name, 0)) for name, count in before.items()) + asked
    assert view["jobs"] == changed


async def test_a_list_offers_only_what_fits_its_status(conn: Connection, browse: Browse) -> None:
    await add(conn)
    client = await browse()
    fitting = {
        "pending": ["cancel", "run"], "processing": ["cancel"], "blocked": ["cancel", "run"],
        "completed": ["delete"], "failed": ["retry", "delete"], "cancelled": ["delete"],
    }
    for status, actions in fitting.items():
        page = (await client.get("/jobs", params={"status": status}, headers=JSON)).json()["page"]
        assert list(page["matching"]) == list(page["ticked"]) == actions
        for action in KINDS:
            answer = await client.get(
                "/jobs/many", params={"action": action, "status": status}, headers=JSON
            )
            assert answer.status_code == (200 if action in actions else 400), (action, status)
            forged = await step(client, action, {
                "status": status, "word": action, "as_of": "2999-01-01T00:00:00+00:00",
            })
            assert forged.status_code == (303 if action in actions else 400)
            await conn.execute("update jobs set status = 'pending', finished_at = null")
    bare = await client.get("/jobs")
    assert "narrow the list by a status" in bare.text
    assert "Everything that matches" not in bare.text
    found = (await client.get("/jobs?q=mail&queue=default", headers=JSON)).json()["page"]
    assert found["matching"] == {}
    assert list(found["ticked"]) == list(KINDS)


async def test_jobs_that_are_due_keep_their_places_when_the_others_are_made_due(
    conn: Connection, browse: Browse
) -> None:
    due = await add(conn)
    await conn.execute("update jobs set run_at = run_at - interval '1 hour'")
    waits, other = await later(conn), await later(conn, job_type="other")
    before = await conn.fetchval("select run_at from jobs where id = $1", due)
    client = await browse()
    view, _ = await preview(client, "run", status="pending", type="mail")
    assert [job["id"] for job in view["first"]] == [str(waits)]
    await run(client, "run", status="pending", type="mail")
    assert await conn.fetchval("select run_at from jobs where id = $1", due) == before
    assert await conn.fetchval("select run_at <= clock_timestamp() from jobs where id = $1", waits)
    assert await conn.fetchval("select run_at > clock_timestamp() from jobs where id = $1", other)
    assert tuple(await conn.fetchrow("select action, actor, jobs from jobs_audit")) == (
        "edit", "anna", 1
    )


@pytest.mark.parametrize("action", ["cancel", "delete"])
async def test_what_cannot_be_undone_wants_a_word(
    conn: Connection, browse: Browse, action: str
) -> None:
    await fill(conn, 3)
    if action == "delete":
        await end(conn, "failed")
    before = await world(conn)
    client = await browse()
    _, fields = await preview(client, action, type="mail")
    for word in ("", "yes", "2", "retry", "3 jobs", "++"):
        refused = await step(client, action, {**fields, "word": word})
        assert refused.status_code == 400
        assert "nothing was changed" in refused.text
    refused = await step(client, action, {**fields, "word": "", "jobs": ""})
    assert refused.status_code == 400
    assert await world(conn) == before
    assert (await step(client, action, {**fields, "word": "3"})).status_code == 303
    assert await conn.fetchval("select coalesce(sum(jobs), 0) from jobs_audit") == 3


async def test_what_comes_or_ends_or_fails_after_the_preview_is_left_alone(
    conn: Connection, browse: Browse
) -> None:
    for _ in range(2):
        await ended(conn, "no")
    running = await add(conn)
    attempt = await conn.fetchval("select attempt from jobs_claim('w', '{default}')")
    client = await browse()
    _, retrying = await preview(client, "retry", type="mail")
    _, deleting = await preview(client, "delete", type="mail")
    _, cancelling = await preview(client, "cancel", type="mail")
    await conn.execute("select jobs_complete($1, null, 'w', $2)", running, attempt)
    late = await add(conn)
    failed_late = await ended(conn, "no")
    await step(client, "cancel", {**cancelling, "word": "cancel"})
    assert await conn.fetchval("select status from jobs where id = $1", late) == "pending"
    await step(client, "retry", retrying)
    assert await conn.fetchval("select status from jobs where id = $1", failed_late) == "failed"
    await conn.execute("update jobs set status = 'failed', finished_at = clock_timestamp()"
                       " where status = 'pending' and id <> $1", late)
    assert "<b>0</b>" not in (await step(client, "retry", retrying)).text
    assert await conn.fetchval("select count(*) from jobs where status = 'failed'") == 3
    await step(client, "delete", {**deleting, "word": "delete"})
    assert await conn.fetchval("select count(*) from jobs") == 5


async def test_a_moment_of_the_future_sweeps_in_no_job_that_comes_later(
    conn: Connection, browse: Browse
) -> None:
    await later(conn)
    client = await browse()
    sent = await step(client, "run", {"type": "mail", "as_of": "2999-01-01T00:00:00+00:00"})
    assert await conn.fetchval("select run_at <= clock_timestamp() from jobs")
    as_of = dict(parse_qsl(sent.headers["location"].partition("?")[2]))["as_of"]
    assert datetime.fromisoformat(as_of) <= datetime.now(UTC)


async def test_a_step_that_is_sent_twice_and_a_stale_tab_do_no_harm(
    conn: Connection, browse: Browse
) -> None:
    await fill(conn, 3)
    await end(conn, "failed")
    client = await browse()
    _, fields = await preview(client, "retry", type="mail")
    await step(client, "retry", fields)
    after = await world(conn)
    again = await step(client, "retry", fields)
    assert "ended=yes" in again.headers["location"]
    assert "Nothing was changed: there are no" in (await client.get(again.headers["location"])).text
    assert await world(conn) == after


async def test_the_last_page_says_why_some_stayed(conn: Connection, browse: Browse) -> None:
    held = await ended(conn, "no", unique_key="k", unique_scope="live")
    await add(conn, unique_key="k", unique_scope="live")
    client = await browse()
    told = await run(client, "retry", type="mail")
    assert told == ["Nothing was changed."]
    sent = await step(client, "retry", (await preview(client, "retry", type="mail"))[1])
    page = (await client.get(sent.headers["location"])).text
    assert "1 that match stayed as they are" in page
    assert "another job holds its unique key" in page
    assert await conn.fetchval("select status from jobs where id = $1", held) == "failed"


async def test_the_count_is_capped(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.web.pages.many.MAX_COUNTED_JOBS", 10)
    await fill(conn, 10)
    client = await browse()
    view, _ = await preview(client, "cancel", status="pending")
    assert view["told_jobs"] == "10"
    await fill(conn, 2)
    view, fields = await preview(client, "cancel", queue="default")
    assert (view["told_jobs"], len(view["first"])) == ("10+", 10)
    sent = await step(client, "cancel", {**fields, "word": "10+"})
    assert sent.status_code == 303


async def test_a_search_that_gives_up_says_so(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.database.looking.MAX_READ_JOBS", 5)
    await fill(conn, 20)
    await end(conn, "failed")
    await fill(conn, 1, queue="rare")
    await end(conn, "failed")
    await conn.execute("update jobs set finished_at = now() - interval '1 h' where queue = 'rare'")
    client = await browse()
    page = await client.get("/jobs/many?action=retry&status=failed&queue=rare", headers=JSON)
    view = page.json()["page"]
    assert (view["jobs"], view["has_given_up"], view["has_ended"]) == (0, True, False)
    html = (await client.get("/jobs/many?action=retry&status=failed&queue=rare")).text
    assert "The search gave up" in html
    told = await run(client, "retry", status="failed", queue="rare")
    assert told[-1].startswith("Done: 1 job is")


async def test_jobs_behind_many_that_are_left_out_are_not_taken_for_none(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.web.pages.many.MAX_COUNTED_JOBS", 5)
    await fill(conn, 20)
    await later(conn)
    client = await browse()
    view, _ = await preview(client, "run", type="mail")
    assert (view["told_jobs"], view["has_given_up"], view["has_ended"]) == ("0+", True, False)
    assert await run(client, "run", type="mail") == ["1 job is made due; 0+ left.",
                                                     "Done: 1 job is made due."]
    assert await conn.fetchval("select max(run_at) <= clock_timestamp() from jobs")


@pytest.mark.parametrize(("query", "status"), [
    ({}, 400), ({"id": "1; drop table jobs"}, 404), ({"id": "-1"}, 404), ({"id": str(2**70)}, 404),
    ({"id": "0"}, 404), ({"id": ""}, 404), ({"id": "\u0661"}, 404), ({"id": ["1", "x"]}, 404),
    ({"id": [str(n) for n in range(1, 5_001)]}, 400), ({"id": "1", "queue": "default"}, 400),
    ({"q": "mail", "queue": "default"}, 400), ({"status": "odd"}, 400), ({"type": "a\0b"}, 400),
    ({"type": "mail", "as_of": "yesterday"}, 400), ({"type": "mail", "as_of": "2020-01-01"}, 400),
    ({"type": "mail", "as_of": "0001-01-01T00:00:00+14:00"}, 400),
    ({"type": "mail", "done": "-1"}, 400), ({"type": "mail", "done": "9" * 30}, 400),
], ids=lambda value: str(value)[:40])
async def test_what_means_no_job_is_refused_and_changes_nothing(
    conn: Connection, browse: Browse, query: dict[str, Any], status: int
) -> None:
    await later(conn)
    await ended(conn, "no")
    before = await world(conn)
    client = await browse()
    for action in KINDS:
        for headers in (HTML, JSON):
            page = await client.get(
                "/jobs/many", params={"action": action, **query}, headers=headers
            )
            assert page.status_code == status, page.text
            sent = await client.post(
                f"/jobs/many/{action}", headers=OWN_FORM | headers,
                data={"as_of": datetime.now(UTC).isoformat(), "word": action, **query},
            )
            assert sent.status_code == status, sent.text
    assert (await client.get("/jobs/many")).status_code == 400
    assert (await client.get("/jobs/many?action=drop&type=mail")).status_code == 400
    for action in ("drop", "copy"):
        assert (await step(client, action, {"type": "mail"})).status_code == 404
    no_moment = await step(client, "retry", {"type": "mail"})
    assert no_moment.status_code == 400
    assert await world(conn) == before


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_lead_through_the_page_to_their_jobs_alone(
    conn: Connection, browse: Browse, name: str
) -> None:
    columns = {"queue": name, "reference_type": name, "reference_key": name, "group_key": name}
    await ended(conn, "no", job_type=name, **columns)
    kept = await ended(conn, "no", queue="q2")
    client = await browse()
    page = await client.get("/jobs", params={"type": name})
    assert page.text.count("<script") == 1  # the console's own
    about = (await client.get("/jobs", headers=JSON)).json()["page"]["jobs"]
    reference = next(job["reference"] for job in about if job["job_type"] == name)
    for query in ({"type": name}, {"queue": name}, {"group": name}, {"reference": reference}):
        await conn.execute("update jobs set status = 'failed', finished_at = now()")
        page = await client.get("/jobs/many", params={"action": "retry", **query})
        assert page.status_code == 200
        assert page.text.count("<script") == 1  # the console's own
        assert "<img" not in page.text
        told = await run(client, "retry", **query)
        assert told == ["Done: 1 job is made pending again."], query
        assert await conn.fetchval("select status from jobs where id = $1", kept) == "failed"


async def test_only_an_admin_acts_on_many_jobs(
    conn: Connection, browse: Browse, pgjobs_dsn: str, make_role: Any
) -> None:
    await later(conn)
    failed = await ended(conn, "no")
    observers_role = as_role(pgjobs_dsn, await make_role("observer"))
    replica = await make_role("admin")
    await conn.execute(f'alter role "{replica}" set default_transaction_read_only = on')
    before = await world(conn)
    clients = [
        (await browse(OBSERVER), OWN_FORM), (await browse(OPERATOR), OWN_FORM),
        (await browse(ADMIN, observers_role), OWN_FORM),
        (await browse(ADMIN, as_role(pgjobs_dsn, replica)), OWN_FORM),
        (await browse(ADMIN), {"sec-fetch-site": "cross-site"}),
        (await browse(ADMIN), {"origin": "http://evil.example"}),
    ]
    for place, (client, headers) in enumerate(clients):
        for wanted in (HTML, JSON):
            for action in KINDS:
                for which in ({"type": "mail"}, {"id": str(failed)}):
                    answer = await client.post(
                        f"/jobs/many/{action}", headers=headers | wanted,
                        data={"as_of": datetime.now(UTC).isoformat(), "word": action, **which},
                    )
                    assert answer.status_code == 403
                    if place < 4:
                        page = await client.get(
                            "/jobs/many", params={"action": action, **which}, headers=wanted
                        )
                        assert page.status_code == 403
        if place < 4:
            assert 'type="checkbox"' not in (await client.get("/jobs?type=mail")).text
            told = (await client.get("/jobs?type=mail", headers=JSON)).json()["page"]
            assert (told["ticked"], told["matching"]) == ({}, {})
    assert await world(conn) == before


async def test_a_role_that_is_admin_takes_a_step_for_one_that_only_reads(
    conn: Connection, browse: Browse, pgjobs_dsn: str, make_role: Any
) -> None:
    await ended(conn, "no")
    reads, acts = await make_role("observer"), await make_role("admin")
    client = await browse(
        ADMIN, as_role(pgjobs_dsn, reads), actions_dsn=as_role(pgjobs_dsn, acts)
    )
    assert await run(client, "retry", type="mail") == ["Done: 1 job is made pending again."]


async def test_a_locked_table_leaves_the_page_and_changes_nothing(
    conn: Connection, other: Connection, browse: Browse
) -> None:
    await ended(conn, "no")
    client = await browse()
    _, fields = await preview(client, "retry", type="mail")
    before = await world(conn)
    async with other.transaction():
        await other.execute("lock table jobs")
        page = await client.get("/jobs/many?action=retry&type=mail&queue=default")
        assert page.status_code == 200
        assert "The jobs are not counted yet" in page.text
        assert page.elapsed < timedelta(seconds=3)
        sent = await step(client, "retry", fields)
        assert sent.status_code == 503
        assert "nothing was changed" in sent.text
    assert await world(conn) == before
