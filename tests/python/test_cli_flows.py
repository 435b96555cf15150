"""The command line and flows: enqueue, cancel, and the tree that show draws."""

import asyncio

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
    """The lines that show draws below the fields of a job."""

    async def shown(job_id):
        said = (await run_in_thread("show", str(job_id))).stdout
        return said.split("\n\n")[-1].splitlines()

    return shown


@pytest.fixture
def add(conn):
    """Adds a job after others; returns its id."""

    async def enqueue(job_type, *parents):
        return await conn.fetchval(
            "select id from jobs_enqueue($1, depends_on => $2)", job_type, list(parents)
        )

    return enqueue


@pytest.fixture
async def diamond(add):
    """1 fetch, two parse after it, a report after both, and a mail after the report."""
    await add("fetch")
    await add("parse", 1)
    await add("parse", 1)
    await add("report", 2, 3)
    await add("mail", 4)


async def test_enqueue_takes_parents_and_a_batch(conn, run_in_thread):
    await conn.execute("select from jobs_batch('report')")
    await run_in_thread("enqueue", "fetch", "--batch", "1")
    said = await run_in_thread(
        "enqueue", "parse", "--depends-on", "2", "--depends-on", "1", "--on-parent-failed", "run"
    )
    assert said.stdout == "job 3 is blocked in queue default\n"
    assert said.stderr == ""
    rows = await conn.fetch("select batch_id, depends_on_left from jobs order by id")
    assert [tuple(row) for row in rows] == [(None, 1), (1, None), (None, 2)]
    flow = await conn.fetchval("select on_parent_failed from jobs_flows where job_id = 3")
    assert flow == "run"


async def test_enqueue_says_which_parent_or_batch_is_not_there(conn, run_in_thread):
    said = await run_in_thread("enqueue", "t", "--depends-on", "77", status=1)
    assert said.stderr.startswith("pgjobs: there is no job 77, which depends_on names")
    said = await run_in_thread("enqueue", "t", "--batch", "77", status=1)
    assert said.stderr.startswith("pgjobs: there is no batch 77")
    said = await run_in_thread("enqueue", "t", "--on-parent-failed", "stop", status=2)
    assert "there is no answer stop: choose of cancel, run, wait, only" in said.stderr
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_cancel_ends_what_waits_for_the_job_too(conn, diamond, run_in_thread):
    said = await run_in_thread("cancel", "2", "--downstream")
    assert said.stdout == "job 2 is cancelled, and so are the jobs that wait for it\n"
    rows = await conn.fetch("select id from jobs where status = 'cancelled' order by id")
    assert [row["id"] for row in rows] == [2, 4, 5]
    said = await run_in_thread("cancel", "--type", "t", "--downstream", status=2)
    assert "--downstream goes with the ids of jobs" in said.stderr


async def test_show_draws_parents_above_a_job_and_what_waits_for_it_below(diamond, tree):
    assert await tree(1) == [
        "1 fetch pending  ← this job",
        "├─ 2 parse blocked",
        "│  └─ 4 report blocked",
        "│     └─ 5 mail blocked",
        "└─ 3 parse blocked",
        "   └─ 4 report blocked, as above",
    ]
    assert await tree(4) == [
        "2 parse blocked",
        "3 parse blocked",
        "└─ 4 report blocked  ← this job",
        "   └─ 5 mail blocked",
    ]
    assert await tree(5) == ["4 report blocked", "└─ 5 mail blocked  ← this job"]


async def test_a_blocked_job_says_what_it_waits_for(diamond, run_in_thread):
    said = (await run_in_thread("show", "4")).stdout
    assert "\nwaits " in said


async def test_of_a_large_flow_show_draws_some_jobs_and_counts_the_others(conn, add, tree):
    await add("fetch")
    for _ in range(30):
        await add("parse", 1)
    await add("report", *range(2, 32))
    await add("mail", 32)
    below = await tree(1)
    assert len(below) == 13
    assert below[:4] == [
        "1 fetch pending  ← this job",
        "├─ 2 parse blocked",
        "│  └─ 32 report blocked",
        "│     └─ 33 mail blocked",
    ]
    assert below[-4:] == [
        "│  └─ 32 report blocked, as above", "├─ 6 parse blocked", "│  └─ and 1 more",
        "└─ and 25 more",
    ]
    above = await tree(32)
    assert above[0] == "2 parse blocked"
    assert above[9:] == [
        "11 parse blocked", "and 20 more", "└─ 32 report blocked  ← this job",
        "   └─ 33 mail blocked",
    ]


async def test_a_chain_that_is_long_is_cut_below(add, tree):
    await add("t")
    for parent in range(1, 30):
        await add("t", parent)
    below = await tree(1)
    assert len(below) == 12
    assert below[-1].strip() == "└─ and 1 more"


async def test_a_parent_that_is_gone_is_drawn_without_its_type(conn, diamond, tree):
    await conn.execute("delete from jobs where id = 4")
    assert await tree(5) == ["4 ? deleted", "└─ 5 mail blocked  ← this job"]


async def test_show_draws_nothing_for_a_job_alone(add, tree):
    await add("t")
    assert not [line for line in await tree(1) if "this job" in line]
