"""One benchmark run: a server of its own, fresh databases, worker processes."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from pgjobs.embedded import EmbeddedPostgres

from .orders import Order, Report
from .results import Table
from .systems import SYSTEMS, System

ROOT = Path(__file__).parent.parent
SETTINGS = {
    "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "256MB",
    "max_connections": "200", "max_wal_size": "4GB", "track_functions": "none",
}


@dataclass
class Options:
    """The options of the command line."""

    systems: Sequence[str]
    runs: int = 5
    jobs: int | None = None  # of the scenario's largest measure; the others follow
    seconds: float | None = None
    folder: Path = ROOT / "benchmarks/results"


class Worker:
    """A running worker process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    async def first(self) -> None:
        """Waits until the process has started a job."""
        while "first" not in self._lines:
            await self._line()

    async def report(self) -> Report:
        """Waits until the process ends; returns its report."""
        while not (self._lines and self._lines[-1].startswith("{")):
            await self._line()
        await self._process.wait()
        return Report.from_json(self._lines[-1])

    async def stop(self) -> Report:
        """Asks the process to end; returns its report."""
        self.tell_to_stop()
        return await self.report()

    def tell_to_stop(self) -> None:
        """Asks the process to end, and does not wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _line(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            status = await self._process.wait()
            raise RuntimeError(f"a worker process ended early, with status {status}")
        self._lines.append(line.decode().strip())


@dataclass
class Bench:
    """The server, for one scenario."""

    options: Options
    table: Table
    settings: Mapping[str, str] = field(default_factory=dict)
    _server: EmbeddedPostgres | None = None
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _templates: set[str] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = EmbeddedPostgres(settings={**SETTINGS, **self.settings})
        self._server.start()
        async with self.connect("postgres") as admin:
            self.table.server = {
                "version": await admin.fetchval("show server_version"),
                **{name: await admin.fetchval(f"show {name}")
                   for name in {**SETTINGS, **self.settings, "autovacuum": ""}},
            }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.stop("immediate")

    @property
    def bin(self) -> Path:
        """The folder of the server's programs."""
        assert self._server is not None
        return self._server.bin

    @property
    def systems(self) -> list[System]:
        return [SYSTEMS[name] for name in self.options.systems]

    def dsn(self, database: str) -> str:
        assert self._server is not None
        return self._server.dsn.replace(":///postgres", f":///{database}")

    @asynccontextmanager
    async def connect(self, database: str) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.dsn(database))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self, system: System) -> AsyncIterator[str]:
        """The name of a fresh database with the system's tables; dropped in the end."""
        template = f"template_{system.name.replace('-', '_')}"
        name = f"{system.name.replace('-', '_')}_{next(self._numbers)}"
        async with self.connect("postgres") as admin:
            if template not in self._templates:
                await admin.execute(f"create database {template}")
                await system.install(self.dsn(template))
                self._templates.add(template)
            await admin.execute(f"create database {name} template {template}")
            try:
                yield name
            finally:
                await admin.execute(f"drop database {name} with (force)")

    async def settle(self) -> None:
        """Writes earlier changes to disk: no measure pays for the checkpoint of another."""
        async with self.connect("postgres") as admin:
            await admin.execute("checkpoint")

    async def fill(self, system: System, database: str, jobs: int, *, mixed: bool = False) -> None:
        """Adds jobs; ``mixed``: with 3 priorities, and in two queues if the system has queues.

        Analyses the tables, as autovacuum does in their first minute: without statistics some
        systems sort all waiting jobs for each claim.
        """
        async with system.producer(self.dsn(database)) as producer:
            chunks = itertools.count()
            for start in range(0, jobs, 1000):
                chunk = next(chunks)
                await producer.many(
                    [{"n": n} for n in range(start, min(start + 1000, jobs))],
                    queue=chunk % 2 if mixed else 0,
                    priority=chunk % 3 if mixed else 0,
                )
        async with self.connect(database) as connection:
            await connection.execute("analyze")

    @asynccontextmanager
    async def worker(self, order: Order) -> AsyncIterator[Worker]:
        """A worker process of the order's system."""
        process = await asyncio.create_subprocess_exec(
            *SYSTEMS[order.system].command(order), cwd=ROOT, limit=1 << 26,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        worker = Worker(process)
        try:
            yield worker
        finally:
            with contextlib.suppress(ProcessLookupError):
                await worker.kill()

    async def drain(self, order: Order) -> Report:
        """One worker process drains the database of the order; it must run all jobs."""
        await self.settle()
        async with self.worker(order) as worker, asyncio.timeout(900):
            report = await worker.report()
        if report.handled != order.jobs:
            raise RuntimeError(f"{order.system} ran {report.handled} of {order.jobs} jobs")
        return report
