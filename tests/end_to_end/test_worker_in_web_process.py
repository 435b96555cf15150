"""The guide on FastAPI: a worker inside a web process, under uvicorn and with real signals."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "worker_in_web_process.py"
Serve = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts uvicorn on the socket tmp_path/web, with the database of this DSN."""
    started: list[subprocess.Popen[str]] = []

    def start(dsn: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "examples.worker_in_web_process:api",
             "--uds", str(tmp_path / "web")],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PGJOBS_DSN": dsn},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def until(conn: asyncpg.Connection, query: str) -> None:
    async with asyncio.timeout(20):
        while not await conn.fetchval(query):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
async def test_a_signal_ends_the_server_and_its_worker_which_lets_the_running_job_end(
    pgjobs_dsn: str, conn: asyncpg.Connection, serve: Serve, tmp_path: Path, number: signal.Signals
) -> None:
    process = serve(pgjobs_dsn)
    await until(conn, "select exists (select from jobs_workers)")
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "web"), retries=10)
    async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
        answer = await client.post("/greetings", params={"name": "Ada"})
        assert answer.status_code == 202
    await until(conn, "select status = 'processing' from jobs")
    process.send_signal(number)
    said, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert "Traceback" not in said
    # uvicorn raises the signal again after its shutdown.
    assert process.returncode in (0, 128 + number, -number)
    row = await conn.fetchrow("select status, result, attempt from jobs")
    assert tuple(row or ()) == ("completed", '"hello Ada"', 1)
    assert not await conn.fetch("select from jobs_workers")


async def test_a_worker_that_fails_ends_its_server(empty_dsn: str, serve: Serve) -> None:
    process = serve(empty_dsn)
    said, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode != 0
    assert "run `pgjobs migrate" in said


def test_the_guide_shows_the_lifespan_of_the_example() -> None:
    guide = (ROOT / "docs" / "guides" / "fastapi.md").read_text()
    source = EXAMPLE.read_text()
    begin, end = source.index("def stop_server"), source.index("api = FastAPI")
    assert source[begin:end].strip() in guide
