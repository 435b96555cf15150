"""What a worker ends stands in the totals: how many, how they ended, and how long they took."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from pgjobs import Backoff, Cancel, Fail, Retry
from pgjobs.database import Database
from pgjobs.worker.ends import Ends


class Ran:
    """A run that has ended."""

    def __init__(self, took_s, waited_s, queue="default", job_type="t"):
        due = timedelta(seconds=0)
        self.took_s = took_s
        self.row = {"queue": queue, "job_type": job_type, "run_at": due,
                    "started_at": due + timedelta(seconds=waited_s)}


async def totals(conn):
    rows = await conn.fetch(
        "select job_type, outcome, jobs from _jobs_totals() order by job_type, outcome")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("keep_completed", [True, False])
async def test_each_way_to_end_is_counted_also_where_completed_jobs_are_deleted(
    app, conn, keep_completed
):
    @app.job("good")
    async def good(job):
        await asyncio.sleep(0.01)

    @app.job("committed")
    async def committed(job):
        async with job.transaction():
            pass

    @app.job("fails", max_retries=1, backoff=Backoff.fixed(timedelta(0)))
    async def fails(job):
        raise ValueError

    @app.job("given up", max_retries=5)
    async def given_up(job):
        raise Fail("no")

    @app.job("again", max_retries=2)
    async def again(job):
        if job.retry_count == 0:
            raise Retry(timedelta(0))

    @app.job("stopped")
    async def stopped(job):
        raise Cancel("enough")

    for task in (good, committed, fails, given_up, again, stopped):
        for _ in range(3):
            await task.enqueue(None)
    await app.worker(keep_completed=keep_completed).run(until_empty=True, signals=False)
    assert await totals(conn) == [
        ("again", "completed", 3), ("again", "retried", 3), ("committed", "completed", 3),
        ("fails", "failed", 3), ("fails", "retried", 3), ("given up", "failed", 3),
        ("good", "completed", 3), ("stopped", "cancelled", 3),
    ]
    await conn.execute("select _jobs_history_add()")
    ran_s = await conn.fetchval(
        "select ran_s from jobs_history where job_type = 'good' and outcome = 'completed'")
    assert 0.03 <= ran_s < 3


async def test_a_worker_without_ends_tells_nothing(app, conn):
    await Ends(Database(await app.pool())).tell()
    assert await conn.fetchval("select count(*) from jobs_ends") == 0


async def test_ends_are_added_up_between_two_ticks(app, conn):
    ends = Ends(Database(await app.pool()))
    ends.add([Ran(0.001, 0), None, Ran(0.003, 5000)], "completed")
    ends.add([Ran(0.003, -1), Ran(7, 0, "q", "u")], "completed")
    await ends.tell()
    await ends.tell()
    assert await conn.fetchval("select count(*) from jobs_ends") == 1
    assert await totals(conn) == [("t", "completed", 3), ("u", "completed", 1)]
    await conn.execute("select _jobs_history_add()")
    rows = await conn.fetch(
        "select waits, runs, waited_s, ran_s from jobs_history order by job_type")
    assert rows[0]["waits"] == [2] + [0] * 21 + [1]
    assert rows[0]["runs"] == [1, 2] + [0] * 21
    assert (rows[0]["waited_s"], rows[0]["ran_s"]) == (5000, pytest.approx(0.007))
    assert rows[1]["runs"] == [0] * 12 + [1] + [0] * 10


async def test_counts_that_the_server_refuses_are_told_later(app, conn, monkeypatch):
    original = Database.note_ends

    async def refused(*_):
        raise asyncpg.QueryCanceledError("canceling statement due to statement timeout")

    ends = Ends(Database(await app.pool()))
    monkeypatch.setattr(Database, "note_ends", refused)
    for _ in range(2):
        ends.add([Ran(0, 0)], "completed")
        await ends.tell()
    monkeypatch.setattr(Database, "note_ends", original)
    await ends.tell()
    assert await totals(conn) == [("t", "completed", 2)]


async def test_counts_that_may_have_arrived_are_not_told_twice(app, conn, monkeypatch):
    original = Database.note_ends

    async def arrives_without_an_answer(*arguments):
        await original(*arguments)
        raise ConnectionResetError

    ends = Ends(Database(await app.pool()))
    ends.add([Ran(0, 0)], "completed")
    monkeypatch.setattr(Database, "note_ends", arrives_without_an_answer)
    with pytest.raises(ConnectionResetError):
        await ends.tell()
    monkeypatch.setattr(Database, "note_ends", original)
    await ends.tell()
    assert await totals(conn) == [("t", "completed", 1)]
