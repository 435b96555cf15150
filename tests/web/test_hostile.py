"""What hostile viewers, rows and servers bring, and what the console makes of it."""

import asyncio
import re
from itertools import product
from typing import Any
from urllib.parse import parse_qsl

import pytest
from asyncpg import Connection
from web.conftest import ADMIN, HTML, JSON, OBSERVER, OWN_FORM, Browse

from pgjobs.connection.link import BROKEN
from pgjobs.connection.tether import tether
from pgjobs.database import Database
from pgjobs.web import Access
from pgjobs.web.lookups import MAX_KEPT_ANSWERS, MAX_LOOK_UPS_AT_ONCE
from pgjobs.web.references import reference_columns, told_reference

OPERATOR = Access("olga", "operate")
ODD = ["a", "a:b", "4711", "007", "-0", '"', '"a"', '"a":b', ":", " ", "a b", '":"', "\\", "é\n"]


async def page_of(client: Any, path: str) -> Any:
    got = await client.get(path, headers=JSON)
    assert got.status_code == 200, got.text
    return got.json()["page"]


async def add(conn: Connection, job_type: str = "mail", **columns: Any) -> int:
    job_id: int = await conn.fetchval("select id from jobs_enqueue($1::text)", job_type)
    for name, value in columns.items():
        await conn.execute(f"update jobs set {name} = $2 where id = $1", job_id, value)
    return job_id


async def test_a_group_whose_name_is_none_is_not_taken_for_no_group(
    conn: Connection, browse: Browse
) -> None:
    await add(conn)
    client = await browse()
    assert len((await page_of(client, "/jobs"))["jobs"]) == 1
    assert (await page_of(client, "/jobs?group=None"))["jobs"] == []


@pytest.mark.parametrize("path", ["/jobs?", "/jobs/many?action=cancel&"])
async def test_a_reference_without_a_type_and_an_entity_stands_for_no_job(
    conn: Connection, browse: Browse, path: str
) -> None:
    await add(conn)
    client = await browse()
    for text in (":", '"":'):
        got = await client.get(path, params={"action": "cancel", "reference": text}, headers=JSON)
        assert got.status_code == 400
        assert "a type, an entity, or both" in got.text
    form = {"reference": ":", "as_of": "2999-01-01T00:00:00+00:00", "word": "cancel"}
    assert (await client.post("/jobs/many/cancel", data=form, headers=OWN_FORM)).status_code == 400
    assert await conn.fetchval("select status from jobs") == "pending"


def test_a_reference_stands_for_no_other_one() -> None:
    for kind, key in product([None, *ODD], ODD):
        row = {"reference_type": kind, "reference_key": key, "reference_id": None}
        wanted = {n: v for n, v in row.items() if v is not None}
        assert reference_columns(told_reference(row)) == wanted
    for kind, number in product([None, *ODD], (0, 7, -7, 2**63 - 1, -(2**63))):
        row = {"reference_type": kind, "reference_key": None, "reference_id": number}
        wanted = {n: v for n, v in row.items() if v is not None}
        assert reference_columns(told_reference(row)) == wanted
    for kind in ODD:
        row = {"reference_type": kind, "reference_key": None, "reference_id": None}
        assert reference_columns(told_reference(row)) == {"reference_type": kind}


async def test_a_key_with_zeros_before_it_is_no_number(conn: Connection, browse: Browse) -> None:
    number = await add(conn, reference_type="order", reference_id=7)
    key = await add(conn, reference_type="order", reference_key="007")
    client = await browse()
    for path, wanted in (
        ("/jobs?reference=order:007", key), ("/jobs?reference=order:7", number),
        ("/jobs?q=order%20007", key), ("/jobs?q=007", key),
    ):
        assert [job["id"] for job in (await page_of(client, path))["jobs"]] == [str(wanted)]


async def test_who_may_not_see_payloads_learns_no_key_by_a_retry(
    conn: Connection, browse: Browse
) -> None:
    add_keyed = "select id from jobs_enqueue('mail', unique_key => 'of-customer-7')"
    first = await conn.fetchval(add_keyed)
    await conn.execute("select jobs_cancel($1)", first)
    await conn.execute(add_keyed)
    client = await browse(OPERATOR)
    got = await client.post(f"/jobs/{first}/retry", headers=OWN_FORM)
    assert got.status_code == 409
    assert "another job holds its unique key" in got.text
    assert "of-customer-7" not in got.text


async def test_who_may_not_see_errors_learns_none_by_a_check(
    conn: Connection, browse: Browse
) -> None:
    await conn.execute("select jobs_schedule('nightly', 'mail', every => interval '1 hour')")
    await conn.execute("update jobs_schedules set error = 'secret 1'")
    await conn.execute("select jobs_retain('completed', interval '1 hour')")
    await conn.execute("update jobs_retention set error = 'secret 2'")
    paths = ("/", "/system", "/schedules", "/schedule?name=nightly", "/metrics")
    for options in ({}, {"redact": lambda job_type, name, text: "gone"}):
        client = await browse(ADMIN if options else OBSERVER, **options)
        for path, accept in product(paths, (HTML, JSON)):
            got = await client.get(path, headers=accept)
            assert got.status_code == 200
            assert "secret" not in got.text, path
    client = await browse()
    assert "secret 1" in (await client.get("/")).text
    assert "secret 2" in (await client.get("/system")).text


async def test_a_moment_that_no_clock_shows_is_refused(browse: Browse) -> None:
    client = await browse()
    for before in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        got = await client.get("/failures", params={"before": before})
        assert got.status_code == 400


async def test_a_payload_that_is_too_deep_is_given_back(conn: Connection, browse: Browse) -> None:
    job_id = await add(conn)
    payload = "[" * 20_000 + "]" * 20_000
    client = await browse()
    got = await client.post(f"/jobs/{job_id}/copy", data={"payload": payload}, headers=OWN_FORM)
    assert got.status_code == 400
    assert payload in got.text
    assert await conn.fetchval("select count(*) from jobs") == 1


async def test_what_the_database_refuses_is_told_and_quoted_only_where_it_may_be(
    conn: Connection, browse: Browse
) -> None:
    job_id = await add(conn)
    await conn.execute("alter table jobs add constraint secret_rule check (status <> 'cancelled')")
    for access, is_told in ((ADMIN, True), (OPERATOR, False)):
        client = await browse(access)
        got = await client.post(f"/jobs/{job_id}/cancel", headers=OWN_FORM)
        assert got.status_code == 409
        assert ("secret_rule" in got.text) is is_told
    assert await conn.fetchval("select status from jobs") == "pending"


async def test_redact_sees_an_error_as_it_was_raised_also_on_the_page_of_failures(
    conn: Connection, browse: Browse
) -> None:
    def redact(job_type: str, name: str, text: str) -> str:
        return re.sub(r"sk_[a-z0-9]{12}", "[key]", text)

    for text in ("ValueError: sk_abc123def456 is no key of '7'", "KeyError: 7 of 9", None):
        job_id = await add(conn, "lost" if text is None else text[:4])
        await conn.execute(
            "insert into jobs_attempts (job_id, job_type, attempt, ended_at, outcome, error)"
            " select id, job_type, 1, clock_timestamp(), 'retried', $2 from jobs where id = $1",
            job_id, text,
        )
    client = await browse(redact=redact)
    groups = (await page_of(client, "/failures"))["groups"]
    assert {group["line"] for group in groups} == {
        "ValueError: [key] is no key of '7'", "KeyError: * of *", None
    }
    for accept in (HTML, JSON):
        assert "sk_" not in (await client.get("/failures", headers=accept)).text


async def test_attempts_with_huge_errors_and_by_hand_make_no_huge_page(
    conn: Connection, browse: Browse
) -> None:
    job_id = await add(conn)
    await conn.execute(
        "insert into jobs_attempts (job_id, job_type, attempt, ended_at, outcome, error)"
        " select $1, 'mail', n, clock_timestamp(), 'retried', n || repeat('<x', 500000)"
        " from generate_series(1, 60) n", job_id,
    )
    client = await browse()
    got = await client.get(f"/jobs/{job_id}")
    assert len(got.content) < 3_000_000
    attempts = (await page_of(client, f"/jobs/{job_id}"))["attempts"]
    assert [attempt["attempt"] for attempt in attempts] == list(range(41, 61))


async def test_a_flood_of_questions_leaves_room_and_an_answer_for_each(
    conn: Connection, browse: Browse
) -> None:
    client = await browse(OBSERVER)
    assert (await client.get("/workers")).status_code == 200
    flood = [asyncio.create_task(client.get(f"/jobs?group=g{n}")) for n in range(1_000)]
    answers = await asyncio.gather(*flood)
    assert {answer.status_code for answer in answers} == {200}
    assert any("too much is asked of the console" in answer.text for answer in answers)
    here = tether().kept[client._transport.app._reading]  # type: ignore[attr-defined]
    assert len(here.kept) <= MAX_KEPT_ANSWERS + MAX_LOOK_UPS_AT_ONCE + 1
    await asyncio.wait({kept.task for kept in here.kept.values() if kept.task is not None})
    assert here.look_ups == 0
    assert "too much" not in (await client.get("/jobs?group=g1")).text


async def test_a_link_from_elsewhere_stands_for_no_word(conn: Connection, browse: Browse) -> None:
    job_id = await add(conn)
    await conn.execute(
        "insert into jobs_attempts (job_id, job_type, attempt, ended_at, outcome)"
        " values ($1, 'mail', 1, clock_timestamp(), 'lost')", job_id,
    )
    client = await browse()
    key = (await page_of(client, "/failures"))["groups"][0]["key"]
    for path in (
        "/jobs/many?action=cancel&type=mail&done=7", f"/failures?action=cancel&key={key}&done=7"
    ):
        for of_a_site in (
            {}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "none"},
            {"referer": "http://elsewhere/"},
            {"sec-fetch-site": "same-site", "referer": "http://console/"},
        ):
            page = (await client.get(path, headers=of_a_site)).text
            assert 'name="word" required' in page
            assert 'type="hidden" name="word"' not in page
            assert "data-continue" not in page
        for of_own in (OWN_FORM, {"referer": "http://console/jobs/many"}):
            assert 'type="hidden" name="word"' in (await client.get(path, headers=of_own)).text


async def test_who_goes_away_within_a_form_changes_nothing_and_fills_no_log(
    conn: Connection, browse: Browse, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await add(conn)
    asgi = (await browse())._transport.app  # type: ignore[attr-defined]
    answers = []
    messages = iter([
        {"type": "http.request", "body": b"reason=x", "more_body": True},
        {"type": "http.disconnect"},
    ])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        answers.append(message.get("status"))

    await asgi({
        "type": "http", "method": "POST", "path": f"/jobs/{job_id}/cancel", "root_path": "",
        "query_string": b"", "headers": [(b"sec-fetch-site", b"same-origin")],
    }, receive, send)
    assert answers[0] == 400
    assert not caplog.records
    assert await conn.fetchval("select status from jobs") == "pending"


async def test_a_console_that_stops_within_a_change_keeps_no_lock(
    conn: Connection, browse: Browse
) -> None:
    lookups = (await browse())._transport.app._acting  # type: ignore[attr-defined]
    is_paused = asyncio.Event()

    async def stops(database: Database) -> None:
        await database.pause("default")
        is_paused.set()
        await asyncio.Event().wait()

    change = asyncio.create_task(lookups.change(stops))
    await is_paused.wait()
    await conn.execute("set lock_timeout = '4s'")
    await conn.execute("select jobs_pause('default')")
    with pytest.raises((TimeoutError, *BROKEN)):
        await change


async def test_two_admins_who_change_the_same_jobs_count_each_of_them_once(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.web.pages.many.STEP_JOBS", 50)
    for _ in range(3):
        await conn.execute(
            "select jobs_enqueue_many((select jsonb_agg('{\"job_type\": \"mail\"}'::jsonb)"
            " from generate_series(1, 100)))"
        )
    as_of = (await conn.fetchval("select clock_timestamp()")).isoformat()

    async def cancels(user: str) -> int:
        client = await browse(Access(user, "admin"))
        done = 0
        while True:
            form = {"type": "mail", "as_of": as_of, "word": "cancel", "done": str(done)}
            got = await client.post("/jobs/many/cancel", data=form, headers=OWN_FORM)
            told = dict(parse_qsl(got.headers["location"].partition("?")[2]))
            done = int(told["done"])
            if "ended" in told:
                return done

    done = await asyncio.gather(cancels("anna"), cancels("bert"))
    assert sum(done) == 300
    rows = await conn.fetch("select actor, sum(jobs)::int as n from jobs_audit group by actor")
    assert {row["actor"]: row["n"] for row in rows} == {
        user: n for user, n in zip(("anna", "bert"), done, strict=True) if n
    }
    assert await conn.fetchval("select count(*) from jobs where status = 'cancelled'") == 300


@pytest.mark.parametrize("filters", ["[]", "1", "null", '{"queue": {"a": []}}'])
async def test_rows_of_the_audit_that_were_written_by_hand_are_shown(
    conn: Connection, browse: Browse, filters: str
) -> None:
    await conn.execute("select jobs_pause('default')")
    await conn.execute("update jobs_audit set filters = $1::text::jsonb", filters)
    client = await browse()
    for path in ("/audit", "/queue?name=default"):
        assert (await client.get(path)).status_code == 200
