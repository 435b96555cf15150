"""The ends of jobs are written in batches, and an end that is refused fails no other job."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from chaos.proxy import Proxy

from pgjobs import App, Fail
from pgjobs.database import Database
from pgjobs.errors import SchemaMismatch
from pgjobs.worker.ends import Ends
from pgjobs.worker.outage import Outage
from pgjobs.worker.outcome import COMPLETED
from pgjobs.worker.settlement import Settlement
from pgjobs.worker.tally import Tally

REFUSE = """
    create function refuse() returns trigger language plpgsql as $$
    begin
        if {condition} then
            raise exception 'no room for it' using errcode = '{code}';
        end if;
        return new;
    end $$;
    create trigger refuse before update on jobs for each row execute function refuse();
"""


async def statuses(conn):
    rows = await conn.fetch("select status, count(*) as n from jobs group by status")
    return {row["status"]: row["n"] for row in rows}


@pytest.mark.parametrize("code", ["23514", "53100", "57014", "54000", "40001"])
async def test_only_the_job_whose_result_is_refused_fails(app, conn, code):
    await conn.execute(REFUSE.format(condition="new.result = '13'", code=code))

    @app.job("t")
    async def handler(job):
        return job.payload

    ids = await app.enqueue_many("t", list(range(100)))
    await app.worker().run(until_empty=True)
    assert await statuses(conn) == {"completed": 99, "failed": 1}
    row = await conn.fetchrow("select * from jobs where status = 'failed'")
    assert row["id"] == ids[13]
    assert row["error"] == "its end (completed) could not be stored: no room for it"


async def test_a_failure_whose_error_text_is_refused_is_stored_with_another_text(app, conn):
    await conn.execute(REFUSE.format(condition="new.error = 'secret'", code="23514"))

    @app.job("t", max_retries=0)
    async def handler(job):
        raise Fail("secret" if job.payload == 13 else "no")

    await app.enqueue_many("t", list(range(50)), max_retries=0)
    await app.worker().run(until_empty=True)
    assert await statuses(conn) == {"failed": 50}
    told = "select count(*) from jobs where error like 'its end (failed)%'"
    assert await conn.fetchval(told) == 1


async def test_a_job_whose_row_cannot_be_written_holds_up_no_other(app, conn, caplog):
    await conn.execute(
        REFUSE.format(condition="old.status = 'processing' and new.payload = '13'", code="23514")
    )

    @app.job("t")
    async def handler(job):
        return job.payload

    await app.enqueue_many("t", list(range(50)))
    await app.worker().run(until_empty=True)
    assert await statuses(conn) == {"completed": 49, "processing": 1}
    assert "failing it was refused" in caplog.text


async def test_a_row_that_another_session_has_locked_holds_up_no_other(
    app, conn, working, until_status, eventually
):
    go = asyncio.Event()

    @app.job("t")
    async def handler(job):
        await go.wait()

    ids = await app.enqueue_many("t", [None] * 50)

    async def counted(status, wanted):
        return (await statuses(other)).get(status, 0) == wanted

    other = await asyncpg.connect(app.dsn)
    async with working():
        await eventually(lambda: counted("processing", 50))
        async with conn.transaction():
            await conn.execute("select from jobs where id = $1 for update", ids[13])
            go.set()
            await eventually(lambda: counted("completed", 49))
        row = await until_status(ids[13], "completed")
    await other.close()
    assert (row["attempt"], row["crash_count"], row["retry_count"]) == (1, 0, 0)


async def test_ends_of_all_kinds_are_written_together(app, conn):
    from datetime import timedelta

    from pgjobs import Cancel, Retry, Snooze

    ends = [None, Retry(), Snooze(timedelta(hours=1)), Fail("no"), Cancel("no"), ValueError("no")]

    @app.job("t")
    async def handler(job):
        if error := ends[job.payload]:
            raise error

    await app.enqueue_many("t", list(range(6)) * 20)
    await app.worker().run(until_empty=True)
    assert await statuses(conn) == {"completed": 20, "pending": 60, "failed": 20, "cancelled": 20}
    assert await conn.fetchval("select count(*) from jobs where worker is not null") == 0


async def test_large_results_are_written_in_several_batches(app, conn, monkeypatch):
    monkeypatch.setattr("pgjobs.worker.settlement.MAX_BATCH_CHARACTERS", 1_000)
    lengths = []
    complete = Settlement._complete

    async def measured(self, group):
        lengths.append([len(outcome.result) for _, _, outcome in group])
        return await complete(self, group)

    monkeypatch.setattr(Settlement, "_complete", measured)

    @app.job("t")
    async def handler(job):
        return "x" * job.payload

    await app.enqueue_many("t", [298] * 20 + [5_000])
    await app.worker().run(until_empty=True)
    assert await statuses(conn) == {"completed": 21}
    assert sorted(set(map(sum, lengths)))[-2:] == [900, 5_002]


async def test_more_jobs_than_a_batch_holds_are_written_in_several(app, conn):
    @app.job("t")
    async def handler(job):
        return None

    await app.enqueue_many("t", [None] * 5_000)
    await app.worker(concurrency=3_000).run(until_empty=True)
    assert await statuses(conn) == {"completed": 5_000}


@pytest.mark.parametrize("code", ["40P01", "55P03", "57014", "XX000"])
async def test_an_end_that_the_server_refuses_twice_and_then_accepts_is_not_a_failure(
    app, conn, code
):
    await conn.execute("create sequence refusals")
    await conn.execute(
        REFUSE.format(condition="new.status = 'completed' and nextval('refusals') < 3", code=code)
    )

    @app.job("t")
    async def handler(job):
        return job.payload

    await app.enqueue("t", 1)
    await app.worker().run(until_empty=True)
    assert await statuses(conn) == {"completed": 1}


async def test_the_lease_of_an_ended_job_is_prolonged_until_its_end_is_written(
    app, conn, quick, eventually, monkeypatch
):
    written = asyncio.Event()
    original = Settlement._write

    async def write(self, batch):
        await written.wait()
        await original(self, batch)

    monkeypatch.setattr(Settlement, "_write", write)
    job = await app.enqueue("t")
    worker = app.worker(lease=timedelta(seconds=3))
    task = asyncio.create_task(worker.run(until_empty=True))
    await eventually(lambda: worker._held.running == 0 and worker._held.holds(job.id))

    first = await conn.fetchval("select lease_until from jobs")
    await eventually(lambda: conn.fetchval("select lease_until > $1 from jobs", first))
    written.set()
    await task
    assert await statuses(conn) == {"completed": 1}


async def test_a_large_result_on_a_slow_line_is_written_at_the_first_try(
    pgjobs_dsn, conn, caplog, monkeypatch
):
    monkeypatch.setattr("pgjobs.connection.link.SLOWEST_CHARACTERS_PER_S", 500_000)
    async with Proxy(pgjobs_dsn, speed=1_000_000) as proxy, App(dsn=proxy.dsn) as app:

        @app.job("t")
        async def handler(job):
            return "x" * job.payload

        await app.enqueue_many("t", [2_000_000, 1])
        worker = app.worker()
        worker._links.settle.timeout_s = 0.5
        async with asyncio.timeout(20):
            await worker.run(until_empty=True)
    assert await statuses(conn) == {"completed": 2}
    assert "connection lost" not in caplog.text


async def test_a_refused_end_and_a_lost_connection_do_not_hold_up_a_shutdown(
    app, monkeypatch, caplog
):
    async def refused(*_: object) -> list[int]:
        raise asyncpg.CheckViolationError("no")

    async def lost(*_: object) -> list[int]:
        raise ConnectionResetError("gone")

    monkeypatch.setattr(Database, "complete_uncounted", refused)
    monkeypatch.setattr(Database, "end_attempts", lost)
    held = app.worker()._held
    database = Database(await app.pool())
    settlement = Settlement(
        database, "w", held, Tally("w", held), Ends(database), Outage("w"), keep_completed=True
    )
    settlement.add((1, 1), COMPLETED)
    settlement.close()
    async with asyncio.timeout(10):
        await settlement.run()
    assert "failing it was refused" in caplog.text


@pytest.mark.parametrize(
    "refusal", [SchemaMismatch("run pgjobs migrate"), asyncpg.InsufficientPrivilegeError("no")]
)
async def test_a_role_or_schema_of_an_earlier_release_fails_no_job_that_did_its_work(
    app, conn, working, until_status, monkeypatch, refusal
):
    async def refused(*_: object) -> list[int]:
        raise refusal

    @app.job("t")
    async def work(job):
        return 1

    monkeypatch.setattr(Database, "complete_uncounted", refused)
    async with working():
        job = await work.enqueue(None)
        await until_status(job.id, "completed")
    assert await conn.fetchval("select jobs from _jobs_totals()") == 1
