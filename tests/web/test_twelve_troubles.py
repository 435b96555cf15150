"""Twelve troubles among many jobs: the overview tells each, and its advice ends it."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
from troubles.plant import (
    ON_THE_OVERVIEW,
    ROOT,
    Held,
    Troubles,
    let_snapshots_age_at_once,
    planted,
    start_worker,
    until,
)
from web.conftest import JSON, Browse

JOBS = int(os.environ.get("PGJOBS_TROUBLES_JOBS", "100_000"))
# What stands for a number in the advice of limits.
VALUES = {"N/TIME": "100/1m", "N": "2"}


@pytest.fixture
async def troubles(conn: asyncpg.Connection, pgjobs_dsn: str) -> AsyncIterator[Troubles]:
    await let_snapshots_age_at_once(conn)
    async with planted(pgjobs_dsn, JOBS) as all_planted:
        yield all_planted


async def verdicts(browse: Browse) -> dict[str, tuple[str, str, str | None]]:
    """What the overview tells, by check."""
    page = (await (await browse()).get("/", headers=JSON)).json()["page"]
    return {v["check"]: (v["verdict"], v["detail"], v["advice"]) for v in page["verdicts"]}


async def test_the_overview_tells_each_of_twelve_troubles_and_its_advice_ends_it(
    conn: asyncpg.Connection, pgjobs_dsn: str, browse: Browse, troubles: Troubles
) -> None:
    told = await verdicts(browse)
    for check, names in ON_THE_OVERVIEW.items():
        verdict, detail, advice = told[check]
        assert verdict != "ok", check
        assert advice, check
        for name in names:
            assert name in detail, check
    started = [start_worker(pgjobs_dsn)]
    try:
        await until(conn, "select count(*) = 2 from jobs_workers")
        for held in troubles.held:
            if held.reason == "no worker":
                started.append(start_worker(pgjobs_dsn, RESIZES="yes"))
                await until(conn, "select count(*) = 3 from jobs_workers")
            else:
                await _follow(conn, pgjobs_dsn, held)
            await _starts(conn, held)
        await _end_the_others(conn, troubles, told["oldest snapshot"][2] or "")
        told = await verdicts(browse)
        assert {c: told[c] for c in ON_THE_OVERVIEW if told[c][0] != "ok"} == {}
    finally:
        for worker in started:
            worker.kill()
            worker.wait()


async def _follow(conn: asyncpg.Connection, dsn: str, held: Held) -> None:
    """Runs the commands that jobs_why advises."""
    row = await conn.fetchrow("select * from jobs_why($1) limit 1", held.job_id)
    assert row is not None
    assert row["reason"] == held.reason, held
    advised = row["advice"].partition(", or give this one up")[0]
    commands = [c for c in re.findall("pgjobs [^,:;)]+", advised) if not c.endswith(" ID")]
    assert commands, row["advice"]
    for command in commands:
        words = [VALUES.get(word, word) for word in shlex.split(command)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, env={**os.environ, "PGJOBS_DSN": dsn},
            stdout=subprocess.DEVNULL, cwd=ROOT,
        )
        assert await process.wait() == 0, command


async def _starts(conn: asyncpg.Connection, held: Held) -> None:
    """Waits for the start: less long than for the next tick of a worker, which comes in 10 s."""
    begun = time.monotonic()
    await until(conn, "select status in ('processing', 'completed') from jobs where id = $1",
                held.job_id, patience_s=5)
    print(f"{held.trouble}: started after {time.monotonic() - begun:.2f} s")


async def _end_the_others(
    conn: asyncpg.Connection, troubles: Troubles, advice: str
) -> None:
    """Does what the doctor advises where no job is held back."""
    await conn.execute(advice.removeprefix("end it: "))
    troubles.hanging.kill()
    await conn.execute("select jobs_edit_many(job_types => '{import}', set_run_at => now())")
    await until(conn, """select sum(jobs) = 130 from jobs_history where job_type = 'import'""")
    # The worker's own tick has fired the schedule.
    await until(conn, "select last_at > now() - interval '1 hour' from jobs_schedules")
