"""What it costs to be a member of a batch, and how soon a job starts after its last parent."""

from typing import Any

from ..bench import Bench
from ..orders import Order
from ..systems import SYSTEMS

FAN = 10_000
CHUNK = 1_000
ADD_MEMBERS = """select count(*) from jobs_enqueue_many((
    select jsonb_agg(jsonb_build_object('job_type', 'noop', 'payload', jsonb_build_object('n', n),
                                        'batch_id', $3::bigint))
    from generate_series($1::int, $2::int - 1) n))"""
PAUSE = """select extract(epoch from
        (select min(started_at) from jobs where id = any ($1))
        - (select max(finished_at) from jobs where id <> all ($1)))::float * 1000"""


async def flows(bench: Bench) -> None:
    """Each measure has a database of its own, and one worker process with 1,500 slots."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        await _drain(bench, jobs, is_batch=False)
        await _drain(bench, jobs, is_batch=True)
        await _fan(bench, is_in=True)
        await _fan(bench, is_in=False)
    bench.table.ratio(
        "members of a batch against plain jobs",
        ("pgjobs", "drain", "members of a batch"), ("pgjobs", "drain", "plain"),
    )


async def _drain(bench: Bench, jobs: int, *, is_batch: bool) -> None:
    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, bench.connect(database) as connection:
        batch = None
        if is_batch:
            batch = await connection.fetchval(
                "select id from jobs_batch('noop', '{\"n\": -1}', queue => 'other')")
        for start in range(0, jobs, CHUNK):
            await connection.execute(ADD_MEMBERS, start, min(start + CHUNK, jobs), batch)
        if is_batch:
            await connection.execute("select jobs_batch_close($1)", batch)
        await connection.execute("analyze")
        report = await bench.drain(Order(
            "pgjobs", bench.dsn(database), system.tunings["best"], jobs=jobs + is_batch))
        if is_batch:
            pause = await connection.fetchval(PAUSE, [batch])
            _add_pause(bench, pause, f"the callback of {jobs:,} members")
    bench.table.add(
        "pgjobs", "drain", jobs / report.seconds, "jobs/s",
        setting="members of a batch" if is_batch else "plain", jobs=jobs,
    )


async def _fan(bench: Bench, *, is_in: bool) -> None:
    """One job that waits for many, or many that wait for one."""
    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, bench.connect(database) as connection:
        enqueue = "select array_agg(j) from jobs_enqueue_many($1::text::jsonb) j"
        many = "[" + ",".join(['{"job_type": "noop", "payload": {"n": 1}}'] * FAN) + "]"
        one = '[{"job_type": "noop", "payload": {"n": 1}}]'
        parents: Any = await connection.fetchval(enqueue, many if is_in else one)
        children = [
            await connection.fetchval(
                "select id from jobs_enqueue('noop', '{\"n\": 1}', depends_on => $1)", parents)
            for _ in range(1 if is_in else FAN)
        ]
        await connection.execute("analyze")
        report = await bench.drain(Order(
            "pgjobs", bench.dsn(database), system.tunings["best"], jobs=FAN + 1))
        pause = await connection.fetchval(PAUSE, children)
    name = f"one job after {FAN:,}" if is_in else f"the first of {FAN:,} jobs after one"
    _add_pause(bench, pause, name)
    if not is_in:
        bench.table.add("pgjobs", f"{FAN:,} jobs after one", FAN / report.seconds, "jobs/s")


def _add_pause(bench: Bench, pause: float, of: str) -> None:
    bench.table.add("pgjobs", "last end to start", pause, "ms", setting=of)
