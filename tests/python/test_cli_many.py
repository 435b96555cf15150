"""Commands that change many jobs at once."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from pgjobs.cli.commands import cli


@pytest.fixture
def run_in_thread(pgjobs_dsn, monkeypatch):
    """Runs a command on this test's database, in a thread, and asserts its exit status."""
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)
    monkeypatch.setattr("pgjobs.cli.many._BATCH_JOBS", 2)

    async def run(*arguments, status=0):
        result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.stderr

    return run


@pytest.fixture(autouse=True)
async def jobs(conn):
    """Five jobs of type a in queue q, the first of them old, then one of type b."""
    await conn.execute(
        """select from generate_series(1, 5) n, jobs_enqueue('a', queue => 'q',
            group_key => 'g' || n, reference_type => 'file', reference_id => n);
        select from jobs_enqueue('b');
        update jobs set created_at = created_at - interval '1 day' where id = 1"""
    )


async def test_cancel_takes_filters_and_goes_on_until_none_is_left(conn, run_in_thread):
    one = "1 job is cancelled, or its worker was asked to stop it\n"
    assert await run_in_thread("cancel", "--older-than", "1h") == one
    assert await run_in_thread("cancel", "--reference", "file:2", "--group", "g2") == one
    said = await run_in_thread("cancel", "--type", "a", "-q", "q", "--reason", "off", "--json")
    assert json.loads(said) == {"cancelled": 3}
    assert await conn.fetchval("select count(*) from jobs where error = 'off'") == 3
    assert await conn.fetchval("select count(*) from jobs where status = 'pending'") == 1


async def test_delete_deletes_ended_jobs_and_asks_before(conn, run_in_thread):
    await conn.execute("select jobs_cancel_many(job_types => '{a}')")
    said = await run_in_thread("delete", "--queue", "q", status=2)
    assert "gone for good: give --yes" in said
    assert await conn.fetchval("select count(*) from jobs") == 6
    assert await run_in_thread("delete", "--queue", "q", "--yes") == "5 jobs are deleted\n"
    assert await conn.fetchval("select count(*) from jobs") == 1


async def test_retry_of_failed_jobs_takes_the_filters_too(conn, run_in_thread):
    await conn.execute("update jobs set status = 'failed', finished_at = clock_timestamp()")
    said = await run_in_thread("retry", "--failed", "--group", "g1", "--reference", "file:1")
    assert said == "1 job is pending again\n"
    assert await run_in_thread("retry", "--failed") == "5 jobs are pending again\n"


@pytest.mark.parametrize(
    "arguments", [("cancel",), ("cancel", "1", "--type", "a"), ("delete", "--yes"),
                  ("retry", "1", "--group", "g")], ids=" ".join,
)
async def test_ids_or_filters_are_needed_and_not_both(conn, run_in_thread, arguments):
    said = await run_in_thread(*arguments, status=2)
    assert "--reference" in said
    assert await conn.fetchval("select count(*) from jobs where status = 'pending'") == 6
