"""Jobs that wait for others on the command line: enqueue, cancel, and the tree of show."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from pgjobs.cli.commands import cli


@pytest.fixture
def run_in_thread(pgjobs_dsn, monkeypatch):
    """Runs a command on this test's database, in a thread, and asserts its exit status."""
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)

    async def run(*arguments, status=0):
        result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
        assert result.exit_code == status, result.output
        return result

    return run


@pytest.fixture
def tree(run_in_thread):
    """The lines of the tree that show draws of a job."""

    async def lines(job_id):
        _, _, tree = (await run_in_thread("show", str(job_id))).stdout.rpartition("\n\n")
        return tree.splitlines()

    return lines


@pytest.fixture
def add(conn):
    """Enqueues jobs that depend on parents, one for each type; returns their ids."""

    async def enqueue(*types, after=(), on_parent_failed="cancel"):
        items = [
            {"job_type": t, "depends_on": list(after), "on_parent_failed": on_parent_failed}
            for t in types
        ]
        rows = await conn.fetch(
            "select jobs_enqueue_many as id from jobs_enqueue_many($1)", json.dumps(items)
        )
        return [row["id"] for row in rows]

    return enqueue


@pytest.fixture
async def count(conn):
    async def flows():
        while await conn.fetchval("select _jobs_flow_pending()"):
            await conn.execute("select _jobs_flow_attach(1000)")
            await conn.execute("select _jobs_flow_resolve(1000)")

    return flows


async def test_enqueue_names_the_jobs_to_wait_for_and_what_if_one_fails(conn, run_in_thread):
    first, second = [
        await conn.fetchval("select id from jobs_enqueue('parse')") for _ in range(2)
    ]
    said = await run_in_thread(
        "enqueue", "report", "--depends-on", str(first), "--depends-on", str(second),
        "--on-parent-failed", "run",
    )
    assert said.stdout == "job 3 is blocked in queue default\n"
    assert await conn.fetchval("select on_parent_failed from jobs_flows where job_id = 3") == "run"
    assert await conn.fetchval("select depends_on_left from jobs where id = 3") == 2


async def test_enqueue_adds_a_member_to_a_batch(conn, run_in_thread):
    batch = await conn.fetchval("select id from jobs_batch('report')")
    await run_in_thread("enqueue", "parse", "--batch", str(batch))
    assert await conn.fetchval("select batch_id from jobs where job_type = 'parse'") == batch


@pytest.mark.parametrize(("given", "told", "status"), [
    (["--depends-on", "77"], "there is no job 77, which depends_on names", 1),
    (["--depends-on", "page"], "--depends-on: 'page' is not the id of a job", 2),
    (["--batch", "77"], "there is no batch 77", 1),
    (["--on-parent-failed", "stop"], "choose of cancel, run, wait, only", 2),
])
async def test_enqueue_refuses_what_it_cannot_wait_for(run_in_thread, conn, given, told, status):
    said = await run_in_thread("enqueue", "report", *given, status=status)
    assert told in said.stderr
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_cancel_downstream_cancels_those_that_wait(conn, add, run_in_thread):
    [first] = await add("fetch")
    [second] = await add("parse", after=[first], on_parent_failed="run")
    await add("report", after=[second], on_parent_failed="run")
    said = await run_in_thread("cancel", str(first), "--downstream", "--reason", "wrong day")
    assert said.stdout == "job 1 is cancelled; those that waited for it are cancelled\n"
    rows = await conn.fetch("select status, error from jobs")
    assert {(row["status"], row["error"]) for row in rows} == {("cancelled", "wrong day")}
    said = await run_in_thread("cancel", "--type", "fetch", "--downstream", status=2)
    assert "--downstream goes with the ids of jobs" in said.stderr


async def test_show_draws_the_parents_above_and_what_waits_below(conn, add, count, tree):
    good, bad = await add("fetch", "fetch")
    await conn.execute("select jobs_cancel($1)", bad)
    [parse] = await add("parse", after=[good, bad], on_parent_failed="run")
    mail, archive = await add("mail", "archive", after=[parse])
    await add("bill", after=[mail, archive])
    await count()
    assert await tree(parse) == [
        "┌─ job 2 (fetch) cancelled",
        "├─ job 1 (fetch) pending",
        "job 3 (parse) blocked",
        "├─ job 4 (mail) blocked",
        "│  └─ job 6 (bill) blocked",
        "└─ job 5 (archive) blocked → job 6",
    ]


async def test_show_tells_how_many_parents_ended_how_and_what_a_job_waits_for(
    conn, add, count, run_in_thread
):
    good, bad = await add("fetch", "fetch")
    [parse] = await add("parse", after=[good, bad], on_parent_failed="wait")
    await conn.execute("select jobs_cancel($1)", bad)
    await count()
    shown = (await run_in_thread("show", str(parse))).stdout
    fields = dict(line.split(maxsplit=1) for line in shown.partition("\n\n")[0].splitlines())
    assert fields["parents"] == "2 (1 cancelled), on_parent_failed wait"
    assert fields["waits"].startswith("parent failed: ")
    plain = (await run_in_thread("show", str(good))).stdout
    assert "\nparents" not in plain


async def test_show_draws_no_flow_of_a_job_that_has_none(conn, run_in_thread):
    await conn.execute("select jobs_enqueue('t')")
    shown = (await run_in_thread("show", "1")).stdout
    assert "job 1 (t)" not in shown
    assert "\n\n" not in shown


async def test_a_large_flow_takes_some_twenty_lines(conn, tree):
    await conn.execute("""
        select jobs_enqueue('fetch');
        select jobs_enqueue_many((
            select jsonb_agg(jsonb_build_object(
                'job_type', 'parse', 'depends_on', array[1], 'ref', 'p' || n)) ||
                jsonb_build_array(jsonb_build_object(
                    'job_type', 'report', 'depends_on', jsonb_agg('p' || n)))
            from generate_series(1, 10000) n));
    """)
    below = await tree(1)
    assert below == [
        "job 1 (fetch) pending",
        "├─ job 2 (parse) blocked",
        "│  └─ job 10002 (report) blocked",
        *(f"├─ job {n} (parse) blocked → job 10002" for n in range(3, 8)),
        "└─ and 9,994 more",
    ]
    above = await tree(10002)
    assert len(above) == 8
    assert above[-2:] == ["├─ and 9,994 more", "job 10002 (report) blocked"]
    beside = await tree(5)
    assert beside == [
        "┌─ job 1 (fetch) pending", "job 5 (parse) blocked", "└─ job 10002 (report) blocked",
    ]


async def test_a_wide_and_deep_flow_takes_some_twenty_lines(add, tree):
    top = await add("top")
    for parent in await add(*"abcdef", after=top):
        for child in await add(*"ghijklm", after=[parent]):
            await add(*"no", after=[child])
    lines = await tree(top[0])
    assert len(lines) <= 20
    assert lines[:3] == [
        "job 1 (top) pending", "├─ job 2 (a) blocked", "│  ├─ job 8 (g) blocked → 2 more",
    ]
    assert lines[-1] == "└─ job 7 (f) blocked → 7 more"


async def test_a_chain_is_drawn_to_its_twelfth_job(add, tree):
    last = await add("t")
    for _ in range(20):
        last = await add("t", after=last)
    lines = await tree(1)
    assert len(lines) == 13
    assert lines[-1].strip() == "└─ job 13 (t) blocked → 1 more"


async def test_an_admin_sees_the_flow(conn, pgjobs_dsn, add, run_in_thread):
    await conn.execute("create role flow_admin login")
    try:
        await conn.execute("select jobs_grant('flow_admin', 'admin')")
        first = await add("fetch")
        await add("parse", after=first)
        dsn = f"{pgjobs_dsn}&options=-c%20role%3Dflow_admin"
        shown = (await run_in_thread("show", "2", "--dsn", dsn)).stdout
        assert shown.endswith("\n\n┌─ job 1 (fetch) pending\njob 2 (parse) blocked\n")
    finally:
        await conn.execute("drop owned by flow_admin")
        await conn.execute("drop role flow_admin")
