"""The scenarios by name."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from ..bench import Bench
from ..systems import SYSTEMS
from . import (
    big_table,
    children,
    cleanup,
    console,
    drain,
    enqueue,
    few_slots,
    flows,
    held_snapshot,
    idle,
    imports,
    in_order,
    latency,
    limits,
    mixed,
    producers,
    promptness,
    schedules,
    spread,
    sync,
    tail,
    ten_million,
    wait,
    wal,
)

ALL = tuple(SYSTEMS)


@dataclass(frozen=True)
class Scenario:
    """``jobs``, ``seconds``: of the full run; ``quick_…``: of ``python -m benchmarks quick``.

    ``peers``: the other systems that take part. ``quick_jobs`` of 0: not in the quick set.
    """

    title: str
    run: Callable[[Bench], Awaitable[None]]
    jobs: int
    quick_jobs: int = 0
    seconds: float = 0
    quick_seconds: float = 0
    peers: Collection[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


SCENARIOS = {
    "drain": Scenario(
        "no-op jobs that wait, by one worker process", drain.drain, 100_000, 20_000, peers=ALL),
    "processes": Scenario(
        "one worker process against two", drain.processes, 100_000, 20_000),
    "children": Scenario(
        "plain functions that compute: one child process against two", children.children, 400),
    "few-slots": Scenario(
        "a drain by 10 and by 16 slots", few_slots.few_slots, 20_000, 5_000,
        peers=few_slots.PEERS),
    "enqueue-many": Scenario(
        "calls of 1,000 jobs each, one after the other", enqueue.many, 20_000, 20_000, peers=ALL),
    "enqueue-concurrent": Scenario(
        "64 coroutines that enqueue one by one", enqueue.concurrent, 50_000, 20_000),
    "enqueue-sequential": Scenario(
        "one by one, against a bare INSERT", enqueue.sequential, 5_000, 1_500),
    "sync": Scenario(
        "sync calls one by one, against a bare INSERT", sync.sync, 4_000, 1_000),
    "flows": Scenario(
        "members of a batch, against plain jobs; from the last parent to the child", flows.flows,
        100_000, 10_000),
    "wait": Scenario(
        "waiting for jobs: how late a result is heard, and drains that 10,000 wait for",
        wait.wait, 10_000, 10_000),
    "latency": Scenario(
        "idle worker: enqueue called until handler started", latency.latency, 400, 100,
        peers=ALL),
    "herd": Scenario(
        "16 idle workers, one job every 20 ms", latency.herd, 500, 200,
        settings={"track_functions": "pl"}),
    "spread": Scenario(
        "two workers with free slots: how many of the jobs each runs", spread.spread, 1,
        seconds=10, settings={"track_functions": "pl"}),
    "tail": Scenario(
        "random bursts for three workers: jobs that wait although a slot is free", tail.tail,
        50_000),
    "promptness": Scenario(
        "the worst wait of a due job while one of two workers is free", promptness.promptness,
        1_000, seconds=promptness.OPEN_FOR),
    "producers": Scenario(
        "16 producers that commit one job each, a worker beside them", producers.producers, 1, 1,
        seconds=10, quick_seconds=4),
    "held-snapshot": Scenario(
        "an old snapshot held open: the last sixth of the jobs against the first",
        held_snapshot.held_snapshot, 60_000, 24_000, peers=ALL),
    "held-snapshot-lone": Scenario(
        "an old snapshot held open: a lone job after many finished ones",
        held_snapshot.lone, 200_000, peers=("pgqueuer", "graphile-worker")),
    "big-table": Scenario(
        "claim and complete 100 jobs in a full table, against an empty one", big_table.big_table,
        1_000_000),
    "ten-million": Scenario(
        "look-ups, empty claims and ticks beside ten million jobs", ten_million.ten_million,
        10_000_000, peers=ten_million.PEERS),
    "console": Scenario(
        "pages of the console beside ten million jobs", console.pages, 10_000_000),
    "viewers": Scenario(
        "a drain beside ten viewers of the console", console.viewers, 100_000),
    "cleanup": Scenario(
        "jobs_cleanup beside a worker that drains", cleanup.cleanup, 1_000_000),
    "wal": Scenario(
        "WAL that claim and completion write", wal.wal, 50_000, 10_000,
        settings={"full_page_writes": "off", "autovacuum": "off"}),
    "idle": Scenario(
        "a worker without work", idle.idle, 1, 1, seconds=30, quick_seconds=12, peers=ALL,
        settings={"autovacuum": "off"}),
    "schedules": Scenario(
        "how late schedules fire, many at once, and what those cost that are not due",
        schedules.schedules, 10_000),
    "limits": Scenario(
        "limits, rates and groups: claims beside what they hold back, and real workers",
        limits.limits, 1_000_000, seconds=10, settings=limits.SETTINGS),
    "in-order": Scenario(
        "jobs of many keys, one after the other for each key", in_order.in_order, 20_000, 5_000,
        peers=in_order.PEERS),
    "imports": Scenario(
        "starting: import pgjobs, pgjobs --help", imports.imports, 1, 1),
    "mixed": Scenario(
        "100 jobs of 1 s beside 10,000 short ones", mixed.mixed, 10_000, 10_000),
}
