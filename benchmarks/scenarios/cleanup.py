"""jobs_cleanup beside a worker: does it slow the worker down?"""

import asyncio
import time
from typing import Any

from ..bench import Bench
from ..orders import Order, Report
from ..systems import SYSTEMS
from .big_table import COMPLETED

DRAINED = 0.3  # waiting jobs per row that jobs_cleanup deletes


async def cleanup(bench: Bench) -> None:
    """The drain begins together with the clean-up, which is called until it returns 0."""
    rows = bench.options.jobs or 0
    jobs = int(rows * DRAINED)
    for _ in range(bench.options.runs):
        for setting in ("undisturbed", "beside jobs_cleanup"):
            report, seconds = await _drain(bench, rows, jobs, clean=setting != "undisturbed")
            bench.table.add(
                "pgjobs", "drain", jobs / report.seconds, "jobs/s", setting=setting, jobs=jobs
            )
            if seconds:
                bench.table.add(
                    "pgjobs", "jobs_cleanup", rows / seconds, "rows/s", setting=setting, jobs=rows
                )
                bench.table.add(
                    "pgjobs", "part of the drain that was disturbed",
                    min(seconds / report.seconds, 1.0), "", setting=setting, jobs=jobs,
                )
    bench.table.ratio(
        "beside jobs_cleanup against undisturbed",
        ("pgjobs", "drain", "beside jobs_cleanup"), ("pgjobs", "drain", "undisturbed"),
    )


async def _drain(bench: Bench, rows: int, jobs: int, *, clean: bool) -> tuple[Report, float]:
    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, bench.connect(database) as connection:
        await connection.execute(COMPLETED, rows, timeout=1800)
        await connection.execute("vacuum (analyze) jobs", timeout=1800)
        await bench.fill(system, database, jobs)
        order = Order("pgjobs", bench.dsn(database), system.tunings["best"], jobs=jobs)
        await bench.settle()
        async with bench.worker(order) as worker:
            await worker.first()
            began = time.perf_counter()
            cleaning = asyncio.create_task(_clean(connection)) if clean else None
            report = await worker.report()
            if report.handled != jobs:
                raise RuntimeError(f"{report.handled} of {jobs} jobs were run")
            if cleaning is None:
                return report, 0.0
            if await cleaning < rows:
                raise RuntimeError("jobs_cleanup left rows")
            return report, time.perf_counter() - began


async def _clean(connection: Any) -> int:
    total = 0
    while True:
        # The drained jobs have finished within the last hour.
        deleted: int = await connection.fetchval("select jobs_cleanup('1 hour')", timeout=1800)
        total += deleted
        if not deleted:
            return total
