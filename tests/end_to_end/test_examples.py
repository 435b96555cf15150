"""Every example runs, and prints the expected lines."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType

import asyncpg
import httpx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PRINTED = {
    "transactions": ["the transfer of 10 was made once: the balance is 10"],
    "retries": [
        "how the handler ended, and what became of its job:",
        "error: failed (attempts: 3, retries spent: 2)",
        "retry: completed (attempts: 2, retries spent: 1)",
        "snooze: completed (attempts: 2, retries spent: 0)",
        "fail: failed (attempts: 1, retries spent: 0)",
        "cancel: cancelled (attempts: 1, retries spent: 0)",
    ],
    "unique_jobs": [
        "the second call with the same key returned the first job: True",
        "after that job had ended, the third call did so too: False",
    ],
    "schedule_ahead": [
        "the milk: remember the milk", "the meeting: waits until its time has come",
        "the fireworks: waits until its time has come",
    ],
    "by_hand": [
        "asyncpg: job 1 is completed with the result {'pages': 3}",
        "SQLAlchemy: the job that failed is pending for retry 1",
    ],
    "flow": [
        "the report is blocked", "job 2 counted 16 letters", "job 3 counted 16 letters",
        "job 4 failed: half of the page is missing",
    ],
    "nightly": [
        "the job of schedule clean-up deleted 0 jobs", "the next one comes at 03:17 in Berlin",
    ],
}


def test_every_example_is_tested() -> None:
    modules = {path.stem for path in EXAMPLES.glob("*.py")}
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()} - {"__pycache__"}
    assert modules == {*PRINTED, "fastapi_app", "flask_shop", "worker_in_web_process"}
    assert folders == {"deploy", "django_shop", "ingest", "other_language", "plproxy"}


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_the_expected_lines(name: str, pgjobs_dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PGJOBS_DSN": pgjobs_dsn, "PYTHONPATH": str(EXAMPLES.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == PRINTED[name]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def web(
    pgjobs_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[ModuleType, httpx.AsyncClient]]:
    """The example of FastAPI within its lifespan, and a client of it."""
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)
    example = _load("fastapi_app")
    transport = httpx.ASGITransport(app=example.api, raise_app_exceptions=False)
    async with (
        example.lifespan(example.api),
        httpx.AsyncClient(transport=transport, base_url="http://example") as client,
    ):
        yield example, client


async def test_a_request_enqueues_in_its_own_transaction(
    conn: asyncpg.Connection, web: tuple[ModuleType, httpx.AsyncClient]
) -> None:
    example, client = web
    accepted = await client.post("/uploads", params={"path": "a.pdf"})
    assert accepted.status_code == 202
    refused = await client.post("/uploads", params={"path": "refused"})
    assert refused.status_code == 500
    assert await conn.fetchval("select count(*) from uploads") == 1
    assert await conn.fetchval("select count(*) from jobs") == 1
    await example.app.worker().run(until_empty=True)
    seen = await client.get(f"/jobs/{accepted.json()['job']}")
    assert seen.json() == {"status": "completed", "result": {"ingested": "a.pdf"}, "error": None}


async def test_a_client_is_told_of_a_job_only_if_the_commit_succeeded(
    conn: asyncpg.Connection, web: tuple[ModuleType, httpx.AsyncClient]
) -> None:
    _, client = web
    await conn.execute("""
        create function refuse() returns trigger language plpgsql as
            $$ begin raise exception 'this COMMIT is refused'; end $$;
        create constraint trigger refuse after insert on uploads
            deferrable initially deferred for each row execute function refuse();
    """)
    answer = await client.post("/uploads", params={"path": "a.pdf"})
    assert answer.status_code == 500
    assert await conn.fetchval("select count(*) from uploads") == 0
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_a_request_for_a_job_that_is_not_there_is_answered_by_404(
    web: tuple[ModuleType, httpx.AsyncClient]
) -> None:
    _, client = web
    answer = await client.get("/jobs/99")
    assert answer.status_code == 404
    assert "job 99" in answer.json()["detail"]


async def test_the_nightly_clean_up_comes_at_its_tick_and_deletes_old_jobs(
    pgjobs_dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGJOBS_DSN", pgjobs_dsn)
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        select 'old', 'completed', now() - age
        from unnest('{1 day,8 days,30 days}'::interval[]) age"""
    )
    app = _load("nightly").app
    await app.worker().run(until_empty=True)
    assert await conn.fetchval("select count(*) from jobs") == 3, "its night has not come"
    tick = await conn.fetchval(
        """update jobs_schedules set next_at = next_at - interval '1 day' returning next_at"""
    )
    await conn.execute("select jobs_schedules_fire()")
    await app.worker().run(until_empty=True)
    rows = await conn.fetch("select job_type, result, headers from jobs order by id")
    assert [row["job_type"] for row in rows] == ["old", "cleanup"]
    assert json.loads(rows[1]["result"]) == {"deleted": 2}
    scheduled_for = json.loads(rows[1]["headers"])["pgjobs.scheduled_for"]
    assert datetime.fromisoformat(scheduled_for) == tick


async def test_the_pipeline_is_an_app_that_a_worker_runs(
    pgjobs_dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    note = tmp_path / "note.txt"
    note.write_text("\n\n".join(["word " * 150] * 3))
    payload = json.dumps({"file_path": str(note)})
    await conn.execute("select jobs_enqueue('file_ingestion', $1)", payload)
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pgjobs", "worker", "examples.ingest:app",
        cwd=EXAMPLES.parent, env={**os.environ, "PGJOBS_DSN": pgjobs_dsn},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while not await conn.fetchval(
                "select exists (select from jobs where job_type = 'cleanup'"
                " and status = 'completed')"
            ):
                await asyncio.sleep(0.1)
    finally:
        worker.terminate()
        assert await worker.wait() == 0
    assert await conn.fetchval("select count(*) from demo_vectors") == 3
    assert await conn.fetchval("select count(*) from jobs where status <> 'completed'") == 0


async def test_a_shell_script_can_be_a_worker(
    pgjobs_dsn: str, conn: asyncpg.Connection, pg_program: Callable[[str], str]
) -> None:
    await conn.execute("select jobs_enqueue('work'), jobs_enqueue('fail', max_retries => 0)")
    psql = Path(pg_program("psql")).parent
    done = await asyncio.to_thread(
        subprocess.run, ["sh", EXAMPLES / "other_language" / "worker.sh"],
        check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PGJOBS_DSN": pgjobs_dsn, "PATH": f"{psql}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    assert "ended: completed" in done.stdout
    assert "failed: failed" in done.stdout
