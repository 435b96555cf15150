"""Plain functions that compute, in child processes of one worker."""

import time

from pgjobs import App, Job

from ..bench import Bench
from ..systems import SYSTEMS

CPU_S = 0.02
app = App()


@app.job("burn", run_in="process")
def burn(job: Job[dict[str, int]]) -> None:
    # CPU time of this thread: time that other processes take on this core does not count.
    until = time.thread_time() + CPU_S
    while time.thread_time() < until:
        pass


async def children(bench: Bench) -> None:
    """One child process against two; the start of the children counts."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for count in (1, 2):
            async with bench.database(SYSTEMS["pgjobs"]) as database:
                app.connect_to(bench.dsn(database))
                async with app:
                    # As long for two as for one.
                    await app.enqueue_many("burn", [{}] * (jobs * count))
                    await bench.settle()
                    began = time.perf_counter()
                    await app.worker(plain_concurrency=count).run(until_empty=True)
                    seconds = time.perf_counter() - began
            bench.table.add(
                "pgjobs", "burn 20 ms", jobs * count / seconds, "jobs/s",
                setting=f"{count} children", jobs=jobs * count,
            )
    bench.table.ratio(
        "two child processes against one",
        ("pgjobs", "burn 20 ms", "2 children"), ("pgjobs", "burn 20 ms", "1 children"),
    )
