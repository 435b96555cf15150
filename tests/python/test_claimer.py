"""Claims without an answer: the worker does not know the jobs, and they must run all the same."""

import asyncio

import pytest

from pgjobs import App
from pgjobs.database import Database
from pgjobs.database.statements import CLAIM_COLUMNS
from pgjobs.schema.migrate import migrate

LOST = ConnectionResetError("the answer was lost")


@pytest.fixture
def claims(monkeypatch):
    """Replaces the next claims by these functions, one each."""
    original = Database.claim

    def replace(*instead):
        left = list(instead)

        async def claim(self, *args, **options):
            if not left:
                return await original(self, *args, **options)
            return await left.pop(0)(lambda: original(self, *args, **options))

        monkeypatch.setattr(Database, "claim", claim)

    return replace


async def made_without_an_answer(claim):
    while not await claim():
        await asyncio.sleep(0.01)
    raise LOST


async def spent(conn):
    return [
        tuple(row)
        for row in await conn.fetch(
            "select status, attempt, retry_count, crash_count from jobs order by id"
        )
    ]


async def test_jobs_of_a_claim_without_an_answer_are_released_and_run(app, conn, quick, claims):
    claims(made_without_an_answer)
    await app.enqueue_many("t", [None] * 3)
    await app.worker(concurrency=2).run(until_empty=True)
    # Two of the jobs were claimed twice, which spent no retry.
    assert await spent(conn) == [("completed", 2, 0, 0)] * 2 + [("completed", 1, 0, 0)]


async def test_running_jobs_are_not_released_after_a_claim_without_an_answer(
    app, conn, recorder, working, claims, until_status, eventually
):
    first = await app.enqueue("t")
    async with working(concurrency=3):
        await eventually(lambda: recorder.running == 1)
        claims(made_without_an_answer)
        second = await app.enqueue("t")
        await eventually(lambda: recorder.running == 2)
        recorder.go.set()
        await until_status(first.id, "completed")
        await until_status(second.id, "completed")
    assert recorder.cancelled == []
    assert await spent(conn) == [("completed", 1, 0, 0), ("completed", 2, 0, 0)]


async def test_a_claim_that_the_server_makes_after_it_was_given_up_is_undone(
    app, conn, quick, claims, until_status, monkeypatch
):
    late = []
    original = Database.reconcile

    async def reconcile(self, *args):
        row = dict(await original(self, *args))
        if not late:
            # The process that served the claim still lives, and makes the claim only now.
            late.append(await Database(conn).claim(args[0], ["default"], 2))
            return {**row, "is_settled": False}
        return row

    async def given_up(claim):
        raise TimeoutError

    monkeypatch.setattr(Database, "reconcile", reconcile)
    await app.enqueue_many("t", [None] * 3)
    claims(given_up)
    await app.worker().run(until_empty=True)
    assert len(late[0]) == 2
    assert await spent(conn) == [("completed", 2, 0, 0)] * 2 + [("completed", 1, 0, 0)]


async def test_a_claim_whose_answer_does_not_arrive_in_time_is_asked_for_again_smaller(
    app, conn, quick, monkeypatch
):
    asked = []
    original = Database.claim

    async def claim(self, worker, queues, max_jobs, *rest, **options):
        asked.append(max_jobs)
        if max_jobs > 6:
            raise TimeoutError
        return await original(self, worker, queues, max_jobs, *rest, **options)

    monkeypatch.setattr(Database, "claim", claim)
    await app.enqueue_many("t", [None] * 20)
    worker = app.worker(concurrency=100)
    await worker.run(until_empty=True)
    assert asked[:3] == [100, 25, 6]
    assert max(asked[3:]) > 6  # the claims grow again
    assert await spent(conn) == [("completed", 1, 0, 0)] * 20


async def test_a_single_job_that_does_not_arrive_in_time_is_given_more_time(
    app, quick, monkeypatch
):
    patience = []
    original = Database.claim

    async def claim(self, *args, **options):
        patience.append(worker._links.claim.timeout_s)
        if len(patience) < 3:
            raise TimeoutError
        return await original(self, *args, **options)

    monkeypatch.setattr(Database, "claim", claim)
    job = await app.enqueue("t")
    worker = app.worker(concurrency=1)
    await worker.run(until_empty=True)
    assert patience[1:3] == [2 * patience[0], 4 * patience[0]]
    assert patience[-1] == patience[0]  # the line was quick again
    assert [job_id for job_id, _ in quick.began] == [job.id]


async def test_a_worker_that_stops_after_a_claim_without_an_answer_holds_no_job(
    app, conn, quick, claims
):
    async def stops(claim):
        await claim()
        worker.stop()
        raise LOST

    job = await app.enqueue("t")
    claims(stops)
    worker = app.worker()
    await worker.run()
    row = await conn.fetchrow("select * from jobs where id = $1", job.id)
    assert (row["status"], row["worker"], row["retry_count"]) == ("pending", None, 0)
    assert await conn.fetchval("select count(*) from jobs_workers") == 0


async def test_a_job_that_cannot_be_read_fails_and_its_neighbours_run(ascii_dsn, eventually):
    migrate(ascii_dsn)
    ran = []
    async with App(dsn=ascii_dsn) as app:
        conn = await app.pool()

        @app.job("t")
        async def handler(job):
            ran.append(job.id)

        before = await app.enqueue_many("t", [{}] * 3)
        odd = "insert into jobs (job_type, group_key) values ('t', e'\\xff') returning id"
        unreadable = [await conn.fetchval(odd) for _ in range(2)]
        after = await app.enqueue_many("t", [{}] * 3)
        worker = app.worker(concurrency=4)
        running = asyncio.create_task(worker.run())
        await eventually(lambda: len(ran) == 6)
        worker.stop()
        await running
        rows = await conn.fetch(
            "select id, status, retry_count, crash_count, error from jobs"
            " where status <> 'completed' order by id"
        )
    assert sorted(ran) == before + after
    assert [row["id"] for row in rows] == unreadable
    for row in rows:
        assert tuple(row)[1:4] == ("failed", 0, 0)
        assert row["error"].startswith("the job cannot be read: invalid byte sequence")


async def test_a_job_that_the_server_cannot_send_fails_and_its_neighbours_run(
    app, conn, quick, working, until_status, monkeypatch
):
    # As for a payload of more than a gigabyte as text: the server refuses the whole statement.
    columns = CLAIM_COLUMNS.replace("payload::text", "(100 / (payload ->> 'n')::int)::text payload")
    monkeypatch.setattr("pgjobs.database.claim.CLAIM_COLUMNS", columns)
    ids = await app.enqueue_many("t", [{"n": n} for n in (1, 0, 2)])
    async with working():
        row = await until_status(ids[1], "failed")
        for job_id in ids[0], ids[2]:
            await until_status(job_id, "completed")
    assert row["error"] == "the job cannot be read: division by zero"
    assert (row["retry_count"], row["crash_count"]) == (0, 0)
