"""The pages of queues, schedules, workers, types, the audit and the system."""

import asyncio
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

from pgjobs.database import Database
from pgjobs.telemetry.exposition import exposition
from pgjobs.telemetry.metrics import metrics
from pgjobs.web import Access, words

Connection = asyncpg.Connection
MakeRole = Callable[..., Awaitable[str]]
OPERATOR = Access("olga", "operate", payloads=True)


async def page_of(client: httpx.AsyncClient, path: str, **query: str) -> Any:
    answer = await client.get(path, params=query, headers=JSON)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["troubles"] == []
    return told["page"]


async def works(
    conn: Connection, name: str, queues: list[str], types: list[str] | None = None, slots: int = 5
) -> None:
    """A worker that lives as long as the connection."""
    await conn.execute("select jobs_worker_start($1, $2, $3, $4)", name, queues, types, slots)


async def test_a_queue_tells_its_jobs_its_workers_and_how_attempts_ended(
    conn: Connection, browse: Browse
) -> None:
    await ended(conn, "no", queue="mail")
    await ended(conn, queue="mail")
    await conn.execute("select _jobs_history_add()")
    await add(conn, queue="mail")
    await conn.execute(
        "update jobs set run_at = now() - interval '1 hour' where status = 'pending'"
    )
    await add(conn, queue="mail", run_at=datetime.now(UTC) + timedelta(hours=1))
    await works(conn, "w1", ["mail"])
    client = await browse()
    (queue,) = (await page_of(client, "/queues"))["queues"]
    counts = {state: count["jobs"] for state, count in queue["counts"]["states"].items()}
    assert counts == {"due": 1, "later": 1, "failed": 1, "completed": 1}
    assert queue["counts"]["oldest_due_s"] == pytest.approx(3600, abs=60)
    assert (queue["workers"], queue["limits"], queue["pause"]) == (1, [], None)
    assert (queue["ends"]["attempts"], queue["ends"]["bad"]) == (2, 1)
    assert queue["ends"]["run_p95_s"] is not None
    page = (await client.get("/queues")).text
    assert "50 %" in page
    assert 'href="/jobs?status=failed&amp;queue=mail"' in page
    one = await page_of(client, "/queue", name="mail")
    assert one["queue"] == queue
    assert [name for name, _ in one["types"]] == ["mail"]


async def test_a_queue_tells_how_long_jobs_waited_in_the_last_minutes(
    conn: Connection, browse: Browse
) -> None:
    await ended(conn, queue="mail")
    await conn.execute("select _jobs_history_add()")
    lately = (await page_of(await browse(), "/queue", name="mail"))["lately"]
    assert lately["wait_p50_s"] is not None
    await conn.execute("update jobs_history set starts_at = starts_at - interval '10 minutes'")
    client = await browse()
    assert "nothing started" in (await client.get("/queue?name=mail")).text
    told = await page_of(client, "/queue", name="mail")
    assert told["lately"] is None
    assert told["queue"]["ends"]["wait_p50_s"] is not None


async def test_a_queue_with_due_jobs_and_no_worker_says_so(
    conn: Connection, browse: Browse
) -> None:
    await add(conn, queue="alone")
    client = await browse()
    assert "no worker" in (await client.get("/queues")).text
    await works(conn, "w1", ["alone"])
    assert "no worker" not in (await (await browse()).get("/queues")).text


async def test_a_queue_that_nobody_knows_asks_whether_the_name_is_right(
    conn: Connection, browse: Browse
) -> None:
    await add(conn, queue="mail")
    client = await browse()
    assert "is the name right?" in (await client.get("/queue?name=mial")).text
    assert "is the name right?" not in (await client.get("/queue?name=mail")).text
    assert (await client.get("/queue")).status_code == 404


async def test_a_queue_is_paused_with_a_reason_and_resumed_by_forms(
    conn: Connection, browse: Browse
) -> None:
    await add(conn, queue="a/b & c")
    client = await browse()
    page = (await client.get("/queue", params={"name": "a/b & c"})).text
    assert 'action="/queue/pause"' in page
    assert 'action="/queue/resume"' not in page
    done = await client.post("/queue/pause", headers=OWN_FORM, data={
        "name": "a/b & c", "reason": "the <b>server</b> moves", "for": "1 hour", "until": "",
    })
    assert done.status_code == 303, done.text
    shown = (await client.get(done.headers["location"])).text
    assert "by <bdi class=\"name\">anna</bdi>" in shown
    assert "the &lt;b&gt;server&lt;/b&gt; moves" in shown
    assert 'action="/queue/resume"' in shown
    told = await conn.fetchrow("select queue, pause_reason, paused_until - now() from jobs_queues")
    assert tuple(told)[:2] == ("a/b & c", "the <b>server</b> moves")
    assert told[2] == pytest.approx(timedelta(hours=1), abs=timedelta(minutes=1))
    (listed,) = (await page_of(client, "/queues"))["queues"]
    assert listed["pause"]["reason"] == "the <b>server</b> moves"
    done = await client.post("/queue/resume", headers=OWN_FORM, data={"name": "a/b & c"})
    assert done.status_code == 303
    assert (await page_of(client, "/queue", name="a/b & c"))["queue"]["pause"] is None
    audit = await conn.fetch("select action, actor from jobs_audit order by id")
    assert [tuple(row) for row in audit] == [("pause", "anna"), ("resume", "anna")]


async def test_a_pause_ends_at_the_moment_that_was_written(
    conn: Connection, browse: Browse
) -> None:
    client = await browse()
    done = await client.post("/queue/pause", headers=OWN_FORM, data={
        "name": "mail", "until": "2130-12-31T18:00"
    })
    assert done.status_code == 303
    until = await conn.fetchval("select paused_until from jobs_queues")
    assert until == datetime(2130, 12, 31, 18, tzinfo=UTC)


@pytest.mark.parametrize(("fields", "status"), [
    ({}, 400), ({"name": "q", "for": "1 hour", "until": "2130-12-31T18:00"}, 400),
    ({"name": "q", "for": "2 eons"}, 400), ({"name": "q", "until": "soon"}, 400),
    ({"name": "q", "until": "1999-12-31T18:00"}, 409), ({"name": "q", "reason": "ä" * 501}, 409),
    ({"name": "q\0"}, 400), ({"name": "q" * 513}, 409),
], ids=str)
async def test_a_pause_that_cannot_be_meant_is_refused(
    conn: Connection, browse: Browse, fields: dict[str, str], status: int
) -> None:
    client = await browse()
    answer = await client.post("/queue/pause", data=fields, headers=OWN_FORM)
    assert answer.status_code == status, answer.text
    assert await conn.fetchval("select count(*) from jobs_queues") == 0


async def test_limits_and_the_groups_that_wait_longest_are_told_in_words(
    conn: Connection, browse: Browse
) -> None:
    await conn.execute("select jobs_limit('mail', max_running_per_group => 1, rate_count => 100,"
                       " rate_period => '1 minute')")
    for group in ("customer-7", "customer-7", "customer-8"):
        await add(conn, queue="mail", group_key=group)
    await conn.execute("update jobs set run_at = now() - interval '1 hour'"
                       " where group_key = 'customer-7'")
    await conn.execute("select jobs_claim('w', '{mail}')")
    client = await browse()
    one = await page_of(client, "/queue", name="mail")
    assert one["queue"]["limits"] == [
        "at most 1 of each group run at once", "at most 100 start in 1 min"
    ]
    groups = {group["group_key"]: group for group in one["groups"]}
    assert list(groups) == ["customer-7", "customer-8"]
    assert (groups["customer-7"]["told"], groups["customer-7"]["startable"]) == ("1 of 1 run", 0)
    assert groups["customer-8"]["startable"] == 1
    page = (await client.get("/queues")).text
    assert "1 of 1 run" in page
    assert "at most 1 of each group run at once" in page


async def test_a_thousand_queues_make_a_page_that_is_not_large_and_can_be_narrowed(
    conn: Connection, browse: Browse
) -> None:
    await conn.execute(
        "select jobs_enqueue_many((select jsonb_agg(jsonb_build_object("
        "'job_type', 'type ' || n % 200, 'queue', 'queue ' || n)) from generate_series(1, 1000) n))"
    )
    await conn.execute("insert into jobs_queues (queue, max_running)"
                       " select 'queue ' || n, 5 from generate_series(1, 1000) n")
    client = await browse()
    for path in ("/queues", "/types", "/"):
        page = await client.get(path)
        assert page.status_code == 200
        assert len(page.text) < 500_000
    found = await page_of(client, "/queues")
    assert (len(found["queues"]), found["total"]) == (100, 1000)
    narrowed = await page_of(client, "/queues", q="QUEUE 77")
    assert {queue["name"] for queue in narrowed["queues"]} == {
        "queue 77", *(f"queue {n}" for n in range(770, 780))
    }
    assert "100 of 1,000 are shown" in (await client.get("/queues")).text


async def test_a_schedule_tells_when_it_fires_next_and_what_became_of_its_jobs(
    conn: Connection, browse: Browse
) -> None:
    await conn.execute("select jobs_schedule('nightly', 'report', '0 3 * * *',"
                       " timezone => 'Europe/Berlin', payload => '{\"a\": \"secret\"}')")
    await conn.execute("select jobs_schedule('often', 'poll', every => '100 seconds',"
                       " missed => 'all', missed_within => '1 hour', overlap => 'allow')")
    first = await conn.fetchval("select id from jobs_schedule_run('nightly')")
    await conn.execute("select jobs_cancel($1)", first)
    client = await browse()
    listed = {s["name"]: s for s in (await page_of(client, "/schedules"))["schedules"]}
    assert listed["nightly"]["last"] == [{"id": str(first), "status": "cancelled"}]
    assert listed["often"]["when"] == "every 1 min 40 s"
    one = await page_of(client, "/schedule", name="nightly")
    assert [m["local_time"][11:] for m in one["moments"]] == ["03:00:00"] * 5
    assert {m["at"][11:13] for m in one["moments"]} <= {"01", "02"}
    page = (await client.get("/schedule?name=nightly")).text
    assert "Europe/Berlin" in page
    assert "secret" not in page
    assert f'href="/jobs/{first}"' in page
    often = (await client.get("/schedule?name=often")).text
    assert "each moment that nobody could fire is made up for, but none that is older" in often
    assert "a job is added also while the last one has not ended" in often


async def test_a_schedule_is_run_paused_and_resumed_by_forms(
    conn: Connection, browse: Browse
) -> None:
    name = "a/../b & <i>"
    await conn.execute("select jobs_schedule($1, 'report', every => '1 hour')", name)
    client = await browse()
    done = await client.post("/schedule/run", data={"name": name}, headers=OWN_FORM)
    job_id = await conn.fetchval("select id from jobs")
    assert (done.status_code, done.headers["location"]) == (303, f"/jobs/{job_id}")
    again = await client.post("/schedule/run", data={"name": name}, headers=OWN_FORM)
    assert again.headers["location"] == f"/jobs/{job_id}"  # the job that is in the way
    for action, state, other in (("pause", "paused", "resume"), ("resume", "on", "pause")):
        page = (await client.get("/schedule", params={"name": name})).text
        assert f'action="/schedule/{action}"' in page
        assert f'action="/schedule/{other}"' not in page
        done = await client.post(f"/schedule/{action}", data={"name": name}, headers=OWN_FORM)
        assert done.status_code == 303
        shown = (await client.get(done.headers["location"], headers=JSON)).json()["page"]
        assert shown["schedule"]["state"] == state
    audit = await conn.fetch("select action, actor from jobs_audit where id > 1 order by id")
    assert [tuple(row) for row in audit] == [
        ("schedule_run", "anna"), ("schedule_pause", "anna"), ("schedule_resume", "anna")
    ]
    for action in ("run", "pause", "resume"):
        for fields, status in (({}, 400), ({"name": "none"}, 404)):
            answer = await client.post(f"/schedule/{action}", data=fields, headers=OWN_FORM)
            assert answer.status_code == status, answer.text
    assert (await client.get("/schedule?name=none")).status_code == 404
    assert (await client.get("/schedule")).status_code == 404


async def test_the_error_of_a_schedule_is_shown_to_who_may_see_payloads(
    conn: Connection, browse: Browse
) -> None:
    for name in ("a", "broken"):
        await conn.execute("select jobs_schedule($1, 'report', every => '1 hour')", name)
    await conn.execute("update jobs_schedules set error = 'the secret' where name = 'broken'")
    client = await browse()
    listed = (await page_of(client, "/schedules"))["schedules"]
    assert [each["name"] for each in listed] == ["broken", "a"]
    assert "the secret" in (await client.get("/schedule?name=broken")).text
    observer = await browse(OBSERVER)
    for headers in ({}, JSON):
        for path in ("/schedules", "/schedule?name=broken"):
            told = await observer.get(path, headers=headers)
            assert told.status_code == 200
            assert "the secret" not in told.text
    assert "The error is hidden" in (await observer.get("/schedule?name=broken")).text


async def test_an_overdue_schedule_and_one_that_is_over_say_so(
    conn: Connection, browse: Browse
) -> None:
    for name in ("late", "over"):
        await conn.execute("select jobs_schedule($1, 'report', every => '1 hour')", name)
    await conn.execute("update jobs_schedules set next_at = case name when 'late'"
                       " then now() - interval '1 hour' end")
    client = await browse()
    listed = (await page_of(client, "/schedules"))["schedules"]
    assert [(s["name"], s["state"]) for s in listed] == [("late", "overdue"), ("over", "over")]
    assert "no worker has fired it" in (await client.get("/schedule?name=late")).text


async def test_a_worker_tells_what_it_runs_the_longest_first(
    conn: Connection, browse: Browse
) -> None:
    await works(conn, "host-7", ["mail", "files"], ["mail"], slots=9)
    for _ in range(7):
        await add(conn, queue="mail")
    await conn.execute("select jobs_claim('host-7', '{mail}', 7)")
    await conn.execute("update jobs set started_at = now() - id * interval '1 minute',"
                       " lease_until = case id when 6 then now() - interval '1 minute'"
                       " else lease_until end")
    await conn.execute("select jobs_cancel(7)")
    client = await browse()
    (worker,) = (await page_of(client, "/workers"))["workers"]
    assert (worker["name"], worker["taken"], worker["slots"]) == ("host-7", 7, 9)
    assert worker["queues"] == ["mail", "files"]
    assert worker["advice"] is None
    assert [job["id"] for job in worker["jobs"]] == ["7", "6", "5", "4", "3"]
    assert worker["jobs"][0]["runs_s"] == pytest.approx(420, abs=30)
    assert [job["is_to_stop"] for job in worker["jobs"]] == [True, False, False, False, False]
    assert worker["more_jobs"] == 2
    page = (await client.get("/workers")).text
    for told in ('href="/jobs/7"', "7 of 9", "asked to stop", "lease is over", "and 2 more"):
        assert told in page
    assert (await page_of(client, "/workers", q="FILES"))["total"] == 1
    assert (await page_of(client, "/workers", q="absent"))["total"] == 0


async def test_gone_and_hanging_workers_stand_first_with_what_to_do(
    conn: Connection, connect: Callable[[], Awaitable[Connection]], browse: Browse
) -> None:
    for name in ("a-fine", "b-hangs", "c-gone"):
        await works(await connect(), name, ["mail"])
    await conn.execute("update jobs_worker_ticks set seen_at = now() - interval '5 minutes'"
                       " where worker = 'b-hangs'")
    await conn.execute("update jobs_workers set started_at = now() - interval '5 minutes',"
                       " name_key = -1 where worker = 'c-gone'")
    await conn.execute("update jobs_workers set started_at = now() - interval '5 minutes'"
                       " where worker = 'b-hangs'")
    client = await browse()
    workers = (await page_of(client, "/workers"))["workers"]
    assert [(worker["name"], worker["state"]) for worker in workers] == [
        ("b-hangs", "hangs"), ("c-gone", "gone"), ("a-fine", "full")
    ]
    assert "end the process" in workers[0]["advice"]
    assert "Start it again" in workers[1]["advice"]
    assert workers[2]["advice"] is None
    queue = (await page_of(client, "/queues"))["queues"][0]
    assert (queue["workers"], queue["hanging"]) == (2, 1)
    for path in ("/queues", "/queue?name=mail"):
        assert "hangs</span>: 1" in (await client.get(path)).text


async def test_who_holds_jobs_without_being_registered_is_named(
    conn: Connection, browse: Browse
) -> None:
    await add(conn)
    await conn.execute("select jobs_claim('psql <b>', '{default}')")
    client = await browse()
    assert (await page_of(client, "/workers"))["others"] == ["psql <b>"]
    assert "psql &lt;b&gt;" in (await client.get("/workers")).text


async def test_a_type_tells_its_jobs_who_serves_it_and_how_attempts_ended(
    conn: Connection, browse: Browse
) -> None:
    await ended(conn, "no", job_type="ingest", queue="files")
    await conn.execute("select _jobs_history_add()")
    await add(conn, "ingest", queue="files")
    await add(conn, "mail", queue="mail")
    await works(conn, "w1", ["files"])
    client = await browse()
    types = {each["name"]: each for each in (await page_of(client, "/types"))["types"]}
    assert set(types) == {"ingest", "mail"}
    assert (types["ingest"]["workers"], types["mail"]["workers"]) == (["w1"], [])
    assert (types["ingest"]["ends"]["attempts"], types["ingest"]["ends"]["bad"]) == (1, 1)
    assert types["ingest"]["counts"]["states"]["due"]["jobs"] == 1
    page = (await client.get("/types")).text
    assert "no worker" in page
    assert "100 %" in page
    assert 'href="/jobs?type=ingest"' in page
    narrowed = await page_of(client, "/types", q="MAI")
    assert [each["name"] for each in narrowed["types"]] == ["mail"]


async def test_types_that_fail_stand_before_idle_ones(conn: Connection, browse: Browse) -> None:
    await ended(conn, job_type="a")
    await ended(conn, "no", job_type="z")
    await conn.execute("select _jobs_history_add()")
    types = (await page_of(await browse(), "/types"))["types"]
    assert [each["name"] for each in types] == ["z", "a"]


async def test_the_audit_is_narrowed_by_action_user_job_and_time(
    conn: Connection, browse: Browse
) -> None:
    job_id = await add(conn)
    client = await browse()
    await client.post("/queue/pause", headers=OWN_FORM, data={"name": "mail", "reason": "<b>moves"})
    await client.post(f"/jobs/{job_id}/cancel", headers=OWN_FORM)
    await conn.execute("select jobs_resume('mail')")
    await conn.execute(
        "update jobs_audit set at = now() - interval '2 hours' where action = 'pause'"
    )

    async def actions(**query: str) -> list[str]:
        return [each["action"] for each in (await page_of(client, "/audit", **query))["changes"]]

    assert await actions() == ["resume", "cancel", "pause"]
    assert await actions(action="pause") == ["pause"]
    assert await actions(who="anna") == ["cancel", "pause"]
    assert await actions(job=str(job_id)) == ["cancel"]
    assert await actions(within="1 hour") == ["resume", "cancel"]
    assert await actions(who="anna", within="1 hour", action="cancel") == ["cancel"]
    page = (await client.get("/audit")).text
    assert "&lt;b&gt;moves" in page
    assert f'href="/jobs/{job_id}"' in page
    for query in ({"within": "ever"}, {"who": "a\0"}):
        assert (await client.get("/audit", params=query)).status_code == 400
    for query in ({"job": "x"}, {"before": "-1"}, {"before": "9" * 19}):
        assert (await client.get("/audit", params=query)).status_code == 404


async def test_the_audit_goes_on_behind_the_last_row(conn: Connection, browse: Browse) -> None:
    await conn.execute("insert into jobs_audit (db_role, action)"
                       " select 'r', 'pause' from generate_series(1, 120)")
    client = await browse()
    seen: list[int] = []
    link: str | None = "/audit?action=pause"
    while link is not None:
        answer = await client.get(unescape(link))
        seen += map(int, [c["id"] for c in (await client.get(unescape(link), headers=JSON)).json()
                          ["page"]["changes"]])
        found = re.search(r'rel="next" href="([^"]*)"', answer.text)
        link = found and found[1]
    assert seen == list(range(120, 0, -1))


async def test_a_search_of_the_audit_that_gives_up_says_so(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.web.pages.audit.MAX_READ_ROWS", 30)
    await conn.execute("insert into jobs_audit (db_role, action)"
                       " select 'r', 'pause' from generate_series(1, 120)")
    client = await browse()
    page = (await client.get("/audit?who=nobody")).text
    assert "gave up after 30 rows" in page
    assert "Look further" in page
    assert (await page_of(client, "/audit", who="nobody"))["next_before"] == "91"


async def test_the_system_tells_releases_sizes_roles_and_rules(
    conn: Connection, browse: Browse, make_role: MakeRole, pgjobs_dsn: str
) -> None:
    await conn.execute("select jobs_retain('completed', '36 hours', 'mail')")
    reads, acts = await make_role("observer"), await make_role("admin")
    client = await browse(
        ADMIN, as_role(pgjobs_dsn, reads), actions_dsn=as_role(pgjobs_dsn, acts)
    )
    told = await page_of(client, "/system")
    assert told["facts"]["schema"] == "public"
    assert {"jobs", "jobs_audit", "jobs_history"} <= {table["name"] for table in told["tables"]}
    assert all(table["table_bytes"] + table["index_bytes"] > 0 for table in told["tables"])
    assert "notification queue" in {verdict["check"] for verdict in told["verdicts"]}
    reading, acting = told["roles"]
    assert (reading["name"], reading["does"]) == (reads, [])
    assert "payloads, results and errors" not in reading["reads"]
    assert (acting["name"], acting["does_not"]) == (acts, [])
    assert "payloads, results and errors" in acting["reads"]
    assert told["rules"] == [{
        "status": "completed", "job_type": "mail", "keep_for": 129600.0, "deleted_to": None,
        "next_at": told["rules"][0]["next_at"], "error": None,
    }]
    page = (await client.get("/system")).text
    assert "1 d 12 h" in page
    assert "resume schedule" in page


@pytest.mark.parametrize(("count", "told"), [
    (0, "0 bytes"), (8192, "8 kB"), (1_610_612_736, "1.5 GB"), (1024**4 * 12, "12.0 TB"),
    (1_048_575, "1024 kB"),
])
def test_sizes_are_told_in_units(count: int, told: str) -> None:
    assert words.size(count) == told


async def test_the_metrics_are_those_of_the_command(
    conn: Connection, browse: Browse, make_role: MakeRole, pgjobs_dsn: str
) -> None:
    await add(conn, "ingest", queue="files")
    client = await browse(OBSERVER, as_role(pgjobs_dsn, await make_role("observer")))
    answer = await client.get("/metrics", headers={"accept": "*/*"})
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'pgjobs_jobs{queue="files",job_type="ingest",state="due"} 1\n' in answer.text
    told = exposition(await metrics(Database(conn)))

    def names(text: str) -> list[str]:
        return re.findall(r"^# TYPE .*", text, re.MULTILINE)

    assert names(answer.text) == names(told) != []
    assert 'href="/metrics"' not in (await client.get("/")).text


async def test_ten_scrapers_cost_one_reading(
    conn: Connection, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = 0

    async def counted(database: Database) -> Any:
        nonlocal readings
        readings += 1
        return await metrics(database)

    monkeypatch.setattr("pgjobs.web.pages.metrics.read_metrics", counted)
    client = await browse()
    answers = await asyncio.gather(*(client.get("/metrics") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert readings == 1


async def test_without_the_database_the_metrics_are_unavailable(
    conn: Connection, other: Connection, browse: Browse
) -> None:
    refused = await browse(lambda _: None)
    assert (await refused.get("/metrics")).status_code == 403
    client = await browse()
    assert (await client.get("/metrics")).status_code == 200
    (await client._transport.app._reading._here()).changes += 1  # type: ignore[attr-defined]
    async with other.transaction():
        await other.execute("lock table jobs")
        began = time.monotonic()
        answer = await client.get("/metrics")
        assert time.monotonic() - began < 3
    assert answer.status_code == 503
    assert "no answer" in answer.text
    away = await browse(ADMIN, "postgresql://nobody@127.0.0.1:1/none")
    assert (await away.get("/metrics")).status_code == 503


PATHS = ("/queues", "/queue?name=default", "/schedules", "/workers", "/types", "/audit", "/system")
CHANGES = {
    "/queue/pause": "pause queue", "/queue/resume": "resume queue",
    "/schedule/run": "run schedule", "/schedule/pause": "pause schedule",
    "/schedule/resume": "resume schedule",
}


async def fill(conn: Connection) -> None:
    """Something for each page to show."""
    await ended(conn, "the secret")
    await conn.execute("select jobs_schedule('default', 'mail', every => '1 hour')")
    await conn.execute("select jobs_limit('default', max_running_per_group => 1)")
    await conn.execute("select jobs_retain('completed', '1 day')")
    await add(conn, payload='{"a": "the secret"}')
    await add(conn, group_key="g")
    await conn.execute("select _jobs_history_add()")
    await works(conn, "w1", ["default"])


async def test_without_any_job_each_page_is_there(conn: Connection, browse: Browse) -> None:
    client = await browse()
    for path in PATHS:
        page = await client.get(path)
        assert page.status_code == 200, page.text
        assert "not read yet" not in page.text
        assert "not counted yet" not in page.text
        assert (await client.get(path, headers=JSON)).json()["troubles"] == []


@pytest.mark.parametrize("access", [OBSERVER, OPERATOR], ids=["observer", "operator"])
async def test_who_is_no_admin_sees_the_pages_and_changes_nothing(
    conn: Connection, browse: Browse, access: Access
) -> None:
    await fill(conn)
    before = await conn.fetchval("select count(*) from jobs_audit")
    client = await browse(access)
    for headers in ({}, JSON):
        for path in (*PATHS, "/schedule?name=default"):
            page = await client.get(path, headers=headers)
            assert page.status_code == 200
            assert "the secret" not in page.text
            assert 'method="post"' not in page.text
        for path in CHANGES:
            answer = await client.post(path, data={"name": "default"}, headers=headers | OWN_FORM)
            assert answer.status_code == 403
    assert await conn.fetchval("select count(*) from jobs_audit") == before
    assert await conn.fetchval("select count(*) from jobs_queues where paused_at is not null") == 0


async def test_an_observers_role_sees_the_pages_whatever_access_says(
    conn: Connection, browse: Browse, make_role: MakeRole, pgjobs_dsn: str
) -> None:
    await fill(conn)
    client = await browse(ADMIN, as_role(pgjobs_dsn, await make_role("observer")))
    for path in (*PATHS, "/schedule?name=default"):
        page = await client.get(path)
        assert page.status_code == 200
        assert 'method="post"' not in page.text
        assert "the secret" not in page.text
        told = (await client.get(path, headers=JSON)).json()
        assert told["troubles"] == [], path
    for path in CHANGES:
        answer = await client.post(path, data={"name": "default"}, headers=OWN_FORM)
        assert answer.status_code == 403


async def test_a_database_that_takes_no_changes_shows_no_forms(
    conn: Connection, browse: Browse, make_role: MakeRole, pgjobs_dsn: str
) -> None:
    await fill(conn)
    role = await make_role("admin")
    await conn.execute(f'alter role "{role}" set default_transaction_read_only = on')
    client = await browse(ADMIN, as_role(pgjobs_dsn, role))
    for path in (*PATHS, "/schedule?name=default"):
        page = await client.get(path)
        assert page.status_code == 200
        assert 'method="post"' not in page.text
        assert (await client.get(path, headers=JSON)).json()["troubles"] == [], path
    for path in CHANGES:
        answer = await client.post(path, data={"name": "default"}, headers=OWN_FORM)
        assert answer.status_code == 403


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {}], ids=str)
async def test_a_form_of_another_site_pauses_and_runs_nothing(
    conn: Connection, browse: Browse, headers: dict[str, str]
) -> None:
    await fill(conn)
    before = await conn.fetchval("select count(*) from jobs_audit")
    client = await browse()
    for path in CHANGES:
        assert (await client.get(path)).status_code == 405
        answer = await client.post(path, data={"name": "default"}, headers=headers)
        assert answer.status_code == 403
    assert await conn.fetchval("select count(*) from jobs_audit") == before


async def test_with_the_table_locked_each_page_answers_with_what_it_knows(
    conn: Connection, other: Connection, browse: Browse
) -> None:
    await fill(conn)
    client, fresh = await browse(), await browse()
    paths = (*PATHS, "/schedule?name=default")
    for path in paths:
        assert (await client.get(path)).status_code == 200
    (await client._transport.app._reading._here()).changes += 1  # type: ignore[attr-defined]
    async with other.transaction():
        await other.execute("lock table jobs")
        for each in (client, fresh):
            for path in paths:
                began = time.monotonic()
                page = await each.get(path)
                assert time.monotonic() - began < 3
                assert page.status_code == 200
                if each is client:
                    known = {"/types": "mail", "/audit": "limit", "/system": "PostgreSQL</dt>"}
                    assert known.get(path, "default") in page.text, path
    for path in paths:
        assert "not read yet" not in (await client.get(path)).text


async def test_a_database_that_is_away_leaves_the_pages(browse: Browse) -> None:
    client = await browse(ADMIN, "postgresql://nobody@127.0.0.1:1/none")
    for path in (*PATHS, "/schedule?name=default"):
        page = await client.get(path)
        assert page.status_code == 200
        assert "the database could not be read" in page.text


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_text_and_their_links_lead_back(
    conn: Connection, browse: Browse, name: str
) -> None:
    await conn.execute("select jobs_pause($1, reason => $1)", name)
    await conn.execute("select jobs_schedule($1, $1, every => '1 hour', queue => $1)", name)
    await conn.execute("update jobs_schedules set error = $1", name)
    await add(conn, name, queue=name, group_key=name)
    await works(conn, name, [name], [name])
    await conn.execute("select jobs_retain('completed', '1 day', $1)", name)
    client = await browse(Access(name, "admin", payloads=True))
    seen = set()
    for path in ("/queues", "/schedules", "/workers", "/types", "/audit", "/system"):
        page = await client.get(path)
        assert page.status_code == 200, page.text
        links = re.findall(r'href="(/(?:queue|schedule|audit|workers|jobs)\?[^"]*)"', page.text)
        for link in {path, *map(unescape, links)} - seen:
            seen.add(link)
            found = await client.get(link)
            assert found.status_code == 200, link
            assert "<script>alert" not in found.text
            assert "<img" not in found.text
            assert "\u202e" not in re.sub(rf">{re.escape(name)}<|value=\"[^\"]*\"", "", found.text)
    assert {link.split("?")[0] for link in seen} >= {"/queue", "/schedule", "/jobs", "/audit"}
    told = (await client.get("/queue", params={"name": name}, headers=JSON)).json()["page"]
    assert told["queue"]["pause"]["reason"] == name
    assert told["queue"]["counts"]["states"]["due"]["jobs"] == 1
    done = await client.post("/queue/resume", data={"name": name}, headers=OWN_FORM)
    shown = await client.get(done.headers["location"], headers=JSON)
    assert shown.json()["page"]["queue"]["name"] == name


async def test_each_page_has_one_heading_and_tables_with_heads(
    conn: Connection, browse: Browse
) -> None:
    await fill(conn)
    client = await browse()
    for path in (*PATHS, "/schedule?name=default"):
        page = (await client.get(path)).text
        assert page.count("<h1") == 1
        assert not any(part in page for part in ("<style", " style=", " onclick="))
        for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
            assert 'scope="col"' in table
        for field in re.findall(r"<(?:input|select)[^>]*>", page):
            place = page.index(field)
            is_labelled = 'type="hidden"' in field or page.rindex("<label", 0, place) > page.rfind(
                "</label>", 0, place
            ) or 'id="q"' in field
            assert is_labelled, field


async def test_the_navigation_names_the_pages_in_order(browse: Browse) -> None:
    page = (await (await browse()).get("/")).text
    nav = page[page.index('<nav aria-label="Pages">') : page.index("</nav>")]
    names = [name for name in re.findall(r">([A-Za-z]+)</a>", nav) if name != "Failures"]
    assert names == [
        "Overview", "Jobs", "Queues", "Schedules", "Workers", "Types", "Audit", "System"
    ]
