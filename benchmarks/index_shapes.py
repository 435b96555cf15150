"""What the shape of the six look-up indexes costs: `python -m benchmarks.index_shapes`.

Each variant is a fresh database on one embedded server: the tables as they are, then the variant's
DDL. One connection enqueues in batches of 1,000, claims and completes in batches of 100, without
full-page images. Prints WAL bytes and server-side microseconds per job, medians of the runs.
"""

import argparse
import asyncio
import json
import statistics
import time
from datetime import timedelta

import asyncpg

from pgjobs import migrate
from pgjobs.database import Database
from pgjobs.embedded import EmbeddedPostgres

_DROP = (
    "drop index ix_jobs_job_type, ix_jobs_status, ix_jobs_reference_id, "
    "ix_jobs_reference; "
)
VARIANTS = {
    "as installed": "",
    "without any look-up": _DROP,
    "six plain btrees": _DROP
    + """create index ix_jobs_job_type on jobs (job_type);
        create index ix_jobs_status on jobs (status);
        create index ix_jobs_status_type on jobs (status, job_type);
        create index ix_jobs_reference_id on jobs (reference_id);
        create index ix_jobs_reference_type on jobs (reference_type);
        create index ix_jobs_reference on jobs (reference_type, reference_id);""",
    "status with pending too": "drop index ix_jobs_status; "
    "create index ix_jobs_status on jobs (status, finished_at);",
    "type, and status and type": """drop index ix_jobs_job_type;
        create index ix_jobs_job_type on jobs (job_type);
        create index ix_jobs_status_type on jobs (status, job_type)
            where status in ('pending', 'blocked', 'failed', 'cancelled');""",
    "primary key of fillfactor 90": "alter index jobs_id_is_the_key set (fillfactor = 90);",
    "fillfactor 100": "alter table jobs set (fillfactor = 100);",
    "fillfactor 50": "alter table jobs set (fillfactor = 50);",
}
STEPS = ("enqueue", "claim", "complete", "delete")


async def _run(dsn: str, jobs: int) -> dict[str, tuple[float, float]]:
    connection = await asyncpg.connect(dsn)
    database = Database(connection)
    await connection.execute("truncate jobs; checkpoint")
    found: dict[str, tuple[float, float]] = {}

    async def measured(step: str, statements: int, action) -> None:  # type: ignore[no-untyped-def]
        lsn = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        wal, began = await connection.fetchval(lsn), time.perf_counter()
        for number in range(statements):
            await action(number)
        seconds = time.perf_counter() - began
        wal = float(await connection.fetchval(lsn) - wal)
        done = jobs / 2 if step in ("complete", "delete") else jobs
        found[step] = (wal / done, seconds / done * 1e6)

    batch = json.dumps([{"job_type": f"type_{n % 4}", "payload": {"n": n}} for n in range(1_000)])
    held: list[tuple[list[int], list[int]]] = []

    async def claim(_: int) -> None:
        rows = await database.claim("w", ["default"], 100, timedelta(minutes=1))
        held.append(([r["id"] for r in rows], [r["attempt"] for r in rows]))

    async def settle(number: int, *, keep: bool) -> None:
        ids, attempts = held[number]
        await database.complete_many("w", ids, attempts, [None] * len(ids), keep)

    half = len(range(0, jobs // 2, 100))
    await measured("enqueue", jobs // 1_000, lambda _: database.enqueue_many(batch))
    await measured("claim", jobs // 100, claim)
    await measured("complete", half, lambda n: settle(n, keep=True))
    await measured("delete", half, lambda n: settle(n + half, keep=False))
    await connection.close()
    return found


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    settings = {"full_page_writes": "off", "autovacuum": "off", "shared_buffers": "256MB"}
    with EmbeddedPostgres(settings=settings) as server:
        print("| variant | " + " | ".join(f"{s}: B · µs" for s in STEPS) + " |")
        print("| --- |" + " --- |" * len(STEPS))
        for name, ddl in VARIANTS.items():
            asyncio.run(_fresh(server.dsn, ddl))
            runs = [asyncio.run(_run(server.dsn, options.jobs)) for _ in range(options.runs)]
            cells = [
                " · ".join(
                    f"{statistics.median(r[step][part] for r in runs):.{part}f}"
                    for part in (0, 1)
                )
                for step in STEPS
            ]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


async def _fresh(dsn: str, ddl: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop schema public cascade; create schema public")
    await asyncio.to_thread(migrate, dsn)
    if ddl:
        await connection.execute(ddl)
    await connection.close()


if __name__ == "__main__":
    main()
