"""What the pages show, as HTML and as JSON."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import asyncpg
import pytest
from web.conftest import ADMIN, JSON, OBSERVER, OWN_FORM, Browse, as_role
from web.scene import HOSTILE, add, ended

from pgjobs.web import words

Connection = asyncpg.Connection

async def test_the_overview_tells_what_is_wrong_and_what_to_do_first(
    conn: Connection, browse: Browse
) -> None:
    await add(conn)
    await conn.execute("update jobs set run_at = run_at - interval '1 hour'")
    await conn.execute("select jobs_pause('default', reason => 'the <b>mail</b> server moves')")
    client = await browse()
    page = (await client.get("/")).text
    assert "the &lt;b&gt;mail&lt;/b&gt; server moves" in page
    assert page.index("server moves") < page.index("Oldest due") < page.index("<svg")
    told = (await client.get("/", headers=JSON)).json()
    assert told["troubles"] == []
    verdicts = [v["verdict"] for v in told["page"]["verdicts"]]
    assert verdicts == sorted(verdicts, key=["bad", "warn", "ok"].index)
    assert told["page"]["oldest_due_s"] == pytest.approx(3600, abs=60)
    depths = {d["state"]: d["jobs"] for d in told["page"]["depths"]}
    assert depths["due"] == 1
    assert len(told["page"]["minutes"]) == 60


async def test_the_chart_has_a_bar_for_what_ended_and_a_table_behind_it(
    conn: Connection, browse: Browse
) -> None:
    await ended(conn)
    await ended(conn, "no")
    await conn.execute("select _jobs_history_add()")  # as a worker's tick does
    client = await browse()
    page = (await client.get("/")).text
    assert '<rect class="completed"' in page
    assert '<rect class="failed"' in page
    assert "1 completed, 0 retried, 1 failed, 0 cancelled" in page
    (last,) = [m for m in (await client.get("/", headers=JSON)).json()["page"]["minutes"]
               if m["completed"]]
    assert (last["completed"], last["failed"]) == (1, 1)


async def test_the_list_is_narrowed_by_status_queue_type_and_reference(
    conn: Connection, browse: Browse
) -> None:
    kept = await add(conn, "ingest", queue="files", reference_type="order", reference_id=4711)
    await add(conn)
    failed = await ended(conn, "no")
    client = await browse()

    async def ids(query: str) -> list[int]:
        found = (await client.get(f"/jobs?{query}", headers=JSON)).json()["page"]["jobs"]
        return [int(job["id"]) for job in found]

    assert await ids("status=failed") == [failed]
    assert await ids("queue=files") == await ids("type=ingest") == [kept]
    assert await ids("reference=order:4711") == [kept]
    assert await ids("q=order+4711") == await ids("q=4711") == [kept]
    assert await ids(f"q={kept}") == [kept]
    refused = await client.get("/jobs?status=odd")
    assert refused.status_code == 400
    assert "choose of pending" in refused.text


async def test_the_box_finds_a_key_and_a_group(conn: Connection, browse: Browse) -> None:
    keyed = await add(conn, unique_key="8c1b-77")
    spaced = await add(conn, unique_key="order:4711:mail", queue="q2")
    grouped = await add(conn, group_key="customer-7")
    about = await add(conn, reference_type="order", reference_key="ab12")
    client = await browse()
    for text, job_id in (("8c1b-77", keyed), ("order:4711:mail", spaced),
                         ("customer-7", grouped), ("ab12", about)):
        found = (await client.get("/jobs", params={"q": text}, headers=JSON)).json()["page"]
        assert [job["id"] for job in found["jobs"]] == [str(job_id)]
    observer = await browse(OBSERVER)
    hidden = (await observer.get("/jobs?q=8c1b-77", headers=JSON)).json()["page"]
    assert hidden["jobs"] == []


@pytest.mark.parametrize(("kind", "entity"), [
    ({"reference_type": "order"}, {"reference_id": 4711}), ({}, {"reference_id": 4711}),
    ({"reference_type": "order"}, {}), ({}, {"reference_key": "ab"}),
    ({"reference_type": "big order"}, {"reference_key": "a b:c"}),
], ids=str)
async def test_a_reference_leads_to_the_jobs_about_it(
    conn: Connection, browse: Browse, kind: dict[str, object], entity: dict[str, object]
) -> None:
    job_id = await add(conn, **kind, **entity)  # type: ignore[arg-type]
    await add(conn)
    client = await browse()
    (link,) = re.findall(r'href="(/jobs\?reference=[^"]*)"', (await client.get("/jobs")).text)
    assert f'href="{link}"' in (await client.get(f"/jobs/{job_id}")).text
    found = (await client.get(unescape(link), headers=JSON)).json()["page"]["jobs"]
    assert [job["id"] for job in found] == [str(job_id)]


async def test_pages_go_on_behind_the_last_job(conn: Connection, browse: Browse) -> None:
    await conn.execute(
        "select jobs_enqueue_many((select jsonb_agg(jsonb_build_object('job_type', 'mail'))"
        " from generate_series(1, 120)))"
    )
    client = await browse()
    seen: list[int] = []
    query: dict[str, str] = {}
    while True:
        page = (await client.get("/jobs", params=query, headers=JSON)).json()["page"]
        seen += [int(job["id"]) for job in page["jobs"]]
        if page["next_before"] is None:
            break
        query = {"before": page["next_before"]}
    assert sorted(seen) == sorted(set(seen)) == [
        row["id"] for row in await conn.fetch("select id from jobs order by id")
    ]


async def test_tabs_have_counts_of_the_chosen_queue(conn: Connection, browse: Browse) -> None:
    await add(conn, queue="files")
    await add(conn)
    await ended(conn, "no", queue="files")
    client = await browse()
    page = (await client.get("/jobs?queue=files", headers=JSON)).json()["page"]
    counts = {tab["status"]: tab["jobs"] for tab in page["tabs"]}
    assert (counts[None], counts["pending"], counts["failed"]) == ("2", "1", "1")


async def test_a_search_that_gives_up_says_how_far_it_has_looked(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pgjobs.database.reading", "pgjobs.web.pages.jobs"):
        monkeypatch.setattr(f"{module}.MAX_READ_JOBS", 30)
    await conn.execute(
        "select jobs_enqueue_many((select jsonb_agg(jsonb_build_object('job_type', 'mail'))"
        " from generate_series(1, 120)))"
    )
    client = await browse()
    page = (await client.get("/jobs?queue=absent")).text
    assert "looked through 30 jobs" in page
    assert "Look further" in page
    told = (await client.get("/jobs?queue=absent", headers=JSON)).json()["page"]
    assert told["next_before"] is not None


async def test_the_job_page_begins_with_a_sentence(conn: Connection, browse: Browse) -> None:
    client = await browse()

    async def sentence(job_id: int) -> str:
        told = (await client.get(f"/jobs/{job_id}", headers=JSON)).json()["page"]["sentence"]
        assert isinstance(told, str)
        return told

    job_id = await add(conn)
    for _ in range(3):
        await conn.execute("update jobs set run_at = now() - interval '1 second'")
        attempt = await conn.fetchval("select attempt from jobs_claim('w', '{default}')")
        await conn.execute(
            "select jobs_fail($1, 'E: no', true, $3, 'w', $2)", job_id, attempt, timedelta(hours=1)
        )
    assert (await sentence(job_id)).startswith("Failed three times, tries again at ")
    waiting = await add(conn)
    await conn.execute("select jobs_pause('default', reason => 'the server moves')")
    assert "the server moves" in await sentence(waiting)
    failed = await ended(conn, "E: the disk is full\nline 2", queue="q2")
    told = await sentence(failed)
    assert told.startswith("Failed for good at ")
    assert told.endswith("in attempt 1: E: the disk is full")
    done = await ended(conn, queue="q3")
    assert (await sentence(done)).startswith("Completed at ")


async def test_a_failed_job_says_who_holds_its_unique_key_and_leads_there(
    conn: Connection, browse: Browse
) -> None:
    failed = await ended(conn, "no", unique_key="k")
    client = await browse()
    assert "cannot be retried" not in (await client.get(f"/jobs/{failed}")).text
    holder = await add(conn, unique_key="k")
    page = (await (await browse()).get(f"/jobs/{failed}")).text
    assert "Why it cannot be retried" in page
    assert f'job <a href="/jobs/{holder}">{holder}</a>, which is pending, holds' in page


@pytest.mark.parametrize(("text", "ids"), [
    ("group a-9 of queue q (1 wait for job 200131, until its retry in 00:57:00)", ["200131"]),
    ("200133 (report, lost 2 times), 200134 (report, lost 2 times)", ["200133", "200134"]),
    ("200134 (report; job 200135, pending, holds the key)", ["200134", "200135"]),
    ("1 of 1 run: ids 200025, the oldest for 00:00:27 by worker vm-1184", ["200025"]),
    ("pgjobs retry 200136, or give this one up: pgjobs cancel 200137", ["200136", "200137"]),
    ("customer-7 (1 due), 1 of its 1 parents, 30 of 100 attempts, pid 1183 (psql)", []),
])
def test_the_ids_of_jobs_are_found_in_a_text(text: str, ids: list[str]) -> None:
    parts = words.with_jobs(text)
    assert "".join(part for part, _ in parts) == text
    assert [part for part, is_job in parts if is_job] == ids


async def test_the_attempts_stand_in_order_with_their_errors(
    conn: Connection, browse: Browse
) -> None:
    job_id = await add(conn, max_retries=1)
    for error in ("ValueError: first", "ValueError: second\ntraceback"):
        await conn.execute("update jobs set run_at = now() - interval '1 second'")
        attempt = await conn.fetchval("select attempt from jobs_claim('w', '{default}')")
        await conn.execute(
            "select jobs_fail($1, $2, worker => 'w', attempt => $3)", job_id, error, attempt
        )
    client = await browse()
    page = (await client.get(f"/jobs/{job_id}", headers=JSON)).json()["page"]
    told = [(a["attempt"], a["outcome"], a["worker"], a["error"]) for a in page["attempts"]]
    assert told == [(1, "failed", "w", "ValueError: first"),
                    (2, "failed", "w", "ValueError: second\ntraceback")]
    html = (await client.get(f"/jobs/{job_id}")).text
    assert html.index("ValueError: first") < html.index("ValueError: second\ntraceback")


async def test_parents_and_children_lead_to_their_pages(conn: Connection, browse: Browse) -> None:
    parent = await add(conn)
    child = await conn.fetchval(
        "select id from jobs_enqueue('mail', depends_on => array[$1::bigint])", parent
    )
    client = await browse()
    assert f'href="/jobs/{parent}"' in (await client.get(f"/jobs/{child}")).text
    assert f'href="/jobs/{child}"' in (await client.get(f"/jobs/{parent}")).text


async def test_a_number_of_64_bits_stays_exact(conn: Connection, browse: Browse) -> None:
    await conn.execute("alter sequence jobs_id_seq restart with 9007199254740993")
    job_id = await add(conn, payload='{"n": 9007199254740993, "f": 1.10, "e": [], "s": "a, \\"{"}')
    client = await browse()
    page = (await client.get(f"/jobs/{job_id}", headers=JSON)).json()["page"]
    assert page["id"] == "9007199254740993"
    (payload,) = page["documents"]
    lines = [line.strip() for line in payload["text"].splitlines()]
    assert '"n": 9007199254740993,' in lines or '"n": 9007199254740993' in lines
    assert any("1.10" in line for line in lines)
    assert any(line.startswith('"s": "a, \\"{"') for line in lines)


async def test_a_page_behind_a_deleted_job_says_to_begin_again(
    conn: Connection, browse: Browse
) -> None:
    client = await browse()
    answer = await client.get("/jobs?status=failed&before=17", headers=JSON)
    assert answer.status_code == 404
    assert "begin again" in answer.json()["error"]


async def test_a_name_with_a_zero_byte_is_refused(browse: Browse) -> None:
    client = await browse()
    for field in ("q", "queue", "type", "reference", "group"):
        assert (await client.get("/jobs", params={field: "a\0b"})).status_code == 400


async def test_the_box_and_the_filters_hold_together(conn: Connection, browse: Browse) -> None:
    about = {"reference_type": "order", "reference_id": 4711}
    await add(conn, **about)  # type: ignore[arg-type]
    failed = await ended(conn, "no", **about)
    client = await browse()
    for text in ("4711", "order 4711"):
        found = await client.get("/jobs", params={"q": text, "status": "failed"}, headers=JSON)
        assert [job["id"] for job in found.json()["page"]["jobs"]] == [str(failed)]


async def test_a_job_of_the_future_has_a_time_to_go(conn: Connection, browse: Browse) -> None:
    await add(conn, run_at=datetime.now(UTC) + timedelta(hours=2, minutes=1))
    client = await browse()
    assert "<td>in 2.02 h</td>" in (await client.get("/jobs")).text
    assert "Starts at " in (await client.get("/jobs/1")).text


async def test_a_job_that_is_not_there_is_not_found(browse: Browse) -> None:
    client = await browse()
    for path in ("/jobs/17", "/jobs/9223372036854775808", "/jobs/abc", "/jobs/-1", "/nothing"):
        found = await client.get(path)
        assert found.status_code == 404, path
        assert (await client.get(path, headers=JSON)).json()["error"]


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_and_errors_are_shown_and_change_nothing(
    conn: Connection, browse: Browse, name: str
) -> None:
    job_id = await ended(conn, name, job_type=name, queue=name, reference_type=name,
                         reference_key=name, payload='{"a": "<script>alert(1)</script>"}')
    client = await browse()
    for path in ("/", "/jobs", f"/jobs/{job_id}"):
        page = await client.get(path)
        assert page.status_code == 200, page.text
        assert page.text.count("<script") == 1  # the console's own
        assert "<img" not in page.text
        assert "\u202e" not in page.text.replace(f">{name}<", "")
    for field in ("queue", "type"):
        found = await client.get("/jobs", params={field: name}, headers=JSON)
        assert [job["id"] for job in found.json()["page"]["jobs"]] == [str(job_id)], found.text
    # The links of the page lead to the same jobs.
    page = await client.get("/jobs")
    links = re.findall(r'href="(/jobs\?[^"]*(?:queue|type)=[^"]*)"', page.text)
    assert links
    for link in links:
        assert str(job_id) in (await client.get(unescape(link))).text


async def test_a_large_payload_is_cut(conn: Connection, browse: Browse) -> None:
    job_id = await add(conn, payload='{"a": "' + "x" * 1_000_000 + '"}')
    client = await browse()
    page = await client.get(f"/jobs/{job_id}")
    assert "1,000,009 characters" in page.text
    assert len(page.text) < 150_000
    assert len((await client.get("/jobs")).text) < 20_000


async def test_retry_and_cancel_are_in_the_audit_with_the_user(
    conn: Connection, browse: Browse
) -> None:
    job_id = await add(conn)
    client = await browse(ADMIN)
    page = (await client.get(f"/jobs/{job_id}")).text
    assert f'action="/jobs/{job_id}/cancel"' in page
    done = await client.post(
        f"/jobs/{job_id}/cancel", data={"reason": "wrong address"}, headers=OWN_FORM
    )
    assert (done.status_code, done.headers["location"]) == (303, f"/jobs/{job_id}")
    assert "wrong address" in (await client.get(f"/jobs/{job_id}")).text  # nothing old is shown
    await client.post(f"/jobs/{job_id}/retry", headers=OWN_FORM)
    rows = await conn.fetch("select action, actor, job_id, reason from jobs_audit order by id")
    assert [tuple(row) for row in rows] == [
        ("cancel", "anna", job_id, "wrong address"), ("retry", "anna", job_id, None)
    ]
    again = await client.post(f"/jobs/{job_id}/retry", headers=OWN_FORM)
    assert again.status_code == 409


async def test_an_observers_role_sees_the_job_without_what_it_may_not_read(
    conn: Connection, browse: Browse, make_role: object, pgjobs_dsn: str
) -> None:
    job_id = await ended(conn, "secret error", payload='{"a": "secret payload"}')
    role = await make_role("observer")  # type: ignore[operator]
    client = await browse(ADMIN, as_role(pgjobs_dsn, role))
    for headers in ({}, JSON):
        for path in ("/", "/jobs", f"/jobs/{job_id}"):
            page = await client.get(path, headers=headers)
            assert page.status_code == 200
            assert "secret" not in page.text
            assert "/retry" not in page.text
    assert (await client.get(f"/jobs/{job_id}", headers=JSON)).json()["troubles"] == []
