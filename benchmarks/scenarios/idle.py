"""What an idle worker costs."""

import asyncio
from pathlib import Path
from typing import Any

from ..bench import Bench
from ..orders import Order

STATISTICS_DELAY = 12  # seconds until an idle session has reported its statistics


async def idle(bench: Bench) -> None:
    """Default tuning. The worker first runs one job, so that all of its code has run once."""
    seconds = bench.options.seconds or 30
    for _ in range(bench.options.runs):
        for system in bench.systems:
            async with bench.database(system) as database:
                order = Order(
                    system.name, bench.dsn(database), system.tunings["default"], until_empty=False
                )
                async with bench.worker(order) as worker:
                    async with system.producer(bench.dsn(database)) as producer:
                        await producer.one({"n": 1})
                        await worker.first()
                    # From another database, so that these queries are not counted.
                    async with bench.connect("postgres") as admin:
                        await asyncio.sleep(STATISTICS_DELAY)
                        before = await _transactions(admin, database)
                        await asyncio.sleep(seconds)
                        done = await _transactions(admin, database) - before
                        connections = await admin.fetchval(
                            "select count(*) from pg_stat_activity where datname = $1"
                            " and backend_type = 'client backend'",
                            database,
                        )
                    memory = _memory(worker.pid)
                    await worker.stop()
            bench.table.add(system.name, "transactions", done / seconds, "per s")
            bench.table.add(system.name, "connections", connections, "")
            bench.table.add(system.name, "memory", memory, "MB")


async def _transactions(admin: Any, database: str) -> int:
    return int(
        await admin.fetchval(
            "select xact_commit + xact_rollback from pg_stat_database where datname = $1", database
        )
    )


def _memory(pid: int) -> float:
    """Resident megabytes, children included."""
    kilobytes = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            kilobytes = int(line.split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return kilobytes / 1024 + sum(_memory(int(child)) for child in children)
