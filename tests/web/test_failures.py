"""The page of failures: what failed alike, what became of the jobs, and acting on a group."""

import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import asyncpg
import httpx
import pytest
from web.conftest import ADMIN, JSON, OBSERVER, OWN_FORM, Browse, as_role
from web.scene import HOSTILE, add, ended

from pgjobs.web import Access
from pgjobs.web.pages import failures

Connection = asyncpg.Connection
MakeRole = Callable[..., Awaitable[str]]
OPERATOR = Access("ole", "operate", payloads=True)


async def failed(conn: Connection, error: str, kind: str = "ValueError", **columns: object) -> int:
    """A job whose attempt has just failed; without retries for good."""
    job_id = await add(conn, **{"max_retries": 0, "priority": 9, **columns})  # type: ignore[arg-type]
    await fail_again(conn, job_id, error, kind)
    return job_id


async def fail_again(conn: Connection, job_id: int, error: str, kind: str = "ValueError") -> None:
    await conn.execute("select jobs_start($1, 'w')", job_id)
    await conn.execute("select jobs_fail($1, $2, error_kind => $3)", job_id, error, kind)


async def page_of(client: httpx.AsyncClient, query: str = "") -> Any:
    return (await client.get(f"/failures{query}", headers=JSON)).json()["page"]


def forms(page: str, action: str) -> list[dict[str, str]]:
    """The fields of each form of the page that sends that action."""
    form = rf'<form method="post" action="/failures/{action}">(.*?)</form>'
    found = re.findall(form, page, re.DOTALL)
    return [
        {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', one)}
        for one in found
    ]


async def press(client: httpx.AsyncClient, action: str, place: int = 0) -> httpx.Response:
    """Sends a form of the page, and returns the page that follows."""
    fields = forms((await client.get("/failures")).text, action)[place]
    return await send(client, action, fields)


async def send(client: httpx.AsyncClient, action: str, fields: dict[str, str]) -> httpx.Response:
    told = {"word": action, **fields}
    answer = await client.post(f"/failures/{action}", data=told, headers=OWN_FORM)
    if answer.is_error:
        return answer
    return await client.get(answer.headers["location"], headers=OWN_FORM)


async def test_failures_that_differ_in_numbers_and_quotes_are_one_group(
    conn: Connection, browse: Browse
) -> None:
    await failed(conn, "ValueError: no order 17 of 'Anna'\n\nTraceback")
    await failed(conn, "ValueError: no order 4 of 'B'")
    await failed(conn, "KeyError: 'x'", "KeyError")
    client = await browse()
    told = await page_of(client)
    assert [(g["error_kind"], g["line"], g["jobs"], g["failed"]) for g in told["groups"]] == [
        ("ValueError", "no order * of *", 2, 2), ("KeyError", "*", 1, 1)]
    page = (await client.get("/failures")).text
    assert "no order * of *" in page
    assert 'aria-current="page">Failures</a>' in page
    assert "3 failures within 1 hour." in page
    assert "Retry 2<" in page


async def test_a_job_that_failed_twice_and_is_tried_again_is_retrying(
    conn: Connection, browse: Browse
) -> None:
    job_id = await failed(conn, "no 1", max_retries=5)
    await fail_again(conn, job_id, "no 2")
    client = await browse()
    (group,) = (await page_of(client))["groups"]
    assert (group["attempts"], group["jobs"], group["failed"], group["retrying"]) == (2, 1, 0, 1)
    assert group["job_ids"] == [str(job_id)]
    page = (await client.get("/failures")).text
    assert "retrying</span> 1" in page
    assert not forms(page, "retry")
    fields = forms((await client.get("/failures")).text, "cancel")[0]
    refused = await send(client, "cancel", {**fields, "word": "yes"})
    assert refused.status_code == 400
    assert "type the word cancel" in refused.text
    told = (await send(client, "cancel", fields)).text
    assert "1 job was cancelled" in told
    assert await conn.fetchval("select status from jobs") == "cancelled"
    assert await conn.fetchval("select actor from jobs_audit where action = 'cancel'") == "anna"


async def test_a_job_that_runs_again_is_asked_to_stop_and_one_that_completed_is_left_alone(
    conn: Connection, connect: Any, browse: Browse
) -> None:
    good = await failed(conn, "no 1", max_retries=5)
    await failed(conn, "no 2", max_retries=5)
    await conn.execute("update jobs set run_at = now() - interval '1 s'")
    other = await connect()
    assert len(await other.fetch("select from jobs_claim('v', max_jobs => 2)")) == 2
    client = await browse()
    assert (await page_of(client))["groups"][0]["retrying"] == 2
    fields = forms((await client.get("/failures")).text, "cancel")[0]
    await other.execute("select jobs_complete($1)", good)
    assert "1 job was cancelled, or asked to stop" in (await send(client, "cancel", fields)).text
    rows = await conn.fetch("select status, cancel_requested_at is not null from jobs order by id")
    assert [tuple(row) for row in rows] == [("completed", False), ("processing", True)]


async def test_all_of_a_group_that_failed_for_good_are_retried_step_by_step(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MAX_STEP_JOBS", 2)
    ids = [await failed(conn, f"no {n}") for n in range(3)]
    other = await failed(conn, "other")
    client = await browse()
    assert "Retry 3, 2 at a time" in (await client.get("/failures")).text
    page = await press(client, "retry")
    assert "2 jobs were retried; 1 is left." in page.text
    assert "Continue: Retry 1<" in page.text
    # One fails again meanwhile, and is not retried again by the next step.
    await fail_again(conn, ids[0], "no 9")
    page = await send(client, "retry", forms(page.text, "retry")[0])
    assert "3 jobs were retried; 0 are left." in page.text
    rows = await conn.fetch("select id, status from jobs order by id")
    assert {row["id"]: row["status"] for row in rows} == {
        ids[0]: "failed", ids[1]: "pending", ids[2]: "pending", other: "failed"}
    notes = await conn.fetch(
        "select actor, jobs, filters::text from jobs_audit where action = 'retry' order by id"
    )
    assert [(note["actor"], note["jobs"]) for note in notes] == [("anna", 2), ("anna", 1)]
    assert str(ids[0]) in notes[0]["filters"]
    newest = (await page_of(client))["groups"]
    assert [(g["line"], g["failed"], g["retrying"]) for g in newest] == [
        ("no *", 1, 2), ("other", 1, 0)]


async def test_a_job_whose_key_another_one_holds_is_left_and_the_page_says_so(
    conn: Connection, browse: Browse
) -> None:
    await failed(conn, "no 1", unique_key="k")
    await add(conn, unique_key="k")
    page = (await press(await browse(), "retry")).text
    assert "0 jobs were retried; 1 is left." in page
    assert "holds the unique key" in page


async def test_failures_after_the_page_was_read_are_not_acted_on(
    conn: Connection, browse: Browse
) -> None:
    await failed(conn, "no 1")
    client = await browse()
    fields = forms((await client.get("/failures")).text, "retry")[0]
    late = await failed(conn, "no 2")
    await send(client, "retry", fields)
    assert await conn.fetchval("select status from jobs where id = $1", late) == "failed"


async def test_the_period_the_type_and_the_queue_stand_in_the_address(
    conn: Connection, browse: Browse
) -> None:
    old = await failed(conn, "no 1")
    await conn.execute("update jobs_attempts set ended_at = ended_at - interval '2 hours'")
    await failed(conn, "no 2", job_type="fax", queue="q2")
    client = await browse()
    assert [g["job_type"] for g in (await page_of(client))["groups"]] == ["fax"]
    day = (await page_of(client, "?within=24h"))["groups"]
    assert [g["job_type"] for g in day] == ["fax", "mail"]
    assert day[1]["job_ids"] == [str(old)]
    assert len((await page_of(client, "?within=7d&type=mail"))["groups"]) == 1
    assert len((await page_of(client, "?within=7d&queue=q2"))["groups"]) == 1
    for query in ("?within=9h", "?before=yesterday", "?before=2026-01-01T00:00:00"):
        assert (await client.get(f"/failures{query}")).status_code == 400


async def test_a_page_that_is_full_says_so_and_goes_on_before(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.database.looking.MAX_READ_ATTEMPTS", 2)
    ids = [await failed(conn, f"no {'abc'[n]}") for n in range(3)]
    client = await browse()
    page = (await client.get("/failures")).text
    assert "The last 2 failures were read, back to" in page
    assert f'/jobs/{ids[0]}"' not in page
    (link,) = re.findall(r'rel="next" href="([^"]*)"', page)
    further = (await client.get(unescape(link))).text
    assert f'/jobs/{ids[0]}"' in further
    assert "Show the newest" in further


async def test_hostile_errors_are_shown_as_text(conn: Connection, browse: Browse) -> None:
    texts = [*HOSTILE, "", "\n", "x" * 1_000_000, "a b " * 2_500, "\r\x1b[31mred\x07"]
    for text in texts:
        await failed(conn, text, text[:600])
    for row in await conn.fetch("select id from jobs limit 1"):
        await conn.execute("update jobs set job_type = $1 where id = $2", HOSTILE[0], row["id"])
    client = await browse()
    answer = await client.get("/failures?type=%3Cscript%3E")
    assert answer.status_code == 200
    answer = await client.get("/failures")
    assert len(answer.content) < 200_000
    assert answer.text.count("<script") == 1  # the console's own
    for part in ("<script>", "<img", "\u202e", "\x1b", "\x07"):
        assert part not in answer.text
    told = await page_of(client)
    assert sum(g["attempts"] for g in told["groups"]) == len(texts)
    # Each group, whatever its text, is found again by its form.
    for fields in forms(answer.text, "retry"):
        assert "were retried; 0 are left" in (
            await send(client, "retry", fields)).text.replace("job was", "jobs were")
    assert await conn.fetchval("select count(*) from jobs where status = 'failed'") == 0


async def test_a_lost_attempt_says_so(conn: Connection, browse: Browse) -> None:
    await add(conn)
    await conn.fetch("select from jobs_claim('w')")
    await conn.execute("update jobs set lease_until = now() - interval '1 s'")
    await conn.execute("select jobs_recover()")
    client = await browse()
    assert "lost with its worker" in (await client.get("/failures")).text


async def test_without_payloads_failures_are_told_by_type_alone(
    conn: Connection, browse: Browse
) -> None:
    await failed(conn, "secret 1", "Secret")
    await failed(conn, "secret", "Other")
    client = await browse(OBSERVER)
    for headers in ({}, JSON):
        page = (await client.get("/failures", headers=headers)).text
        assert "ecret" not in page
        assert "method=\"post\"" not in page
    (group,) = (await page_of(client))["groups"]
    assert (group["job_type"], group["jobs"], group["line"]) == ("mail", 2, None)
    admin = await browse(Access("anna", "admin"))
    assert "2 jobs were retried" in (await press(admin, "retry")).text


async def test_an_observer_of_the_database_sees_no_failures(
    conn: Connection, browse: Browse, pgjobs_dsn: str, make_role: MakeRole
) -> None:
    await failed(conn, "secret")
    role = await make_role("observer")
    client = await browse(ADMIN, as_role(pgjobs_dsn, role))
    assert "may not read attempts" in (await client.get("/failures")).text
    assert (await page_of(client))["groups"] is None


async def test_an_admin_of_the_database_sees_and_retries_them(
    conn: Connection, browse: Browse, pgjobs_dsn: str, make_role: MakeRole
) -> None:
    await failed(conn, "no 1")
    role = await make_role("admin")
    client = await browse(ADMIN, as_role(pgjobs_dsn, role))
    assert "1 job was retried" in (await press(client, "retry")).text


@pytest.mark.parametrize("access", [OBSERVER, OPERATOR], ids=lambda access: access.may)
async def test_who_may_not_act_on_many_jobs_does_not_act_on_a_group(
    conn: Connection, browse: Browse, access: Access
) -> None:
    await failed(conn, "no 1")
    await failed(conn, "no 2", max_retries=5)
    page = (await (await browse()).get("/failures")).text
    client = await browse(access)
    assert not re.search('action="/failures/(retry|cancel)"', (await client.get("/failures")).text)
    for action in ("retry", "cancel"):
        (fields,) = forms(page, action)
        answer = await client.post(f"/failures/{action}", data=fields, headers=OWN_FORM)
        assert answer.status_code == 403
    assert [r["status"] for r in await conn.fetch("select status from jobs order by id")] == [
        "failed", "pending"]


async def test_a_form_without_a_group_or_of_another_site_changes_nothing(
    conn: Connection, browse: Browse
) -> None:
    await failed(conn, "no 1")
    client = await browse()
    for fields in ({}, {"key": "none"}, {"key": "' or true --", "done": "9" * 5000}):
        page = await send(client, "retry", fields)
        assert page.status_code == 200
    (fields,) = forms((await client.get("/failures")).text, "retry")
    answer = await client.post(
        "/failures/retry", data=fields, headers={"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403
    assert await conn.fetchval("select status from jobs") == "failed"


async def test_a_locked_table_leaves_the_last_failures_and_their_age(
    conn: Connection, connect: Any, browse: Browse
) -> None:
    await failed(conn, "seen before")
    client = await browse()
    (fields,) = forms((await client.get("/failures")).text, "retry")
    kept = client._transport.app._reading  # type: ignore[attr-defined]
    (await kept._here()).changes += 1  # so that the page asks again
    other = await connect()
    async with other.transaction():
        await other.execute("lock table jobs")
        for path in ("/failures", "/failures?within=7d"):
            began = time.monotonic()
            page = await client.get(path)
            assert time.monotonic() - began < 3
            assert "the database gave no answer within 2 s" in page.text
            assert ("seen before" in page.text) == (path == "/failures")
        answer = await client.post("/failures/retry", data=fields, headers=OWN_FORM)
        assert answer.status_code == 503
    assert await conn.fetchval("select status from jobs") == "failed"


async def test_only_the_most_frequent_groups_are_shown_and_the_page_says_so(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.database.looking.MAX_GROUPS", 1)
    for error in ("rare", "often", "often"):
        await failed(conn, error)
    page = (await (await browse()).get("/failures")).text
    assert "Only the most frequent groups are shown" in page
    assert "often" in page
    assert "rare" not in page


async def test_times_are_those_of_the_first_and_the_last_failure(
    conn: Connection, browse: Browse
) -> None:
    await failed(conn, "no 1")
    await conn.execute("update jobs_attempts set ended_at = ended_at - interval '10 min'")
    await failed(conn, "no 2")
    await ended(conn)
    (group,) = (await page_of(await browse()))["groups"]
    first, last = (datetime.fromisoformat(group[name]) for name in ("first_at", "last_at"))
    assert last - first == pytest.approx(timedelta(minutes=10), abs=timedelta(seconds=30))
    assert datetime.now(UTC) - last < timedelta(minutes=1)
