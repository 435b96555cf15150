"""The command ``pgjobs edit``."""

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
async def waiting(conn):
    return await conn.fetchval(
        "select id from jobs_enqueue('t', '{\"a\": 1}', run_at => clock_timestamp() + '1 h')"
    )


async def test_edit_changes_what_is_given(conn, waiting, run_in_thread):
    said = await run_in_thread(
        "edit", str(waiting), "--payload", '{"b": 2}', "--priority", "-2", "--queue", "q",
        "--delay", "0s",
    )
    assert said.stdout == "job 1 is pending in queue q with priority -2\n"
    row = await conn.fetchrow("select payload, run_at <= clock_timestamp() as due from jobs")
    assert (row["payload"], row["due"]) == ('{"b": 2}', True)
    said = await run_in_thread("edit", "1", "--run-at", "2030-01-31T08:00+01:00", "--json")
    assert json.loads(said.stdout)["priority"] == -2
    assert (await conn.fetchval("select run_at from jobs")).year == 2030


async def test_edit_refuses_a_job_that_does_not_wait(conn, waiting, run_in_thread):
    await conn.execute("select jobs_cancel($1)", waiting)
    said = await run_in_thread("edit", "1", "--priority", "1", status=1)
    assert "job 1 is cancelled: only a job that waits can be edited" in said.stderr


async def test_edit_asks_what_to_change_and_takes_one_start(run_in_thread):
    said = await run_in_thread("edit", "1", status=2)
    assert "say what to change" in said.stderr
    said = await run_in_thread(
        "edit", "1", "--delay", "1h", "--run-at", "2030-01-31T08:00+01:00", status=2
    )
    assert "not both" in said.stderr
