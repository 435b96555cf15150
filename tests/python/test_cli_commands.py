"""Runs every command on a real database; checks its output, its changes and its exit status."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from pgjobs.cli.commands import cli
from pgjobs.cli.frame import Frame, body
from pgjobs.cli.options import duration

ROOT = Path(__file__).parents[2]
Connection = asyncpg.Connection
Run = Callable[..., Result]


@pytest.fixture
def run(pgjobs_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on this test's database and asserts its exit status."""
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)

    def run(*arguments: str, status: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, arguments, input=stdin)
        assert result.exit_code == status, result.output
        return result

    return run


@pytest.fixture
def run_in_thread(run: Run) -> Callable[..., Any]:
    """Runs a command in a thread: the command starts its own event loop, as the test did."""
    async def run_(*arguments: str, **options: Any) -> Result:
        return await asyncio.to_thread(run, *arguments, **options)

    return run_


async def job(conn: Connection, job_id: int = 1) -> Any:
    row = await conn.fetchrow("select * from jobs where id = $1", job_id)
    assert row is not None
    return row


@pytest.mark.parametrize(("given", "payload"), [((), "{}"), (("{}",), "{}"), (("null",), "null")])
async def test_enqueue_keeps_null_and_an_empty_object_apart(
    conn: Connection, run_in_thread: Any, given: tuple[str, ...], payload: str
) -> None:
    await run_in_thread("enqueue", "t", *given)
    assert (await job(conn))["payload"] == payload


async def test_enqueue_adds_a_job_with_all_its_options(
    conn: Connection, run_in_thread: Any
) -> None:
    command = (
        "enqueue", "ingest", '{"file_path": "a.pdf"}', "--queue", "files", "--priority", "-2",
        "--reference", "file_upload:42", "--max-retries", "7", "--unique-key", "k",
        "--unique-scope", "kept", "--run-at", "2030-01-31T08:00+01:00", "--group", "g",
        "--expires", "7d",
    )
    said = [await run_in_thread(*command, *more) for more in ((), (), ("--json",))]
    assert said[0].stdout == "job 1 is new and pending in queue files\n"
    assert said[1].stdout == "job 1 is not new: pending in queue files\n"
    assert json.loads(said[2].stdout)["is_new"] is False
    row = await job(conn)
    assert row["payload"] == '{"file_path": "a.pdf"}'
    assert (row["queue"], row["priority"], row["max_retries"]) == ("files", -2, 7)
    assert (row["reference_type"], row["reference_id"]) == ("file_upload", 42)
    assert (row["unique_key"], row["unique_scope"], row["group_key"]) == ("k", "kept", "g")
    assert row["run_at"].isoformat() == "2030-01-31T07:00:00+00:00"
    assert row["expires_at"] > row["created_at"]


async def test_enqueue_replaces_what_holds_the_key_or_fails_as_it_is_told(
    conn: Connection, run_in_thread: Any
) -> None:
    for payload, *more in [
        ("1", "--on-conflict", "debounce", "--max-wait", "1h", "--delay", "1m"),
        ("2", "--on-conflict", "replace"),
    ]:
        await run_in_thread("enqueue", "index", payload, "--unique-key", "k", *more)
    assert await conn.fetchval("select payload from jobs") == "2"
    raising = ("--unique-key", "k", "--on-conflict", "raise")
    with pytest.raises(AssertionError, match="job 1 of type index holds the unique_key 'k'"):
        await run_in_thread("enqueue", "index", *raising)
    period = ("--unique-key", "l", "--unique-scope", "period", "--unique-for", "1h")
    await run_in_thread("enqueue", "index", *period)
    scopes = await conn.fetch("select unique_scope from jobs order by id")
    assert [row["unique_scope"] for row in scopes] == ["live", "period"]


async def test_enqueue_says_where_no_living_worker_takes_the_job(
    conn: Connection, run_in_thread: Any
) -> None:
    said = await run_in_thread("enqueue", "a")
    assert said.stdout == "job 1 is pending in queue default\n"
    assert said.stderr == (
        "warning: job 1 waits: no worker is connected; start one: pgjobs worker MODULE:APP\n"
    )
    await conn.execute(
        "select from jobs_worker_start('w', '{mails,letters}', '{send_mail}', 3)"
    )
    said = await run_in_thread("enqueue", "send_mail")
    assert said.stdout == "job 2 is pending in queue default\n"
    assert said.stderr == (
        "warning: job 2 waits: no connected worker has a handler for send_mail in queue default; "
        "workers have one in the queues letters, mails: pgjobs cancel 2, then give --queue "
        "letters\n"
    )
    said = await run_in_thread("enqueue", "send_mial", "-q", "mails")
    assert "no connected worker has a handler for send_mial;" in said.stderr
    assert (await run_in_thread("enqueue", "send_mail", "-q", "mails")).stderr == ""
    said = await run_in_thread("enqueue", "send_mail", "--json")
    assert said.stderr == ""
    assert "in the queues letters, mails" in json.loads(said.stdout)["why_it_waits"]


async def test_a_role_that_may_not_see_workers_enqueues_without_a_warning(
    conn: Connection, run_in_thread: Any, pgjobs_dsn: str
) -> None:
    role = f"web_{uuid4().hex[:12]}"
    await conn.execute(f"create role {role} login; select from jobs_grant('{role}', 'producer')")
    try:
        dsn = re.sub(r"user=\w+", f"user={role}", pgjobs_dsn)
        assert role in dsn
        said = await run_in_thread("enqueue", "a", "--dsn", dsn)
        assert (said.stdout, said.stderr) == ("job 1 is pending in queue default\n", "")
    finally:
        await conn.execute(f"drop owned by {role}; drop role {role}")


async def test_enqueue_reads_the_payload_from_stdin_and_takes_a_delay(
    conn: Connection, run_in_thread: Any
) -> None:
    said = await run_in_thread("enqueue", "a", "-", "--delay", "1h30m", "--json", stdin="[1, 2]")
    assert json.loads(said.stdout)["payload"] == [1, 2]
    wait = await conn.fetchval("select run_at - created_at from jobs")
    assert 5390 < wait.total_seconds() < 5401


async def test_list_filters_and_shows_the_newest_first(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """select from jobs_enqueue('a'); select from jobs_enqueue('b', queue => 'q');
        select from jobs_enqueue('c', max_retries => 0, reference_type => 'file',
            reference_id => 3);
        select from jobs_claim('w', job_types => '{c}');
        select from jobs_fail(3, E'no [bold]disk\\n\\x1b[31mtrace')"""
    )
    lines = (await run_in_thread("list")).stdout.splitlines()
    # No job has a worker or a priority.
    assert lines[0].split() == [
        "id", "queue", "type", "status", "retry", "age", "error", "reference",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1"]
    assert lines[1].endswith("no [bold]disk  file:3")
    failed = json.loads((await run_in_thread("list", "--status", "failed", "--json")).stdout)
    assert [(row["id"], row["error"]) for row in failed] == [(3, "no [bold]disk\n\x1b[31mtrace")]
    assert failed[0]["age"] >= 0
    found = json.loads((await run_in_thread("list", "-q", "q", "-t", "b", "--json")).stdout)
    assert [row["id"] for row in found] == [2]
    found = json.loads((await run_in_thread("list", "-n", "1", "--json")).stdout)
    assert [row["id"] for row in found] == [3]
    assert (await run_in_thread("list", "-s", "cancelled")).stdout == "no such jobs\n"
    assert json.loads((await run_in_thread("list", "-s", "cancelled", "--json")).stdout) == []
    found = json.loads((await run_in_thread("list", "--reference", "file:3", "--json")).stdout)
    assert [row["id"] for row in found] == [3]
    assert (await run_in_thread("list", "--reference", "file:x")).stdout == "no such jobs\n"
    shown = (await run_in_thread("show", "3")).stdout
    assert "\x1b" not in shown
    assert "no [bold]disk" in shown


async def test_a_list_tells_retries_and_crashes_whatever_the_attempts_were(
    conn: Connection, run_in_thread: Any
) -> None:
    async def listed(*names: str) -> list[str]:
        head, line = (await run_in_thread("list")).stdout.splitlines()
        return [line.split()[head.split().index(name)] for name in names]

    await conn.execute("select from jobs_enqueue('a', max_retries => 2, backoff => '{0 s}')")
    assert await listed("retry") == ["0/2"]
    # Given back and snoozed.
    for run_ats in ("null", "array[clock_timestamp()]"):
        await conn.execute("select from jobs_claim('w')")
        assert await conn.fetchval(
            f"select jobs_release_many('w', '{{1}}', array[attempt], {run_ats}) from jobs"
        )
    assert await listed("retry") == ["0/2"]
    await conn.execute("select from jobs_claim('w'); select from jobs_fail(1, 'no')")
    assert await listed("retry") == ["1/2"]
    await conn.execute("select from jobs_claim('w'); select from jobs_recover('w')")
    assert await listed("retry", "crash") == ["1/2", "1"]
    for _ in range(2):
        await conn.execute("select from jobs_claim('w'); select from jobs_fail(1, 'no')")
    assert await listed("status", "retry") == ["failed", "2/2"]
    await conn.execute("select from jobs_retry(1)")
    assert await listed("status", "retry") == ["pending", "0/2"]
    assert "crash" not in (await run_in_thread("list")).stdout


@pytest.mark.parametrize(
    ("error", "listed"),
    [
        ("shop.smtp.SmtpError: closed", "SmtpError: closed"),
        ("shop.make.<locals>.SmtpError", "SmtpError"),
        ("ValueError: shop.X: no", "ValueError: shop.X: no"),
        ("mail.example.com: no answer", "mail.example.com: no answer"),
    ],
)
async def test_a_list_names_the_class_of_an_error_without_its_module(
    conn: Connection, run_in_thread: Any, error: str, listed: str
) -> None:
    await conn.execute(
        """insert into jobs (job_type, status, finished_at, error)
        values ('a', 'failed', now(), $1)""", error,
    )
    assert (await run_in_thread("list")).stdout.splitlines()[1].endswith(f"s  {listed}")
    assert json.loads((await run_in_thread("list", "--json")).stdout)[0]["error"] == error


async def test_show_takes_several_ids_and_goes_on_after_one_that_is_unknown(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute("select from jobs_enqueue('a'); select from jobs_enqueue('b')")
    said = await run_in_thread("show", "2", "9", "1", status=1)
    assert re.findall(r"^(?:id|job_type) +(\w+)", said.stdout, re.MULTILINE) == [
        "2", "b", "1", "a",
    ]
    assert said.stderr == "pgjobs: there is no job 9: pgjobs list shows which there are\n"
    found = json.loads((await run_in_thread("show", "2", "1", "--json")).stdout)
    assert [job["id"] for job in found] == [2, 1]


async def test_show_says_for_how_long_a_job_ran_that_an_attempt_ended(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """insert into jobs (job_type, status, started_at, cancel_requested_at, finished_at)
        select 'a', status, now() - interval '90 s', asked, now()
        from (values ('completed', null::timestamptz), ('failed', null), ('cancelled', now()),
            ('cancelled', null)) given(status, asked)"""
    )
    shown = [(await run_in_thread("show", str(n))).stdout for n in (1, 2, 3, 4)]
    assert all(re.search(r"^ran +1m30s$", text, re.MULTILINE) for text in shown[:3])
    assert "\nran " not in shown[3]


async def test_a_list_goes_on_before_a_job(conn: Connection, run_in_thread: Any) -> None:
    for _ in range(3):
        await conn.execute("select from jobs_enqueue('a')")
    lines = (await run_in_thread("list", "--before", "3", "-n", "1")).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["id", "2"]


async def test_a_list_that_gives_up_says_how_it_goes_on(
    conn: Connection, run_in_thread: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("pgjobs.database.reading.MAX_READ_JOBS", 2)
    await conn.execute("select from jobs_enqueue('a', queue => 'rare')")
    for _ in range(3):
        await conn.execute("select from jobs_enqueue('a')")
    said = await run_in_thread("list", "--queue", "rare")
    assert said.stdout == "no such jobs so far\n"
    assert "--before 3" in said.stderr
    found = json.loads(
        (await run_in_thread("list", "-q", "rare", "--before", "3", "--json")).stdout
    )
    assert [row["id"] for row in found] == [1]


async def test_show_prints_every_field_of_a_job(conn: Connection, run_in_thread: Any) -> None:
    await conn.execute(
        """select from jobs_enqueue('a', '{"n": [1, {"ü": null}]}', backoff => '{1 min}');
        select from jobs_claim('w'); select from jobs_complete(1, '"done"')"""
    )
    data = json.loads((await run_in_thread("show", "1", "--json")).stdout)
    assert data["payload"] == {"n": [1, {"ü": None}]}
    assert (data["result"], data["status"], data["backoff"]) == ("done", "completed", [60.0])
    columns = await conn.fetch(
        "select attname from pg_attribute where attrelid = 'jobs'::regclass and attnum > 0"
    )
    internal = {"marks", "unique_until"}
    assert set(data) == {row["attname"] for row in columns} - internal
    text = (await run_in_thread("show", "1")).stdout
    assert "job_type      a\n" in text
    assert '"ü": null' in text


async def test_durations_are_shown_as_options_take_them_and_moments_with_their_offset(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        "select from jobs_enqueue('a', backoff => '{250 ms,5 s,3 min,1 h 30 min,2 days}')"
    )
    shown = (await run_in_thread("show", "1")).stdout
    told = re.search(r"^backoff +(.*)$", shown, re.MULTILINE)
    assert told is not None
    assert told[1] == "0.25s, 5s, 3m, 1h30m, 2d"
    assert [duration(text).total_seconds() for text in told[1].split(", ")] == [
        0.25, 5, 180, 5400, 172800,
    ]
    assert re.search(r"^created_at +\S+ [\d:]{8}[+-]\d\d:\d\d$", shown, re.MULTILINE)


async def test_show_says_why_the_history_leaves_out_an_attempt(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute("select from jobs_enqueue('a')")
    for attempt in (1, 2, 3):
        await conn.execute("update jobs set run_at = now() where status = 'pending'")
        await conn.execute("select from jobs_claim('w')")
        if attempt == 2:
            await conn.execute("select from jobs_release_many('w', '{1}', '{2}')")
        else:
            await conn.execute("select from jobs_fail(1, 'no')")
    assert "\nnot listed: 2. Such an attempt was" in (await run_in_thread("show", "1")).stdout


async def test_top_tells_no_more_jobs_than_it_read_where_all_have_room() -> None:
    frame = Frame(
        stats=[{"status": "processing", "state": "processing", "count": 2, "capped": False,
                "queue": "q", "job_type": "t", "oldest_due": None}],  # type: ignore[list-item]
        paused={}, limited=[], workers=[], rates={}, read_at=datetime.now(UTC),
        running=[{"id": 1, "queue": "q", "job_type": "t", "age": timedelta(1), "attempt": 1,
                  "cancel_requested_at": None, "lease": None,
                  "worker": "w"}],  # type: ignore[list-item]
    )
    tables: Any = body(frame)
    assert tables.renderables[-1].title == "Running, the longest first"


async def test_show_prints_the_attempts_that_failed(conn: Connection, run_in_thread: Any) -> None:
    await conn.execute(
        """select from jobs_enqueue('a'); select from jobs_claim('w');
        select from jobs_fail(1, e'mailbox full\n\ntraceback', error_kind => 'shop.Full')"""
    )
    await conn.execute("select from jobs_enqueue('b')")
    text = (await run_in_thread("show", "1", "2")).stdout
    [heading] = [line for line in text.splitlines() if line.startswith("attempt  outcome")]
    [attempt] = [line for line in text.splitlines() if "shop.Full" in line]
    assert heading.split() == ["attempt", "outcome", "ended", "ran", "worker", "kind", "error"]
    assert attempt.split()[:2] == ["1", "failed"]
    assert attempt.endswith("mailbox full")


async def test_retry_and_cancel_go_on_after_a_job_that_fails(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """select jobs_enqueue('a') from generate_series(1, 3);
        select from jobs_start(3, 'w')"""
    )
    said = await run_in_thread("cancel", "1", "9", "2", "3", "--reason", "no file", status=1)
    assert said.stdout.splitlines() == [
        "job 1 is cancelled", "job 2 is cancelled", "job 3 is running: w was asked to stop it",
    ]
    assert said.stderr == "pgjobs: there is no job 9: pgjobs list shows which there are\n"
    assert (await job(conn))["error"] == "no file"
    said = await run_in_thread("retry", "1", "3", "2", status=1)
    assert said.stdout.splitlines() == ["job 1 is pending again", "job 2 is pending again"]
    assert said.stderr == "pgjobs: job 3 is processing already\n"


async def test_retry_failed_takes_filters(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """insert into jobs (job_type, queue, status, finished_at, error)
        select t, q, 'failed', clock_timestamp() - interval '2 h' * n, 'no'
        from unnest(array['a', 'b'], array['p', 'q'], array[0, 1]) u (t, q, n)"""
    )
    for options, expected in (
        (["--type", "z"], 0), (["--queue", "p", "--type", "b"], 0), (["--since", "1h"], 1), ([], 1)
    ):
        said = await run_in_thread("retry", "--failed", *options)
        told = "1 job is" if expected == 1 else f"{expected} jobs are"
        assert said.stdout == f"{told} pending again\n"


async def test_retry_failed_goes_on_after_a_batch_with_two_jobs_of_one_key(
    conn: Connection, run_in_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.cli.many._BATCH_JOBS", 2)
    await conn.execute(
        """insert into jobs (job_type, unique_key, status, finished_at)
        select 'a', k, 'failed', clock_timestamp() - interval '1 s' * n
        from unnest(array['k', 'k', null, null]) with ordinality u (k, n)"""
    )
    said = await run_in_thread("retry", "--failed")
    assert said.stdout == "3 jobs are pending again\n"


async def test_pause_and_resume(conn: Connection, run_in_thread: Any) -> None:
    await conn.execute("select from jobs_enqueue('a')")
    said = await run_in_thread("pause", "default")
    assert said.stdout.startswith("queue default is paused since 2")
    assert not await conn.fetch("select from jobs_claim('w')")
    assert "default  (paused)" in (await run_in_thread("stats")).stdout
    said = await run_in_thread("resume", "default")
    assert said.stdout == "queue default is open\n"
    assert await conn.fetch("select from jobs_claim('w')")


async def test_a_pause_may_have_an_end_and_a_reason_which_stats_top_and_list_show(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute("select from jobs_enqueue('a')")
    reason = "the mail server moves to Hamburg"
    said = (await run_in_thread("pause", "default", "--for", "2h", "--reason", reason)).stdout
    moment = r"\S+ [\d:]{8}[+-]\d\d:\d\d"
    assert re.fullmatch(rf"queue default is paused since {moment} until {moment}: {reason}\n", said)
    assert await conn.fetchval("select paused_until - paused_at > '119 min' from jobs_queues")
    assert (await run_in_thread("list")).stdout.splitlines()[-1] == said.strip()
    assert "(paused: the mail server moves t…)" in (await run_in_thread("stats")).stdout
    assert "(paused: the mail server moves t…)" in (await run_in_thread("top", "--once")).stdout
    top = json.loads((await run_in_thread("top", "--json")).stdout)
    assert top["paused"]["default"]["pause_reason"] == reason
    paused = await run_in_thread("pause", "default", "--until", "2100-01-01T00:00Z", "--json")
    assert json.loads(paused.stdout)["paused_until"] == "2100-01-01T00:00:00+00:00"
    await conn.execute("update jobs_queues set paused_until = clock_timestamp()")
    assert "paused" not in (await run_in_thread("stats")).stdout
    assert "paused" not in (await run_in_thread("list")).stdout
    both = ("--for", "1h", "--until", "2100-01-01T00:00Z")
    assert "not both" in (await run_in_thread("pause", "default", *both, status=2)).stderr


async def test_all_queues_are_paused_and_resumed_at_once(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """select from jobs_enqueue('a', queue => 'mail');
        select from jobs_worker_start('w', '{served}', null, 1); select from jobs_pause('known')"""
    )
    said = (await run_in_thread("pause", "--all", "--reason", "a move")).stdout
    assert [line.split()[1] for line in said.splitlines()] == ["known", "mail", "served"]
    opened = json.loads((await run_in_thread("resume", "--all", "--json")).stdout)
    assert [row["queue"] for row in opened] == ["known", "mail", "served"]
    assert await conn.fetchval("select count(*) from jobs_queues where paused_at is not null") == 0
    assert "give a QUEUE, or --all" in (await run_in_thread("pause", status=2)).stderr


@pytest.mark.parametrize(
    "make_known",
    [("select from jobs_enqueue('a', queue => 'q'); update jobs set status = 'completed',"
     " finished_at = clock_timestamp()"),
     "select from jobs_enqueue('a', queue => 'q')", "select from jobs_pause('q')",
     "select from jobs_worker_start('w', '{p,q}', null, 1)"],
)
async def test_only_the_pause_of_a_queue_that_nobody_uses_needs_a_yes(
    conn: Connection, run_in_thread: Any, make_known: str
) -> None:
    for command in ("pause", "resume"):
        await run_in_thread(command, "q", status=2)
    assert not await conn.fetch("select from jobs_queues")
    await conn.execute(make_known)
    for command in ("pause", "resume"):
        await run_in_thread(command, "q")
        await run_in_thread(command, f"not for {command}", status=2)
        await run_in_thread(command, f"not for {command}", "--yes")


# What each command is called with, and what its document has to hold.
DOCUMENTS = {
    "migrate": ([], {"schema": "public", "applied": [], "version": "0.1.0"}),
    "sql": ([], {"version": "0.1.0"}),
    "grant": (["{role}", "worker"], {"rights": "worker", "schema": "public"}),
    "enqueue": (["a", "[1]"], {"payload": [1], "status": "pending"}),
    "list": ([], [{"id": 1, "status": "failed"}]),
    "show": (["1"], {"id": 1, "status": "failed"}),
    "stats": ([], [{"queue": "default", "job_type": "a", "status": "failed", "count": 1}]),
    "top": ([], {"paused": {}, "workers": [], "running": []}),
    "doctor": ([], [{"check_name": "expired leases", "verdict": "ok"}]),
    "why": (["1"], [{"reason": "failed"}]),
    "audit": ([], [{"action": "retry", "job_id": 1}]),
    "edit": (["1", "--priority", "3"], {"id": 1, "status": "pending", "priority": 3}),
    "delete": (["--type", "a", "--yes"], {"deleted": 1}),
    "retry": (["1"], [{"id": 1, "status": "pending", "attempt": 1}]),
    "retry --failed": (["--failed"], {"retried": 1}),
    "cancel": (["1"], None),
    "pause": (["default"], {"queue": "default"}),
    "resume": (["default"], {"queue": "default", "paused_at": None}),
    "limit": (["default"], {"queue": "default"}),
    "cleanup": (["-s", "failed", "--older-than", "0s"], {"deleted": 1}),
}
# These run until they are stopped, and print nothing but a log, or a show for people.
WITHOUT_DOCUMENT = {"metrics", "worker", "demo", "web"}
IN_TEST_CLI_SCHEDULES = {"apply"}


def test_all_commands_but_four_print_json() -> None:
    commands = {str(command.name) for command in cli.registered_commands}
    with_document = {name.split()[0] for name in DOCUMENTS} | IN_TEST_CLI_SCHEDULES
    assert commands == WITHOUT_DOCUMENT | with_document


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_every_command_prints_one_json_document(
    conn: Connection, run_in_thread: Any, name: str
) -> None:
    arguments, expected = DOCUMENTS[name]
    role = f"web_{uuid4().hex[:12]}"
    await conn.execute(
        f"""select from jobs_enqueue('a'); select from jobs_claim('w');
        select from jobs_fail(1, 'no', retry => false); create role {role}"""
    )
    try:
        if name in ("cancel", "edit", "audit"):
            await conn.execute("select from jobs_retry(1)")
        if name == "cancel":
            expected = [{"id": 1, "status": "cancelled"}]
        command = name.split(maxsplit=1)[0]
        given = [argument.format(role=role) for argument in arguments]
        said = await run_in_thread(command, *given, "--json")
        found = json.loads(said.stdout)
        assert said.stderr == ""
        if isinstance(found, list):
            (found, *_), (expected,) = found, expected
        assert {key: found[key] for key in expected} == expected
    finally:
        await conn.execute(f"drop owned by {role}; drop role {role}")


async def test_a_document_has_the_jobs_that_changed_and_stderr_the_others(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute("select from jobs_enqueue('a')")
    said = await run_in_thread("cancel", "9", "1", "--json", status=1)
    assert [job["id"] for job in json.loads(said.stdout)] == [1]
    assert said.stderr == "pgjobs: there is no job 9: pgjobs list shows which there are\n"


async def test_cleanup_deletes_batches_until_no_job_is_left(
    conn: Connection, run_in_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobs.cli.queues._CLEANUP_BATCH", 10)
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        select 'a', case when n > 25 then 'failed' else 'completed' end,
            clock_timestamp() - interval '1 day' * n
        from generate_series(1, 30) n"""
    )
    assert (await run_in_thread("cleanup")).stdout == "19 jobs are deleted\n"
    said = await run_in_thread("cleanup", "--older-than", "1h", "-s", "failed", "-s", "completed")
    assert said.stdout == "11 jobs are deleted\n"


async def test_a_clean_up_ends_although_more_jobs_become_old_enough(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        select 't', 'completed', clock_timestamp() - interval '7 days' + n * interval '1 ms'
        from generate_series(1, 30000) n"""
    )
    await run_in_thread("cleanup")
    assert await conn.fetchval("select count(*) from jobs") > 0


async def test_stats_counts_the_states_of_pending_jobs_up_to_a_cap(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """insert into jobs (job_type, run_at)
        select 'a', clock_timestamp() + case when n <= 2 then interval '1 h' else '-1 h' end
        from generate_series(1, 10003) n"""
    )
    stats = json.loads((await run_in_thread("stats", "--json")).stdout)
    assert [(r["status"], r["state"], r["count"], r["capped"]) for r in stats] == [
        ("pending", "due", 10000, True), ("pending", "later", 2, False),
    ]
    assert 3600 <= stats[0]["oldest_due"] < 3700
    lines = (await run_in_thread("stats")).stdout.splitlines()
    assert lines[0].split() == ["queue", "type", "due", "oldest", "later"]
    assert lines[1].split()[2] == "10000+"
    assert lines[1].split()[-1] == "2"


async def test_stats_and_top_tell_apart_what_is_due_what_comes_later_and_what_is_retried(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """insert into jobs (job_type, run_at, retry_count)
        select 'a', clock_timestamp() + due_in, retry_count
        from (values (interval '-1 s', 1), ('1 h', 0), ('1 h', 0), ('1 h', 1), ('1 h', 2),
            ('1 h', 3)) given(due_in, retry_count)"""
    )
    lines = (await run_in_thread("stats")).stdout.splitlines()
    assert lines[0].split() == ["queue", "type", "due", "oldest", "later", "retrying"]
    counts = lines[1].split()
    assert (counts[2], *counts[4:]) == ("1", "2", "3")
    frame = (await run_in_thread("top", "--once")).stdout
    assert "6 pending, 0 running, 0 failed" in frame
    assert re.search(r"^pending +1 due, 2 later, 3 retrying$", frame, re.MULTILINE)


async def test_top_counts_the_workers_that_are_gone_apart(
    conn: Connection, run_in_thread: Any, pgjobs_dsn: str
) -> None:
    other = await asyncpg.connect(pgjobs_dsn)
    try:
        await other.execute("select from jobs_worker_start('killed', '{default}', null, 3)")
    finally:
        await other.close()
    frame = (await run_in_thread("top", "--once")).stdout
    assert re.search(r"^workers +none, 1 gone$", frame, re.MULTILINE)
    await conn.execute("select from jobs_worker_start('w', '{default}', null, 3)")
    frame = (await run_in_thread("top", "--once")).stdout
    assert re.search(r"^workers +1, 1 gone$", frame, re.MULTILINE)


async def test_stats_and_top_and_doctor_print_tables_or_json(
    conn: Connection, run_in_thread: Any
) -> None:
    await conn.execute(
        """select from jobs_enqueue('a'); select from jobs_enqueue('b');
        select from jobs_claim('w', job_types => '{b}');
        select from jobs_worker_start('w', '{default}', '{a}', 3)"""
    )
    lines = (await run_in_thread("stats")).stdout.splitlines()
    assert lines[0].split() == ["queue", "type", "due", "oldest", "running"]
    assert lines[1].split()[:3] == ["default", "a", "1"]
    assert lines[1].split()[-1] == "0"
    assert lines[2].split() == ["default", "b", "0", "1"]
    stats = json.loads((await run_in_thread("stats", "--json")).stdout)
    assert [(r["job_type"], r["status"], r["count"], r["paused"]) for r in stats] == [
        ("a", "pending", 1, False), ("b", "processing", 1, False),
    ]
    frame = (await run_in_thread("top", "--once")).stdout
    assert "1 pending, 1 running, 0 failed" in frame
    assert "\x1b" not in frame
    data = json.loads((await run_in_thread("top", "--json")).stdout)
    assert [w["worker"] for w in data["workers"]] == ["w"]
    assert [(r["id"], r["worker"]) for r in data["running"]] == [(2, "w")]
    assert data["finished_per_second"] == {"completed": 0, "failed": 0, "cancelled": 0}
    report = (await run_in_thread("doctor")).stdout
    assert report.splitlines()[0].split() == [
        "verdict", "check", "detail", "and", "what", "to", "do"
    ]
    await conn.execute("alter table jobs set unlogged")
    said = await run_in_thread("doctor", "--json", status=1)
    checks = {row["check_name"]: row["verdict"] for row in json.loads(said.stdout)}
    assert checks["persistence"] == "bad"
    assert said.stderr == "pgjobs: bad: persistence\n"


def test_the_doctors_advice_stands_below_what_it_is_about(run: Run) -> None:
    report = run("doctor").stdout
    assert re.search(
        r"^warn +workers +none is connected\n +→ start one: pgjobs worker MODULE:APP$",
        report, re.MULTILINE,
    )


async def test_what_stderr_says_stands_behind_what_stdout_has_said_in_a_pipe_too(
    conn: Connection, pgjobs_dsn: str
) -> None:
    await conn.execute("alter table jobs set unlogged; select from jobs_enqueue('a')")
    for command, first, last in (
        (["doctor"], "verdict", "pgjobs: bad: workers, persistence"),
        (["show", "1", "9"], "id", "pgjobs: there is no job 9: pgjobs list shows which there are"),
    ):
        said = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "pgjobs", *command, "--dsn", pgjobs_dsn],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=ROOT,
        )
        lines = said.stdout.splitlines()
        assert lines[0].startswith(first)
        assert lines[-1] == last


async def test_the_doctor_compares_the_versions(conn: Connection, run_in_thread: Any) -> None:
    await conn.execute(
        "create or replace function jobs_version() returns text return '0.0.1'"
    )
    checks = json.loads((await run_in_thread("doctor", "--json")).stdout)
    (version,) = [row for row in checks if row["check_name"] == "version"]
    assert (version["verdict"], version["detail"]) == ("warn", "0.0.1")
    assert "pgjobs migrate" in version["advice"]


async def test_top_goes_on_until_it_is_interrupted(run_in_thread: Any, monkeypatch: Any) -> None:
    prints = 0

    async def sleep(seconds: float) -> None:
        nonlocal prints
        prints += 1
        if prints == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("pgjobs.cli.top.asyncio.sleep", sleep)
    said = await run_in_thread("top", "--every", "5m", status=130)
    assert said.stdout.count("schema public") == 3


async def test_grant_lets_a_role_enqueue(
    conn: Connection, pgjobs_dsn: str, run_in_thread: Any
) -> None:
    role = f"web_{uuid4().hex[:12]}"
    await conn.execute(f"create role {role} login")
    try:
        as_role = pgjobs_dsn.replace("user=postgres", f"user={role}")
        said = await run_in_thread("enqueue", "a", "--dsn", as_role, status=1)
        assert "permission denied" in said.stderr
        assert "pgjobs grant" in said.stderr
        said = await run_in_thread("grant", role, "producer")
        assert said.stdout == f"{role} is producer in schema public\n"
        await run_in_thread("enqueue", "a", "--dsn", as_role)
        await run_in_thread("list", "--dsn", as_role, status=1)
    finally:
        await conn.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize(
    "payload",
    ["repeat('[', 5000) || repeat(']', 5000)", "'1' || repeat('0', 5000)",
     "repeat('[', 300) || repeat(']', 300)"],
)
async def test_show_prints_what_python_cannot_read(
    conn: Connection, run_in_thread: Any, payload: str
) -> None:
    text = await conn.fetchval(f"select payload::text from jobs_enqueue('a', ({payload})::jsonb)")
    shown = (await run_in_thread("show", "1")).stdout
    assert "job_type " in shown
    assert text[:20] in shown or "[\n" in shown
    data = json.loads((await run_in_thread("show", "1", "--json")).stdout)
    assert data["payload"] == text or data["payload"] == json.loads(text)
