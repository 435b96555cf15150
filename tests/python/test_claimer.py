"""Claims without an answer: the worker does not know the jobs, and they must run all the same."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from pgjobs.database import Database

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
    await claim()
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


async def test_a_claim_that_the_server_made_after_the_timeout_is_undone_by_the_second_release(
    app, conn, quick, working, claims, until_status, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.claimer.SECOND_RELEASE_AFTER_S", 0.3)
    made = asyncio.Event()

    async def given_up(claim):
        raise TimeoutError

    async def too_late(claim):
        # The server makes the claim only now, after the first release.
        await claim()
        made.set()
        return []

    job = await app.enqueue("t")
    claims(given_up, too_late)
    async with working():
        await made.wait()
        row = await until_status(job.id, "completed")
    assert (row["attempt"], row["retry_count"], row["crash_count"]) == (2, 0, 0)


async def test_a_release_that_the_server_refuses_is_tried_later_and_holds_up_no_claim(
    app, conn, quick, working, claims, until_status, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.claimer.SECOND_RELEASE_AFTER_S", 0.3)
    refusals = [asyncpg.QueryCanceledError("refused")] * 2  # also the second release
    original = Database.release_unknown

    async def release_unknown(self, *args):
        if refusals:
            raise refusals.pop()
        return await original(self, *args)

    monkeypatch.setattr(Database, "release_unknown", release_unknown)
    lost = await app.enqueue("t")
    claims(made_without_an_answer)
    async with working(concurrency=1):
        await until_status(lost.id, "completed")
    assert await spent(conn) == [("completed", 2, 0, 0)]


async def test_the_rows_of_a_claim_are_returned_if_the_full_claim_after_it_gets_no_answer(
    app, conn, quick, claims, monkeypatch
):
    # The second claim passes floors and finds too few jobs, so a full claim follows it.
    monkeypatch.setattr("pgjobs.worker.floors.FULL_CLAIM_EVERY_S_IN_BACKLOG", 60)
    monkeypatch.setattr("pgjobs.worker.floors.FULL_CLAIM_EVERY_S", -1)
    older = []

    async def and_an_older_job_comes(claim):
        rows = await claim()
        older.append((await app.enqueue("t", run_at=datetime(2000, 1, 1, tzinfo=UTC))).id)
        return rows

    ids = await app.enqueue_many("t", [None] * 3)
    worker = app.worker()
    claimer = worker._claimer
    known = [row["id"] for row in await claimer.claim(2)]
    claims(and_an_older_job_comes, made_without_an_answer)
    known += [row["id"] for row in await claimer.claim(2)]
    assert known == ids
    assert claimer.may_hold_unknown
    monkeypatch.setattr(claimer, "_known_ids", lambda: set(known))
    assert [(row["id"], row["attempt"]) for row in await claimer.claim(2)] == [(older[0], 2)]
    await claimer.release_all()
    await worker._links.claim.close()


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
