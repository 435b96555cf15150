"""WAL bytes per job that a worker process claims and completes."""

from ..bench import Bench
from ..orders import Order
from ..systems import SYSTEMS

SETTINGS = ("best", "best, completed deleted", "c100")


async def wal(bench: Bench) -> None:
    """Without full-page images: their number depends on the time between checkpoints."""
    jobs = bench.options.jobs or 0
    system = SYSTEMS["pgjobs"]
    for _ in range(bench.options.runs):
        for setting in SETTINGS:
            async with bench.database(system) as database:
                await bench.fill(system, database, jobs)
                await bench.settle()
                async with bench.connect("postgres") as admin:
                    lsn = "select (pg_current_wal_insert_lsn() - '0/0')::bigint"
                    before = await admin.fetchval(lsn)
                    order = Order("pgjobs", bench.dsn(database), system.tunings[setting], jobs=jobs)
                    async with bench.worker(order) as worker:
                        await worker.report()
                    written = await admin.fetchval(lsn) - before
            bench.table.add(
                "pgjobs", "WAL", written / jobs, "B per job", setting=setting, jobs=jobs
            )
