"""The jobs that run in a worker."""

import asyncio
from datetime import timedelta


async def test_each_run_has_its_own_timeout(app, conn):
    ended: list[str] = []

    def add(name, limit, lasts):
        @app.job(name, timeout=None if limit is None else timedelta(seconds=limit))
        async def handler(job):
            try:
                await asyncio.sleep(lasts)
            finally:
                ended.append(name)

    # The first job sets the alarm; each later job expires before it, after it, or never.
    for name, limit, lasts in (
        ("long", 0.3, 60), ("short", 0.1, 60), ("endless", None, 0.5), ("quick", 0.2, 0),
        ("longest", 0.4, 60),
    ):
        add(name, limit, lasts)
        await app.enqueue(name, priority=1)
    await app.worker(concurrency=10).run(until_empty=True)
    assert ended == ["quick", "short", "long", "longest", "endless"]
    failed = await conn.fetch("select job_type from jobs where retry_count > 0 order by 1")
    assert [row[0] for row in failed] == ["long", "longest", "short"]
