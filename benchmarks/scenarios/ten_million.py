"""Look-ups, empty claims and ticks beside ten million jobs."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from pgjobs.database import Database
from pgjobs.telemetry.metrics import metrics
from pgjobs.worker.rounds import Rounds

from ..bench import Bench
from ..systems import SYSTEMS

PEERS = ("pgqueuer", "procrastinate")
REPEATS = 40  # of each call, in each run
PATIENCE_S = 30
QUEUES = [f"q{n}" for n in range(500)]
TYPES = [f"t{n}" for n in range(200)]
# No job of these types is due: a worker that has handlers for these alone is idle.
LATER = [f"later{n}" for n in range(200)]
LEASE = timedelta(minutes=1)
# Each statement is given the number of all jobs: 7 tenths are completed, 2 pending, 1 failed. A
# quarter of what is pending is due later, and some of that waits for a retry.
FILL = (
    """insert into jobs (queue, job_type, status, attempt, run_at, finished_at, reference_type,
        reference_id)
    select 'q' || n % 500, 't' || n / 500 % 200, 'completed', 1, now() - '1 day'::interval,
        now() - '6 days'::interval + n * ('6 days'::interval / $1::int), 'order', n
    from generate_series(1, $1::int * 7::bigint / 10) n""",
    """insert into jobs (queue, job_type, priority, run_at, retry_count, reference_type,
        reference_id)
    select 'q' || n % 500, k.kind || n / 500 % 200, (n % 20 = 7)::int,
        now() + case k.kind when 't' then -'1 hour'::interval else '1 day' end
            + n * '1 ms'::interval,
        (k.kind = 'later' and n % 3 = 0)::int, 'order', n
    from generate_series(1, $1::int * 2::bigint / 10) n
    cross join lateral (select case n / 100000 % 4 when 3 then 'later' else 't' end) k(kind)""",
    """insert into jobs (queue, job_type, status, attempt, run_at, finished_at, error)
    select 'q' || n % 500, 't' || n / 500 % 200, 'failed', 4, now() - '1 day'::interval,
        now() - '30 days'::interval + n * ('300 days'::interval / $1::int), 'no such file'
    from generate_series(1, $1::int / 10) n""",
    """insert into jobs (queue, job_type, status, worker, attempt, lease_until)
    select 'q' || n, 't' || n, 'processing', 'other', 1, now() + '1 day'::interval
    from generate_series(1, least($1::int / 1000, 100)) n""",
    # Of two busy hours, with as many sets of labels as a minute may have.
    """insert into jobs_history
    select '1 minute', date_trunc('minute', now()) - n * '1 minute'::interval, 'q' || t % 50,
        't' || t / 50, 'completed', greatest($1::int / 1000000, 1), 1, array_fill(1, array[23]), 1,
        array_fill(1, array[23])
    from generate_series(1, 120) n, generate_series(0, 999) t""",
)
# It moves what is completed to a log.
PGQUEUER = (
    """insert into pgqueuer (priority, entrypoint, status)
    select (n % 20 = 7)::int, 't' || n % 200,
        case when n % 3 = 0 then 'failed' else 'queued' end::pgqueuer_status
    from generate_series(1, $1::int * 3::bigint / 10) n""",
    """insert into pgqueuer_log (job_id, status, priority, entrypoint, aggregated)
    select n, 'successful', 0, 't' || n % 200, true
    from generate_series(1, $1::int * 7::bigint / 10) n""",
)
PROCRASTINATE = (
    """insert into procrastinate_jobs (queue_name, task_name, priority, status)
    select 'q' || n % 500, 't' || n / 500 % 200, 0,
        case when n % 10 < 7 then 'succeeded' when n % 10 < 9 then 'todo' else 'failed' end
            ::procrastinate_job_status
    from generate_series(1, $1::int) n""",
)
# As a worker tells it: of each set the jobs, and histograms of how long they waited and ran.
SETS_OF_LABELS = json.dumps(
    [
        (f"q{n % 50}", f"t{n // 50}", "completed", 10, 1.5, {5: 6, 6: 4}, 0.5, {3: 2, 4: 7, 5: 1})
        for n in range(1000)
    ],
    separators=(",", ":"),
)
Call = Callable[[], Awaitable[object]]


async def ten_million(bench: Bench) -> None:
    """Milliseconds that 95 of 100 calls take at most, the client's part included; warm caches."""
    jobs = bench.options.jobs or 0
    async with AsyncExitStack() as stack:
        calls: dict[tuple[str, str], Call] = {}
        for system in bench.systems:
            open_calls = {"pgjobs": _pgjobs, "pgqueuer": _pgqueuer,
                          "procrastinate": _procrastinate}[system.name]
            found = await stack.enter_async_context(open_calls(bench, jobs))
            calls |= {(system.name, name): call for name, call in found.items()}
        await bench.settle()
        for _ in range(bench.options.runs):
            for (system_name, name), call in calls.items():
                value = await _p95_ms(call)
                if value is not None:
                    bench.table.add(system_name, name, value, "ms", jobs=jobs)
                else:
                    note = f"{system_name} · {name}: longer than {PATIENCE_S} s"
                    bench.table.notes += [note] if note not in bench.table.notes else []


async def _p95_ms(call: Call) -> float | None:
    """None: the call takes longer than ``PATIENCE_S``. Seconds are not measured as often as ms."""
    times: list[float] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            await call()
            while len(times) < REPEATS and sum(times) < PATIENCE_S / 10:
                began = time.perf_counter()
                await call()
                times.append(time.perf_counter() - began)
    except TimeoutError:
        return None
    return statistics.quantiles(times * (2 if len(times) == 1 else 1), n=20)[-1] * 1e3


@asynccontextmanager
async def _pgjobs(bench: Bench, jobs: int) -> AsyncIterator[dict[str, Call]]:
    async with filled(bench, "pgjobs", "jobs", FILL, jobs) as connection:
        database = Database(connection)
        await database.worker_start("idle", QUEUES, LATER, 100)

        async def top() -> None:
            await database.stats()
            await database.workers()
            await database.processing()
            await database.rates(timedelta(seconds=10))

        def listed(**filters: Any) -> Call:
            return lambda: database.listing(**filters)

        def claimed(queues: list[str]) -> Call:
            async def claim() -> None:
                if await database.claim("idle", queues, 100, LEASE, LATER, None):
                    raise RuntimeError("the claim was not empty")

            return claim

        async def added_up() -> None:
            await database.note_ends(SETS_OF_LABELS)
            await connection.execute("select _jobs_history_add()")

        async def told() -> None:
            # Rolled back, or the next calls would find what was told.
            transaction = connection.transaction()
            await transaction.start()
            await database.note_ends(SETS_OF_LABELS)
            await transaction.rollback()

        rounds = Rounds(QUEUES, LATER)
        due = await connection.fetchval("select min(id) from jobs where status = 'pending'")
        yield {
            "counts": database.counts,
            "top": top,
            "doctor": database.doctor,
            "list": listed(),
            "list of pending": listed(statuses=["pending"]),
            "list of completed": listed(statuses=["completed"]),
            "list of failed": listed(statuses=["failed"]),
            "list of a type": listed(job_types=["t7"]),
            "list of a queue": listed(queues=["q7"]),
            "list of a queue that is not there": listed(queues=["none"]),
            "list of a reference": listed(reference_type="order", reference_id=77),
            "list of failed, type and queue":
                listed(statuses=["failed"], job_types=["t7"], queues=["q7"]),
            "list of completed, type and queue":
                listed(statuses=["completed"], job_types=["t7"], queues=["q7"]),
            "why of a job": lambda: database.why(due),
            "scrape of metrics": lambda: metrics(database),
            "1,000 sets of labels, told and added up": added_up,
            "1,000 sets of labels, told": told,
            "totals": database.totals,
            "empty claim, 10 queues × 200 types": claimed(QUEUES[:10]),
            "empty claim, 500 queues × 200 types": claimed(QUEUES),
            "tick of that worker": lambda: database.worker_tick("idle", queues=rounds.next()),
        }


@asynccontextmanager
async def _pgqueuer(bench: Bench, jobs: int) -> AsyncIterator[dict[str, Call]]:
    from pgqueuer import AsyncpgDriver, Queries
    from pgqueuer.queries import EntrypointExecutionParameter

    async with filled(bench, "pgqueuer", "pgqueuer", PGQUEUER, jobs) as connection:
        queries = Queries(AsyncpgDriver(connection))
        manager = uuid4()
        types = {name: EntrypointExecutionParameter(0) for name in LATER}
        yield {
            "counts": queries.queue_size,
            "list of failed": lambda: queries.list_failed_jobs(limit=20),
            "empty claim, 200 types":
                lambda: queries.dequeue(100, types, manager, None, timedelta(seconds=30)),
        }


@asynccontextmanager
async def _procrastinate(bench: Bench, jobs: int) -> AsyncIterator[dict[str, Call]]:
    import procrastinate

    async with filled(
        bench, "procrastinate", "procrastinate_jobs", PROCRASTINATE, jobs
    ) as connection:
        name = await connection.fetchval("select current_database()")
        app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=bench.dsn(name))
        )
        async with app.open_async():
            manager = app.job_manager
            worker = await manager.register_worker()
            yield {
                "counts": manager.list_queues_async,
                "empty claim, 500 queues": lambda: manager.fetch_job(LATER, worker),
            }


@asynccontextmanager
async def filled(
    bench: Bench, system: str, table: str, fill: tuple[str, ...], jobs: int
) -> AsyncIterator[Any]:
    """A connection to a database with these rows; the indexes are made after the rows."""
    async with bench.database(SYSTEMS[system]) as name, bench.connect(name) as connection:
        await connection.execute("set session_replication_role = replica")  # without triggers
        await connection.execute("set maintenance_work_mem = '512MB'")
        indexes = await connection.fetch(
            """select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
            from pg_index where indrelid = $1::text::regclass and not indisprimary""", table)
        for index in indexes:
            await connection.execute(f"drop index {index['name']}")
        for statement in fill:
            await connection.execute(statement, jobs, timeout=3600)
        for index in indexes:
            await connection.execute(index["definition"], timeout=3600)
        await connection.execute("vacuum (analyze)", timeout=3600)
        await connection.execute("set session_replication_role = origin")
        yield connection
