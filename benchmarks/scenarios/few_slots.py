"""How fast a worker with few slots runs waiting jobs."""

import itertools
from collections.abc import Mapping

from ..bench import Bench
from ..orders import Kind, Order
from ..systems.graphile_ import LOCAL_QUEUE, tuned
from ..systems.system import Tuning

SLOTS = (10, 16)
KINDS: Mapping[Kind, str] = {"noop": "no-op", "await": "1 ms"}
PEERS = ("pgqueuer", "graphile-worker")


async def few_slots(bench: Bench) -> None:
    """Each system in turn, for no-op handlers and for handlers that await 1 ms."""
    jobs = bench.options.jobs or 0
    for _ in range(bench.options.runs):
        for slots, kind, system in itertools.product(SLOTS, KINDS, bench.systems):
            count = max(int(jobs * system.share), 500)
            for note, tuning in _tunings(system.name, slots).items():
                async with bench.database(system) as database:
                    await bench.fill(system, database, count)
                    report = await bench.drain(
                        Order(system.name, bench.dsn(database), tuning, kind, count)
                    )
                bench.table.add(
                    system.name, "drain", count / report.seconds, "jobs/s",
                    setting=_setting(slots, kind, note), jobs=count, tuning=dict(tuning),
                )
    for name, slots, kind in itertools.product(bench.options.systems[1:], SLOTS, KINDS):
        for note in _tunings(name, slots):
            theirs = _setting(slots, kind, note)
            bench.table.ratio(
                f"against {name}, {theirs}",
                ("pgjobs", "drain", _setting(slots, kind)), (name, "drain", theirs),
            )


def _tunings(name: str, slots: int) -> Mapping[str, Tuning]:
    """The best tuning with so many slots; if it locks many more jobs, one that locks few."""
    match name:
        case "graphile-worker":
            return {
                "": tuned(slots, LOCAL_QUEUE), "small local queue": tuned(slots, slots + 1),
            }
        case "pgqueuer":
            # It fetches a batch before the last one has ended: up to twice as many jobs run.
            return {"": {"batch_size": slots}}
        case _:
            return {"": {"concurrency": slots}}


def _setting(slots: int, kind: Kind, note: str = "") -> str:
    return ", ".join(part for part in (f"{slots} slots", KINDS[kind], note) if part)
