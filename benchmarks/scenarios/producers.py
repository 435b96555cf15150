"""Many producers, one job per commit: what NOTIFY costs, and what a polling worker saves."""

import asyncio
import re
import tempfile
from pathlib import Path

from ..bench import Bench
from ..orders import Order
from ..systems import SYSTEMS

CLIENTS = 16
SCRIPTS = {
    "jobs_enqueue": "select id from jobs_enqueue('noop', '{}');",
    "INSERT": "insert into jobs (job_type) values ('noop');",
}
AS_INSTALLED, SILENT, ALWAYS = "as installed", "no NOTIFY", "NOTIFY on each commit"
TRIGGERS = {
    AS_INSTALLED: "",
    SILENT: "alter table jobs disable trigger jobs_notify;",
    ALWAYS: """
        alter table jobs disable trigger jobs_notify;
        create function always_notify() returns trigger language plpgsql as
            $$ begin perform _jobs_signal('default', clock_timestamp()); return null; end $$;
        create trigger always_notify after insert on jobs
            for each statement execute function always_notify();""",
}


async def producers(bench: Bench) -> None:
    """Uses pgbench, which needs less CPU than 16 Python clients."""
    seconds = bench.options.seconds or 10
    for _ in range(bench.options.runs):
        for call, script in SCRIPTS.items():
            for setting, ddl in TRIGGERS.items():
                rate, done, left = await _rate(bench, script, ddl, seconds)
                bench.table.add(
                    "pgjobs", f"commits by {call}", rate, "per s", setting=setting,
                )
                bench.table.add(
                    "pgjobs", f"done meanwhile, {call}", done / seconds, "jobs/s",
                    setting=setting, left=left,
                )
    for call in SCRIPTS:
        for setting in (AS_INSTALLED, ALWAYS):
            bench.table.ratio(
                f"{call}: {setting} against {SILENT}",
                ("pgjobs", f"commits by {call}", setting),
                ("pgjobs", f"commits by {call}", SILENT),
            )


async def _rate(bench: Bench, script: str, ddl: str, seconds: float) -> tuple[float, int, int]:
    system = SYSTEMS["pgjobs"]
    async with bench.database(system) as database, bench.connect(database) as connection:
        if ddl:
            await connection.execute(ddl)
        await bench.settle()
        order = Order("pgjobs", bench.dsn(database), {}, until_empty=False)
        async with bench.worker(order) as worker:
            while not await connection.fetchval("select count(*) from jobs_workers"):
                await asyncio.sleep(0.05)
            signalling = asyncio.create_task(_signal(bench, database)) if "disable" in ddl else None
            rate = await _pgbench(bench, database, script, seconds)
            if signalling is not None:
                signalling.cancel()
                await asyncio.wait([signalling])
            finished = "select count(*) from jobs where finished_at is not null"
            done = await connection.fetchval(finished)
            left = await connection.fetchval(system.unfinished)
            await worker.kill()
    return rate, done, left


async def _signal(bench: Bench, database: str) -> None:
    """Signals the worker, as no producer does, so that it works as much as in other variants."""
    async with bench.connect(database) as connection:
        while True:
            await connection.execute("select _jobs_signal('default', clock_timestamp())")
            await asyncio.sleep(0.05)


async def _pgbench(bench: Bench, database: str, script: str, seconds: float) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        process = await asyncio.create_subprocess_exec(
            str(Path(bench.bin) / "pgbench"), "-n", "-c", str(CLIENTS), "-j", "2", "-M", "prepared",
            "-T", str(round(seconds)), "-f", file.name, bench.dsn(database),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
    found = re.search(rb"tps = ([\d.]+)", output)
    if process.returncode or found is None:
        raise RuntimeError(f"pgbench failed: {errors.decode()[-500:]}")
    return float(found[1])
