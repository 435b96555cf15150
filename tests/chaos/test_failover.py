"""The primary dies under load, and its standby becomes the primary."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from chaos.load import REFUSALS, Size, begun, connected, ended
from chaos.processes import Process, Processes, Serve, eventually
from chaos.proxy import Proxy
from chaos.report import Note
from chaos.standby import NAME, Follow, Standby, address, make_synchronous
from chaos.workload import LEDGER

from pgjobs import App
from pgjobs.embedded import EmbeddedPostgres

NOTICED = 5  # seconds from the promotion to the next run
PRODUCERS = 4
WORKERS = 2
NUMBERS = "select (payload ->> 'number')::int as number, status from jobs"
# A job that was claimed after the promotion: a handler that had begun before the primary died may
# write to the ledger late.
FIRST_RUN = """select extract(epoch from min(l.at) - $1)::float
    from ledger l join jobs j on j.id = l.job_id and j.attempt = l.attempt
    where j.started_at > $1"""
RECEIVED = "select pg_last_wal_receive_lsn() >= $1::text::pg_lsn"
REGISTERED = f"select count(*) = {WORKERS} from jobs_workers"
TWICE = "select count(*) from (select from ledger group by job_id having count(*) > 1) repeated"
WITHOUT_RUN = """select count(*) from jobs j
    where status = 'completed' and not exists (select from ledger l where l.job_id = j.id)"""


class Load:
    """Four producers and two workers at a primary and its standby.

    ``acknowledged``: the numbers of the jobs whose calls returned. Numbers, since ids may come
    again: a standby that lags does not know the last ones.
    """

    def __init__(self, dsn: str, workers: Processes, jobs: int) -> None:
        self.acknowledged: set[int] = set()
        self.alive: list[Process] = [workers.start(dsn=dsn) for _ in range(WORKERS)]
        self._dsn = dsn
        self._jobs = jobs
        self._numbers: Iterator[int] = itertools.count()

    async def produce(self) -> None:
        """Enqueues single jobs and batches, until enough are acknowledged."""
        async with App(self._dsn) as app:
            while len(self.acknowledged) < self._jobs:
                single, *batch = itertools.islice(self._numbers, 11)
                try:
                    await app.enqueue("work", _payload(single))
                    self.acknowledged.add(single)
                    await app.enqueue_many("work", [_payload(number) for number in batch])
                    self.acknowledged.update(batch)
                except REFUSALS:
                    pass  # not acknowledged: the jobs may be there or not
                # Without a pause all jobs would be enqueued before the primary dies.
                await asyncio.sleep(0.05)

    async def acknowledges(self, share: float) -> None:
        """Waits until this share of the jobs is acknowledged in addition."""
        enough = len(self.acknowledged) + self._jobs * share
        while len(self.acknowledged) < enough:
            await asyncio.sleep(0.005)


def _payload(number: int) -> dict[str, float]:
    return {"seconds": 0.1, "number": number}


@asynccontextmanager
async def _under_load(
    conn: Any, primary: EmbeddedPostgres, standby: Standby, workers: Processes, size: Size
) -> AsyncIterator[Load]:
    load = Load(address(primary, standby), workers, size.jobs)
    # Not earlier: a worker that cannot connect at its start exits.
    await eventually(lambda: conn.fetchval(REGISTERED), "the workers are registered")
    async with asyncio.TaskGroup() as producers:
        for _ in range(PRODUCERS):
            producers.create_task(load.produce())
        await begun(conn, 50)
        yield load


async def _die(primary: EmbeddedPostgres, size: Size) -> None:
    """Kills the primary, and waits until somebody notices."""
    await asyncio.to_thread(primary.stop, "immediate")
    await asyncio.sleep(10 if size.times > 2 else 1)


async def _promote(conn: Any) -> Any:
    """Makes the standby the primary; returns when it was told to become it."""
    promoted_at = await conn.fetchval("select clock_timestamp()")
    assert await conn.fetchval("select pg_promote()")
    return promoted_at


async def _first_run(conn: Any, promoted_at: Any) -> float:
    ran = f"select ({FIRST_RUN}) is not null"
    await eventually(lambda: conn.fetchval(ran, promoted_at), "jobs run again")
    return float(await conn.fetchval(FIRST_RUN, promoted_at))


@pytest.mark.fault(
    16,
    "the primary dies under load, and its synchronous standby is promoted",
    "no acknowledged job is lost; jobs run again within 5 s of the promotion",
)
async def test_a_failover_to_a_synchronous_standby_loses_no_acknowledged_job(
    serve: Serve, follow: Follow, workers: Processes, size: Size, figures: Note
) -> None:
    primary = serve()
    standby = follow(primary)
    async with connected(primary.dsn) as old, connected(standby.dsn) as conn:
        await old.execute(LEDGER)
        await make_synchronous(old)
        async with _under_load(old, primary, standby, workers, size) as load:
            await load.acknowledges(0.4)
            await _die(primary, size)
            took = await _first_run(conn, await _promote(conn))
        await ended(conn)
        status = {row["number"]: row["status"] for row in await conn.fetch(NUMBERS)}
        lost = load.acknowledged - {n for n in status if status[n] == "completed"}
        without_run = await conn.fetchval(WITHOUT_RUN)
        figures(jobs=len(load.acknowledged), lost=len(lost) + without_run,
                twice=await conn.fetchval(TWICE), twice_why="of the jobs that were running",
                seconds=took, what="from the promotion to the next run")
    assert lost == set()
    assert without_run == 0
    assert took < NOTICED
    assert [worker.poll() for worker in load.alive] == [None] * WORKERS


@pytest.mark.fault(
    16,
    "the primary dies under load, and its asynchronous standby, which lags, is promoted",
    "only acknowledged jobs that the standby had not received are lost; jobs run again within 5 s"
    " of the promotion",
)
async def test_a_failover_to_a_standby_that_lags_loses_only_what_it_had_not_received(
    serve: Serve, follow: Follow, workers: Processes, size: Size, figures: Note
) -> None:
    primary = serve()
    async with Proxy(primary.dsn) as proxy:
        # libpq asks for encryption first, unless it is told not to, and names itself later.
        line = f"host=127.0.0.1 port={proxy.port} user=postgres sslmode=disable gssencmode=disable"
        standby = await asyncio.to_thread(follow, primary, line)
        async with connected(primary.dsn) as old, connected(standby.dsn) as conn:
            await old.execute(LEDGER)
            async with _under_load(old, primary, standby, workers, size) as load:
                await load.acknowledges(0.3)
                received = set(load.acknowledged)
                written = await old.fetchval("select pg_current_wal_flush_lsn()::text")
                await eventually(lambda: conn.fetchval(RECEIVED, written), "it is received")
                assert proxy.swallow(NAME, only_answers=True) == 1
                await load.acknowledges(0.1)
                await _die(primary, size)
                at_risk = load.acknowledged - received  # what comes now, the new primary has
                took = await _first_run(conn, await _promote(conn))
            await ended(conn)
            status = {row["number"]: row["status"] for row in await conn.fetch(NUMBERS)}
            gone = load.acknowledged - {n for n in status if status[n] == "completed"}
            lost = gone - at_risk
            never_sent = len(gone & at_risk)
            figures(jobs=len(load.acknowledged), lost=len(lost), twice=await conn.fetchval(TWICE),
                    twice_why="of the jobs that were running", seconds=took,
                    what=f"from the promotion to the next run; {never_sent} jobs not received")
    assert lost == set()
    assert never_sent > 0
    assert set(status.values()) == {"completed"}
    assert took < NOTICED
    assert [worker.poll() for worker in load.alive] == [None] * WORKERS
