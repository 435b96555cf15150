"""Worker processes, and a ledger of what they really ran."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from end_to_end.processes import Start
from end_to_end.workload import LEDGER

WORKLOAD = Path(__file__).with_name("workload.py")


@pytest.fixture
async def ledger(conn: asyncpg.Connection) -> asyncpg.Connection:
    """The connection to the test's database, which has a ledger."""
    await conn.execute(LEDGER)
    return conn


@pytest.fixture
def start(pgjobs_dsn: str) -> Iterator[Start]:
    """start(concurrency=10, name=None, dsn=None): a worker's process, ended with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(
        concurrency: int = 10, name: str | None = None, dsn: str | None = None
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, WORKLOAD, str(concurrency), *([name] if name else [])],
            env={**os.environ, "PGJOBS_DSN": dsn or pgjobs_dsn,
                 "PYTHONPATH": str(WORKLOAD.parents[2])},
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
