"""Calls without ``conn`` at the same time share a statement, and never each other's errors."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from pgjobs import Backoff, InvalidArgument


async def statements(conn):
    """How many statements added jobs: rows of one statement have the same xmin."""
    return await conn.fetchval("select count(distinct xmin::text) from jobs")


async def test_each_caller_gets_its_own_row(app, conn):
    jobs = await asyncio.gather(
        *(app.enqueue(f"t{n % 3}", {"n": n}, priority=n % 5, reference=("r", n)) for n in range(64))
    )
    for n, job in enumerate(jobs):
        assert (job.job_type, job.payload, job.priority) == (f"t{n % 3}", {"n": n}, n % 5)
        assert job.reference == ("r", n)
    assert len({job.id for job in jobs}) == 64
    assert await conn.fetchval("select count(*) from jobs") == 64
    assert await statements(conn) < 10


async def test_the_one_bad_call_gets_its_error_and_the_others_their_rows(app, conn):
    outcomes = await asyncio.gather(
        *(app.enqueue("t", n, priority=99 if n == 40 else 0) for n in range(64)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[40], InvalidArgument)
    assert "priority" in str(outcomes[40])
    good = [job for n, job in enumerate(outcomes) if n != 40]
    assert [job.payload for job in good] == [n for n in range(64) if n != 40]
    assert await conn.fetchval("select count(*) from jobs") == 63


async def test_each_call_returns_only_after_the_commit(app, conn):
    async def enqueue(n):
        job = await app.enqueue("t", n)
        # ``conn`` is another connection: it sees only committed rows.
        async with lock:
            assert await conn.fetchval("select true from jobs where id = $1", job.id)

    lock = asyncio.Lock()
    async with asyncio.TaskGroup() as tasks:
        for n in range(64):
            tasks.create_task(enqueue(n))


async def test_calls_with_a_unique_key_never_share_a_statement(app, conn):
    jobs = await asyncio.gather(*(app.enqueue("t", n, unique_key="k") for n in range(8)))
    assert len({job.id for job in jobs}) == 1
    jobs = await asyncio.gather(*(app.enqueue("u", n, unique_key=f"{n}") for n in range(8)))
    assert [job.payload for job in jobs] == list(range(8))
    assert await statements(conn) == 9


async def test_calls_with_a_connection_stay_in_its_transaction(app, conn, pgjobs_dsn):
    mine = await asyncpg.connect(pgjobs_dsn)
    transaction = mine.transaction()
    await transaction.start()

    async def in_order():
        for n in range(8):
            await app.enqueue("t", n, conn=mine)

    await asyncio.gather(in_order(), *(app.enqueue("u") for _ in range(8)))
    await transaction.rollback()
    await mine.close()
    assert {row["job_type"] for row in await conn.fetch("select job_type from jobs")} == {"u"}


async def test_cancelling_a_caller_does_not_disturb_the_others(app, conn):
    await app.enqueue("t", "first")
    tasks = [asyncio.create_task(app.enqueue("t", n)) for n in range(64)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(o, asyncio.CancelledError) for o in outcomes[::2])
    assert [job.payload for job in outcomes[1::2]] == list(range(1, 64, 2))
    assert (await app.enqueue("t", "last")).payload == "last"


async def test_a_lost_connection_is_an_error_for_every_caller_and_no_job_is_sent_twice(app, conn):
    # The trigger kills the session after the rows were added and before they are committed.
    await app.enqueue("warm")
    await conn.execute(
        """
        create function die() returns trigger language plpgsql as $$
        begin
            perform pg_terminate_backend(pg_backend_pid());
            return null;
        end $$;
        create trigger die after insert on jobs for each statement execute function die();
        """
    )
    outcomes = await asyncio.gather(
        *(app.enqueue("t", n) for n in range(64)), return_exceptions=True
    )
    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    assert await conn.fetchval("select count(*) from jobs where job_type = 't'") == 0
    # No statement was sent again: only the caller may repeat a call.
    await conn.execute("drop trigger die on jobs")
    assert (await app.enqueue("t", "again")).payload == "again"


async def test_after_the_server_closed_the_connection_the_next_call_reconnects(
    app, conn, eventually
):
    await app.enqueue("t")
    await conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    link = app._connections().producer._link
    await eventually(link._connection.is_closed)
    assert (await app.enqueue("t", 1)).payload == 1


async def test_closing_an_app_sends_the_waiting_calls(app, conn):
    tasks = [asyncio.create_task(app.enqueue("t", n)) for n in range(600)]
    await asyncio.sleep(0)
    await app.close()
    await asyncio.gather(*tasks)
    assert await conn.fetchval("select count(*) from jobs") == 600


@pytest.mark.parametrize(
    "odd",
    [
        {"queue": 7}, {"priority": "3"}, {"max_retries": "1"}, {"queue": "\ud800"},
        {"queue": "a\0"}, {"priority": 2**70},
    ],
    ids=ascii,
)
async def test_a_call_that_is_refused_alone_is_refused_among_others(app, odd):
    with pytest.raises(InvalidArgument):
        await app.enqueue("t", **odd)
    _, bad, neighbour = await asyncio.gather(
        app.enqueue("t"), app.enqueue("t", **odd), app.enqueue("t"), return_exceptions=True
    )
    assert isinstance(bad, InvalidArgument)
    assert not isinstance(neighbour, BaseException)


async def test_jobs_with_a_moment_or_a_backoff_share_a_statement_too(app, conn):
    at, backoff = datetime(2100, 1, 1, tzinfo=UTC), Backoff.fixed(timedelta(microseconds=50))
    jobs = await asyncio.gather(
        *(app.enqueue("t", n, run_at=at, backoff=backoff) for n in range(64))
    )
    assert {job.run_at for job in jobs} == {at}
    assert [job.backoff for job in jobs] == [list(backoff.delays)] * 64
    assert await statements(conn) < 10
