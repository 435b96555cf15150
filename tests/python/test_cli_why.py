"""The command ``pgjobs why``, and what ``pgjobs show`` tells of it."""

import asyncio
import json
import re

import pytest
from typer.testing import CliRunner

from pgjobs import JobNotFound
from pgjobs.cli.commands import cli

PAUSED = "paused     queue default has been paused for .*, moves"


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
    await conn.execute("select jobs_pause('default', reason => 'moves')")
    return await conn.fetchval("select id from jobs_enqueue('t')")


async def test_why_tells_each_reason_with_its_advice(waiting, run_in_thread):
    lines = (await run_in_thread("why", str(waiting))).stdout.splitlines()
    assert re.fullmatch(PAUSED, lines.pop(1))
    assert lines == [
        "reason     detail and what to do",
        "           → pgjobs resume 'default'",
        "no worker  no worker is connected",
        "           → start one that serves both: pgjobs worker MODULE:APP",
    ]
    told = json.loads((await run_in_thread("why", str(waiting), "--json")).stdout)
    assert [reason["reason"] for reason in told] == ["paused", "no worker"]
    assert told[0].keys() == {"reason", "detail", "advice"}
    said = await run_in_thread("why", "77", status=1)
    assert "there is no job 77" in said.stderr


async def test_show_tells_the_first_reason_of_a_job_that_waits(conn, waiting, run_in_thread):
    shown = (await run_in_thread("show", str(waiting))).stdout
    *_, last = shown.splitlines()
    assert re.fullmatch("waits +paused: queue default has been paused for .*, moves", last)
    await conn.execute("select jobs_cancel($1)", waiting)
    assert "waits" not in (await run_in_thread("show", str(waiting))).stdout


async def test_an_app_is_told_the_reasons_too(app, waiting):
    first, second = await app.why(waiting)
    assert (first.reason, first.advice) == ("paused", "pgjobs resume 'default'")
    assert second.detail == "no worker is connected"
    with pytest.raises(JobNotFound):
        await app.why(77)
