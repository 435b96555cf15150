"""graphile-worker, in Node.js: completed jobs are deleted, a client-side queue feeds its slots."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from ..orders import Order, Recorder, Report
from .system import NotAvailable, Payload, Producer, System

PROGRAM = Path(__file__).parent / "graphile" / "program.mjs"
INSTALL = "npm install --prefix benchmarks/systems/graphile"
NODE = 22
LOCAL_QUEUE = 500  # jobs that the process locks at once and then feeds to its slots


@cache
def _node() -> str:
    """A Node.js that is new enough: the machine's, or the one beside graphile-worker."""
    for program in (shutil.which("node"), str(PROGRAM.parent / "node_modules/.bin/node")):
        if program and os.path.exists(program):
            said = subprocess.run([program, "--version"], capture_output=True, text=True,
                                  check=False).stdout
            if said and int(said.lstrip("v").split(".")[0]) >= NODE:
                return program
    raise NotAvailable(f"graphile-worker needs Node.js {NODE}: {INSTALL}")


def _url(dsn: str) -> str:
    """The DSN as the driver pg takes it, where the host is the folder of a socket."""
    parts = urlsplit(dsn)
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    return f"socket://{query['user']}@{query['host']}/?db={parts.path[1:]}&port={query['port']}"


def _arguments(action: str, dsn: str, **more: Any) -> list[str]:
    order = {"action": action, "url": _url(dsn), **more}
    return [_node(), str(PROGRAM), json.dumps(order)]


async def _run(arguments: Sequence[str]) -> Report:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"graphile-worker ended with status {process.returncode}")
    return Report.from_json(output.decode().splitlines()[-1])


@dataclass
class _Producer:
    connection: Any

    async def one(self, payload: Payload) -> None:
        await self.connection.execute(
            "select graphile_worker.add_job('noop', $1::json)", json.dumps(payload)
        )

    async def many(self, payloads: Sequence[Payload], *, queue: int = 0, priority: int = 0) -> None:
        # In graphile-worker lower numbers come first.
        await self.connection.execute(
            """
            select count(*) from graphile_worker.add_jobs(array(
                select json_populate_record(null::graphile_worker.job_spec, json_build_object(
                    'identifier', 'noop', 'payload', p.payload, 'priority', $2::int))
                from json_array_elements($1::json) p(payload)))
            """,
            json.dumps(list(payloads)), -priority,
        )


def tuned(slots: int, local: int) -> dict[str, Any]:
    """Batches claims and completions, as its docs advise; fewer connections cause a warning."""
    return {
        "concurrentJobs": slots, "localQueue": {"size": local}, "completeJobBatchDelay": 0,
        "failJobBatchDelay": 0, "maxPoolSize": slots + 1,
    }


class GraphileWorker(System):
    """Each of its queues runs one job at a time, so this benchmark uses none."""

    name = "graphile-worker"
    package = "graphile-worker"
    tunings = {
        "best": tuned(24, LOCAL_QUEUE),
        "default": {},
        "c1": {"concurrentJobs": 1},
        "c10": tuned(10, 11),
        "c50": tuned(50, 51),
        "c100": tuned(100, 101),
    }
    unfinished = "select count(*) from graphile_worker.jobs"

    def version(self) -> str:
        installed = PROGRAM.parent / "node_modules/graphile-worker/package.json"
        if not installed.exists():
            raise NotAvailable(f"graphile-worker is not installed: {INSTALL}")
        node = subprocess.run([_node(), "--version"], capture_output=True, text=True, check=True)
        return f"{json.loads(installed.read_text())['version']} on Node.js {node.stdout.strip()}"

    def command(self, order: Order) -> Sequence[str]:
        return _arguments("work", order.dsn, **{k: v for k, v in asdict(order).items()
                                                if k not in ("dsn", "system")})

    async def install(self, dsn: str) -> None:
        await _run(_arguments("install", dsn))

    @asynccontextmanager
    async def producer(self, dsn: str) -> AsyncIterator[Producer]:
        connection = await asyncpg.connect(dsn)
        try:
            yield _Producer(connection)
        finally:
            await connection.close()

    async def work(self, order: Order, recorder: Recorder, stop: asyncio.Event) -> None:
        raise NotImplementedError("its worker is program.mjs")

    async def enqueue_many_seconds(self, dsn: str, jobs: int, chunk: int) -> float:
        return (await _run(_arguments("enqueue", dsn, jobs=jobs, chunk=chunk))).seconds
