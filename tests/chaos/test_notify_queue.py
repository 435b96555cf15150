"""A listener that never reads: the server's queue of notifications fills up."""

from typing import Any

import asyncpg
import psycopg
import pytest
from chaos.load import Size, add, begun, counted, ended
from chaos.processes import Processes, Serve
from chaos.report import Note
from chaos.workload import LEDGER

from pgjobs import App, PgjobsError
from pgjobs.testing import FAST_SETTINGS

NOTIFY = "select pg_notify('public.jobs', repeat('x', $1) || clock_timestamp())"
DOCTOR = "select verdict, detail from jobs_doctor() where check_name = 'notification queue'"


@pytest.mark.fault(
    12,
    "a listener that never reads, and the notification queue full",
    "enqueue never fails; the ticks of a worker find the jobs; the doctor names the listener",
)
async def test_a_tick_finds_jobs_when_the_notification_queue_is_full(
    serve: Serve, workers: Processes, size: Size, figures: Note
) -> None:
    try:
        server = serve({**FAST_SETTINGS, "max_notify_queue_pages": "64"})
    except PgjobsError as error:
        if "max_notify_queue_pages" in str(error):
            pytest.skip("before PostgreSQL 17 that queue holds 8 GB")
        raise
    conn = await asyncpg.connect(server.dsn)
    await conn.execute(LEDGER)
    worker = workers.start(dsn=server.dsn)
    await add(conn, 1, 0)
    await begun(conn, 1)
    with psycopg.connect(server.dsn, autocommit=True, application_name="deaf") as deaf:
        deaf.execute('listen "public.jobs"')
        await _fill(conn)
        pid = deaf.info.backend_pid
        async with App(server.dsn) as app:
            took = 0.0
            alone = 20
            for number in range(alone):
                await app.enqueue("work", {"seconds": 0})
                if number == 0:
                    took = await begun(conn, 2)
            await add(conn, size.jobs, 0)
        await ended(conn)
        row = await conn.fetchrow(DOCTOR)
    counts = await counted(conn, size.jobs + alone + 1)
    figures(jobs=counts.jobs, lost=counts.lost, twice=counts.twice, seconds=took,
            what="until a lone job was found")
    assert (counts.lost, counts.twice, counts.retries, counts.crashes) == (0, 0, 0, 0)
    assert row["verdict"] == "bad"
    assert f"pid {pid} (deaf," in row["detail"]
    assert took < 11
    assert worker.poll() is None
    await conn.close()


async def _fill(conn: Any) -> None:
    """Fills the queue until even the shortest notification is refused."""
    for characters in (7_900, 500, 0):
        while await _fits(conn, characters):
            pass


async def _fits(conn: Any, characters: int) -> bool:
    try:
        await conn.execute(NOTIFY, characters)
    except asyncpg.ProgramLimitExceededError:
        return False
    return True
