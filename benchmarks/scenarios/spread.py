"""Two equal workers that both have free slots: how the jobs are spread over them."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ..bench import Bench
from ..orders import Order, Report
from ..systems import SYSTEMS
from .latency import claims_made, registered

RATES = (300, 600, 1200)  # jobs per second of all producers together
CLIENTS = 8
WARM_UP = 2  # seconds
SCRIPTS = {
    "no-op": """select id from jobs_enqueue('noop', '{"label": ""}');""",
    "1 ms": """select id from jobs_enqueue('sleep', '{"label": "", "seconds": 0.001}');""",
}
FIRST, AGAIN = "", ", one worker restarted"


async def spread(bench: Bench) -> None:
    """Counts the jobs that each worker process started within the same seconds."""
    seconds = bench.options.seconds or 10
    for _ in range(bench.options.runs):
        for rate, kind in itertools.product(RATES, SCRIPTS):
            await _spread(bench, rate, kind, seconds)


async def _spread(bench: Bench, rate: int, kind: str, seconds: float) -> None:
    system = SYSTEMS["pgjobs"]
    async with (
        bench.database(system) as database, AsyncExitStack() as stack,
        asyncio.timeout(120 + 4 * seconds),
    ):
        order = Order("pgjobs", bench.dsn(database), {}, "probe", until_empty=False)
        one, two = [await stack.enter_async_context(bench.worker(order)) for _ in range(2)]
        await registered(bench, database, 2)
        async with _producers(bench, database, SCRIPTS[kind], rate):
            first = await _window(bench, database, seconds)
            before_restart = await one.stop()
            three = await stack.enter_async_context(bench.worker(order))
            await registered(bench, database, 2)
            again = await _window(bench, database, seconds)
        both, after_restart = await two.stop(), await three.stop()
    setting = f"{rate:,} jobs/s, {kind}"
    for note, (began, ended, claims), reports in (
        (FIRST, first, (before_restart, both)), (AGAIN, again, (after_restart, both)),
    ):
        shares = [_started(report, began, ended) for report in reports]
        jobs = sum(shares)
        for measure, value, unit in (
            ("larger share", max(shares) / jobs, ""),
            ("jobs run", jobs / (ended - began), "jobs/s"),
            ("claims per job", claims / jobs, ""),
        ):
            bench.table.add(
                "pgjobs", measure, value, unit, setting=setting + note, jobs=jobs, shares=shares
            )


async def _window(bench: Bench, database: str, seconds: float) -> tuple[float, float, int]:
    """From when until when was measured, and how many claims were made meanwhile.

    A session at work reports its statistics once a second, so the claims are those of a time that
    is up to a second shorter or longer.
    """
    await asyncio.sleep(WARM_UP)
    began, before = time.monotonic(), await claims_made(bench, database)
    await asyncio.sleep(seconds)
    return began, time.monotonic(), await claims_made(bench, database) - before


def _started(report: Report, began: float, ended: float) -> int:
    return sum(began <= when < ended for when, _ in report.starts)


@asynccontextmanager
async def _producers(bench: Bench, database: str, script: str, rate: int) -> AsyncIterator[None]:
    """pgbench commits one job per transaction, at random times with this mean rate."""
    process = await asyncio.create_subprocess_exec(
        str(Path(bench.bin) / "pgbench"), "-n", "-c", str(CLIENTS), "-M", "prepared",
        "-R", str(rate), "-T", "3600", "-f", "-", bench.dsn(database),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(script.encode())
    process.stdin.close()
    try:
        yield
        if process.returncode is not None:
            raise RuntimeError(f"pgbench ended early, with status {process.returncode}")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
