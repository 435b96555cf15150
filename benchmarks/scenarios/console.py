"""The console: how long its pages take beside ten million jobs, and what ten viewers cost."""

import asyncio
import os
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from starlette.requests import Request

from pgjobs import App
from pgjobs.web import Access, console
from pgjobs.web.console import Console

from ..bench import ROOT, Bench
from ..orders import Order
from ..systems import SYSTEMS
from .ten_million import FILL, filled

REPEATS = 40  # of each page, in each run
# Each statement is given the number of all jobs: of those that failed, each failed three times, in
# the last week.
FILL_BESIDE = (
    *FILL,
    """insert into jobs_attempts (job_id, job_type, attempt, worker, due_at, started_at, ended_at,
        outcome, error_kind, error)
    select j.id, j.job_type, a.attempt, 'w' || j.id % 50, e.at, e.at, e.at + '1 s'::interval,
        case when a.attempt = 3 then 'failed' else 'retried' end, 'ValueError',
        'ValueError: line ' || j.id || ' of "' || md5(j.id::text) || '.csv": no column '
            || j.id % 40 || E'\\nTraceback\\n' || repeat('at some line of some file\\n', 20)
    from jobs j
    cross join generate_series(1, 3) a(attempt)
    cross join lateral (
        select now() - '7 days'::interval + (j.id % 1000000) * '604 ms'::interval
            + a.attempt * '0.1 s'::interval) e(at)
    where j.status = 'failed' and $1::int > 0""",
    """insert into jobs_audit (at, db_role, action, job_id, jobs)
    select now() - n * '1 min'::interval, 'postgres', 'retry', n, 1
    from generate_series(1, least($1::int / 100, 100000)) n""",
    """select jobs_schedule('nightly' || n, 't' || n, '0 3 * * *')
    from generate_series(1, least($1::int / 1000, 100)) n""",
)
# last: the last job, which has failed. pending: a job that is pending.
PAGES = (
    "/", "/jobs", "/jobs?status=pending", "/jobs?status=completed", "/jobs?status=failed",
    "/jobs?queue=q7", "/jobs?queue=none", "/jobs?type=t7", "/jobs?status=failed&queue=q7&type=t7",
    "/jobs?status=completed&queue=q7&type=t7", "/jobs?reference=order:77", "/jobs?q=order+77",
    "/jobs?q=77", "/jobs?q=no-such-key", "/jobs?group=none", "/jobs?status=failed&before={last}",
    "/jobs/77", "/jobs/{pending}", "/jobs/{last}",
    "/jobs/{pending}/copy", "/jobs/many?action=retry&status=failed",
    "/jobs/many?action=delete&status=completed&type=t7",
    "/jobs/many?action=cancel&status=pending&queue=q7",
    "/failures", "/failures?within=24h", "/failures?within=7d", "/failures?type=t7",
    "/queues", "/queue?name=q7", "/schedules", "/schedule?name=nightly7",
    "/workers", "/types", "/audit", "/system", "/metrics",
)
VIEWERS = 10
VIEWED = ("/", "/", "/", "/", "/jobs", "/jobs?status=failed", "/jobs?status=pending", "/queues",
          "/workers", "/failures")
REFRESHED_EVERY_S = 2.0
TOKEN = "a token of the benchmark"


async def pages(bench: Bench) -> None:
    """Milliseconds that 95 of 100 answers take at most.

    Before each request all is forgotten, so that the page looks everything up.
    """
    jobs = bench.options.jobs or 0
    async with filled(bench, "pgjobs", "jobs", FILL_BESIDE, jobs) as connection:
        name = await connection.fetchval("select current_database()")
        app = console(App(bench.dsn(name)), access=_everything)
        assert isinstance(app, Console)
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://console",
            headers={"accept": "text/html"},
        )
        await bench.settle()
        async with client:
            for _ in range(bench.options.runs):
                for page in PAGES:
                    path = page.format(last=jobs, pending=jobs * 8 // 10)
                    times = [await _answered(client, app, path) for _ in range(REPEATS)]
                    p95 = statistics.quantiles(times, n=20)[-1] * 1e3
                    bench.table.add("pgjobs", page, p95, "ms", jobs=jobs)
        await app._reading.close()


async def _answered(client: httpx.AsyncClient, app: Console, page: str) -> float:
    await app._reading.changed()
    began = time.perf_counter()
    answer = await client.get(page)
    seconds = time.perf_counter() - began
    if answer.status_code != 200:
        raise RuntimeError(f"{page}: {answer.status_code} {answer.text[:500]}")
    return seconds


def _everything(request: Request) -> Access:
    return Access("bench", "admin", payloads=True)


async def viewers(bench: Bench) -> None:
    """A drain, alternately alone and beside ten viewers whose pages refresh every two seconds."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for setting in ("alone", "ten viewers"):
            system = SYSTEMS["pgjobs"]
            async with bench.database(system) as database:
                await bench.fill(system, database, jobs)
                order = Order(
                    "pgjobs", bench.dsn(database), system.tunings["c100"], jobs=jobs
                )
                if setting == "alone":
                    report = await bench.drain(order)
                else:
                    async with _viewed(bench.dsn(database)) as answers:
                        report = await bench.drain(order)
                    bench.table.add(
                        "pgjobs", "answers", len(answers) / report.seconds, "/s", jobs=jobs
                    )
            bench.table.add(
                "pgjobs", "drain", jobs / report.seconds, "jobs/s", setting=setting, jobs=jobs
            )
    bench.table.ratio(
        "a drain beside ten viewers, against a drain alone",
        ("pgjobs", "drain", "ten viewers"), ("pgjobs", "drain", "alone"),
    )


@asynccontextmanager
async def _viewed(dsn: str) -> AsyncIterator[Sequence[float]]:
    """Serves the console to viewers; yields the seconds that its answers took."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pgjobs", "web", "--port", "0", "--dsn", dsn, cwd=ROOT,
        env={**os.environ, "PGJOBS_WEB_TOKEN": TOKEN}, stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        found = re.search(rb"127\.0\.0\.1:(\d+)", await server.stdout.readline())
        if found is None:
            raise RuntimeError("the console has not started")
        answers: list[float] = []
        tasks = [
            asyncio.create_task(_view(int(found[1]), VIEWED[n], n * REFRESHED_EVERY_S / VIEWERS,
                                      answers))
            for n in range(VIEWERS)
        ]
        yield answers
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        server.kill()
        await server.wait()


async def _view(port: int, page: str, begins_after_s: float, answers: list[float]) -> None:
    """One viewer, who costs this machine as little as possible: browsers run elsewhere."""
    await asyncio.sleep(begins_after_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = (
        f"GET {page} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/html\r\n"
        f"authorization: Bearer {TOKEN}\r\n\r\n"
    ).encode()
    while True:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{page}: {head[:200]!r}")
        length = re.search(rb"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        answers.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, began + REFRESHED_EVERY_S - time.perf_counter()))
