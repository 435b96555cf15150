"""Jobs of one key run one after the other, of many keys side by side, in pgjobs and its peers."""

import itertools
from collections.abc import Mapping

from ..bench import Bench
from ..orders import Order
from ..systems import System
from ..systems.system import Tuning

PEERS = ("pgqueuer", "procrastinate", "graphile-worker")
KEYS = (10, 100)
# How the systems order the jobs of a key: pgjobs by groups, pgqueuer by an entrypoint for each key,
# procrastinate by locks, graphile-worker by named queues. Each statement takes the number of jobs
# and the number of keys.
FILL: Mapping[str, tuple[str, ...]] = {
    "pgjobs": (
        "select jobs_limit('default', in_order => true) where $1::int > 0 and $2::int > 0",
        """insert into jobs (job_type, payload, group_key)
        select 'noop', jsonb_build_object('n', n), 'k' || n % $2::int
        from generate_series(1, $1::int) n""",
    ),
    "pgqueuer": (
        """insert into pgqueuer (priority, entrypoint, payload, status)
        select 0, 'k' || n % $2::int, '{}', 'queued' from generate_series(1, $1::int) n""",
    ),
    "procrastinate": (
        """insert into procrastinate_jobs (queue_name, task_name, lock, args)
        select 'default', 'noop', 'k' || n % $2::int, jsonb_build_object('n', n)
        from generate_series(1, $1::int) n""",
    ),
    "graphile-worker": (
        """select count(*) from graphile_worker.add_jobs(array(
            select json_populate_record(null::graphile_worker.job_spec, json_build_object(
                'identifier', 'noop', 'payload', json_build_object('n', n),
                'queue_name', 'k' || n % $2::int))
            from generate_series(1, $1::int) n))""",
    ),
}
# With a local queue graphile-worker gets a job of each key, and the next ones at its next poll, 2 s
# later.
TUNINGS: Mapping[str, Tuning] = {"graphile-worker": {"concurrentJobs": 24, "maxPoolSize": 25}}
SHARES = {"pgjobs": 1.0, "graphile-worker": 0.05, "pgqueuer": 0.05, "procrastinate": 0.05}


async def in_order(bench: Bench) -> None:
    """No-op jobs that wait, by one worker process."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for keys, system in itertools.product(KEYS, bench.systems):
            await _drain(bench, system, keys, int(jobs * SHARES[system.name]))
    for name, keys in itertools.product(bench.options.systems[1:], KEYS):
        setting = _setting(keys)
        bench.table.ratio(
            f"against {name}, {setting}",
            ("pgjobs", "drain", setting), (name, "drain", setting),
        )


async def _drain(bench: Bench, system: System, keys: int, jobs: int) -> None:
    tuning = TUNINGS.get(system.name, system.tunings["best"])
    async with bench.database(system) as database:
        async with bench.connect(database) as connection:
            for statement in FILL[system.name]:
                await connection.execute(statement, jobs, keys, timeout=600)
            await connection.execute("analyze")
        report = await bench.drain(
            Order(system.name, bench.dsn(database), tuning, jobs=jobs, keys=keys)
        )
    bench.table.add(
        system.name, "drain", jobs / report.seconds, "jobs/s", setting=_setting(keys), jobs=jobs,
    )


def _setting(keys: int) -> str:
    return f"{keys} keys"
