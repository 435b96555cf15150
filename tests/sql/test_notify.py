"""The trigger that signals workers, and is silent while a polling worker serves the jobs."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from pgjobs.embedded import EmbeddedPostgres
from pgjobs.schema.migrate import migrate
from pgjobs.testing import FAST_SETTINGS

ENQUEUE = "select jobs_enqueue('t')"
CHANGE = "select _jobs_worker_mode($1, $2)"
SILENT = "select may_be_silent from _jobs_may_be_silent('another', $1)"


@pytest.fixture
def poll(start_worker, ears):
    """Starts a polling worker called w, and drops the notifications so far."""

    async def start(queues=("default",), job_types=None):
        session = await start_worker("w", "polling", queues, job_types)
        await ears.heard()
        return session

    return start


async def test_an_enqueued_job_sends_its_queue_on_the_channel_of_its_schema(conn, ears):
    await conn.execute("select jobs_enqueue('t', queue => 'mail')")
    assert await ears.heard() == ["mail"]


async def test_a_batch_sends_one_notification_per_queue(conn, ears):
    await conn.execute(
        """select jobs_enqueue_many('[{"job_type": "t"}, {"job_type": "t"},
            {"job_type": "u", "queue": "q"}, {"job_type": "t", "queue": "q"}]')"""
    )
    assert sorted(await ears.heard()) == ["default", "q"]


async def test_a_batch_with_unique_keys_sends_one_notification_per_queue_too(conn, ears):
    await conn.execute(
        """select jobs_enqueue_many('[{"job_type": "t", "unique_key": "a"},
            {"job_type": "t", "unique_key": "b"}]')"""
    )
    assert await ears.heard() == ["default"]


async def test_a_plain_insert_of_many_rows_sends_one_notification_per_queue(conn, ears):
    await conn.execute(
        "insert into jobs (job_type, queue) select 't', 'q' || n % 2 from generate_series(1, 999) n"
    )
    assert sorted(await ears.heard()) == ["q0", "q1"]


async def test_copy_sends_a_notification_too(conn, ears):
    await conn.copy_records_to_table("jobs", records=[("t",), ("u",)], columns=["job_type"])
    assert await ears.heard() == ["default"]


async def test_a_job_for_later_sends_a_notification_because_workers_may_wait_even_longer(
    conn, ears
):
    await conn.execute("select jobs_enqueue('t', run_at => '2999-01-01')")
    assert await ears.heard() == ["default"]


async def test_no_notification_is_sent_before_the_commit_or_after_a_rollback(conn, ears):
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(ENQUEUE)
    assert await ears.heard() == []
    await transaction.rollback()
    assert await ears.heard() == []


async def test_rows_that_are_not_pending_and_statements_without_rows_send_no_notification(
    conn, job, ears
):
    await job("completed")
    await job("processing")
    await job(unique_key="a")
    await ears.heard()
    await conn.execute("select jobs_enqueue('t', unique_key => 'a')")
    await conn.execute("insert into jobs (job_type) select 't' where false")
    assert await ears.heard() == []


async def test_no_notification_is_sent_while_a_polling_worker_serves_the_queue_and_the_type(
    conn, poll, ears, signal_ears
):
    await poll(["default", "q"], ["t", "u"])
    await signal_ears.heard()
    await conn.execute(ENQUEUE)
    await conn.execute("select jobs_enqueue('u', queue => 'q')")
    await conn.copy_records_to_table("jobs", records=[("t",), ("u",)], columns=["job_type"])
    assert await ears.heard() == []
    assert await signal_ears.heard() == []


async def test_a_polling_worker_without_a_list_of_types_serves_all_types(conn, poll, ears):
    await poll(job_types=None)
    await conn.execute(ENQUEUE)
    assert await ears.heard() == []


@pytest.mark.parametrize(
    "enqueue",
    [
        "select jobs_enqueue('t', queue => 'q')",
        "select jobs_enqueue('u')",
        "select jobs_enqueue('t', run_at => clock_timestamp() + interval '1 hour')",
        "select jobs_enqueue('t', run_at => clock_timestamp() - interval '0.21 s')",
        "insert into jobs (job_type) values ('t'), ('u')",
        "insert into jobs (job_type, run_at) values ('t', default), ('t', '2999-01-01')",
        "insert into jobs (job_type, run_at) values ('t', default), ('t', '2000-01-01')",
    ],
)
async def test_a_job_that_the_polling_worker_cannot_find_now_sends_a_notification(
    conn, poll, ears, enqueue
):
    await poll(["default"], ["t"])
    await conn.execute(enqueue)
    assert len(await ears.heard()) == 1


async def test_a_job_that_has_been_due_for_less_than_a_fifth_of_a_second_is_silent(
    conn, poll, ears
):
    await poll()
    await conn.execute("select jobs_enqueue('t', run_at => clock_timestamp() - interval '0.1 s')")
    assert await ears.heard() == []


async def test_a_statement_sends_a_notification_for_its_unserved_queue_only(conn, poll, ears):
    await poll()
    await conn.execute("insert into jobs (job_type, queue) values ('t', 'default'), ('t', 'q')")
    assert await ears.heard() == ["q"]


@pytest.mark.parametrize("mode", ["listening", "full"])
async def test_a_worker_that_does_not_poll_keeps_no_producer_silent(conn, poll, ears, mode):
    session = await poll()
    assert await session.fetchval(CHANGE, "w", mode)
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_worker_that_died_in_mode_polling_does_not_keep_producers_silent(conn, poll, ears):
    session = await poll()
    await session.close()
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    assert await conn.fetchval(locks) == 0


async def test_a_silent_producer_holds_the_gate_of_its_queue_until_its_transaction_has_ended(
    conn, other, poll
):
    session = await poll(["default", "q"])
    async with conn.transaction():
        await conn.execute(ENQUEUE)
        assert await session.fetchval(CHANGE, "w", "listening")
        assert await other.fetchval(SILENT, ["q", "default"])
        assert not await other.fetchval(SILENT, ["q"])
    assert not await other.fetchval(SILENT, ["default"])


async def test_a_rolled_back_savepoint_gives_the_gate_back_with_its_jobs(conn, other, poll):
    session = await poll()
    async with conn.transaction():
        savepoint = conn.transaction()
        await savepoint.start()
        await conn.execute(ENQUEUE)
        await session.fetchval(CHANGE, "w", "listening")
        assert await other.fetchval(SILENT, ["default"])
        await savepoint.rollback()
        assert not await other.fetchval(SILENT, ["default"])


async def test_a_producer_that_signals_holds_no_gate(conn, other):
    async with conn.transaction():
        await conn.execute(ENQUEUE)
        assert not await other.fetchval(SILENT, ["default"])


async def test_a_stranger_who_holds_the_gate_makes_producers_signal_and_workers_watch(
    conn, other, connect, poll, ears
):
    await poll()
    await other.execute("select pg_advisory_lock(_jobs_advisory_key('gate', 'default'))")
    await conn.execute("set lock_timeout = '1s'")
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]
    observer = await connect()
    assert await observer.fetchval(SILENT, ["default"])


INSTRUMENTED = """create or replace function _jobs_is_locked(key bigint) returns boolean
    language plpgsql as $$
    declare
        v_is_locked boolean := case when pg_try_advisory_lock_shared(key)
            then not pg_advisory_unlock_shared(key) else true end;
    begin
        raise notice '%', exists (select from pg_locks l where l.pid = pg_backend_pid()
                                  and l.locktype = 'advisory' and l.mode = 'ShareLock');
        perform pg_advisory_lock_shared(4711);
        perform pg_advisory_unlock_shared(4711);
        return v_is_locked;
    end
    $$"""


async def test_a_producer_asks_whether_the_worker_polls_after_it_has_got_the_gate(
    conn, poll, ears
):
    await poll()
    await conn.execute(INSTRUMENTED)
    gate_held = []
    conn.add_log_listener(lambda _conn, notice: gate_held.append(notice.message))
    await conn.execute(ENQUEUE)
    assert await ears.heard() == []
    # The queue's place before the gate, then the worker after it.
    assert gate_held == ["f", "t"]


async def test_a_worker_that_stops_polling_before_the_producer_has_the_gate_gets_a_signal(
    conn, other, poll, ears, blocked
):
    session = await poll()
    await conn.execute(INSTRUMENTED)
    await other.execute("select pg_advisory_lock(4711)")
    producing = asyncio.create_task(conn.execute(ENQUEUE))
    await blocked(conn)  # the producer has found the worker polling, and has no gate yet
    assert await session.fetchval(CHANGE, "w", "listening")
    await other.execute("select pg_advisory_unlock(4711)")
    await producing
    assert await ears.heard() == ["default"]


async def test_a_producer_signals_a_listening_worker_that_was_polling_in_the_producers_snapshot(
    conn, poll, ears
):
    session = await poll()
    async with conn.transaction(isolation="repeatable_read"):
        assert await conn.fetchval("select count(*) from jobs_workers") == 1
        assert await session.fetchval(CHANGE, "w", "listening")
        await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_producer_does_not_mistake_a_restarted_worker_for_the_one_in_its_snapshot(
    conn, poll, ears
):
    session = await poll(["default"])
    async with conn.transaction(isolation="repeatable_read"):
        assert await conn.fetchval("select queues from jobs_workers") == ["default"]
        await session.close()
        await poll(["q"])  # the same name, but it does not serve the producer's queue
        await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_retry_sends_a_notification_even_while_a_worker_is_polling(conn, poll, job, ears):
    failed = await job("failed", queue="q", run_at=timedelta(hours=-1))
    await poll(["q"])
    await conn.execute("select jobs_retry($1)", failed)
    assert await ears.heard() == ["q"]


async def test_where_transactions_can_be_prepared_no_producer_is_silent_and_none_prepares(
    pytestconfig,
):
    settings = {**FAST_SETTINGS, "max_prepared_transactions": "2"}
    with EmbeddedPostgres(settings=settings, bin=pytestconfig.getoption("--pg-bin")) as server:
        migrate(server.dsn)
        worker, producer = [await asyncpg.connect(server.dsn) for _ in range(2)]
        await worker.execute("select jobs_worker_start('w', '{default}', null, 1)")
        assert await worker.fetchval(CHANGE, "w", "polling")
        heard = asyncio.Queue()
        await worker.add_listener("public.jobs", lambda *args: heard.put_nowait(args[3]))
        await producer.execute(ENQUEUE)
        assert await asyncio.wait_for(heard.get(), 10) == "default"
        for _ in range(2):
            await producer.execute("begin")
            await producer.execute(ENQUEUE)
            with pytest.raises(asyncpg.PostgresError, match="cannot PREPARE"):
                await producer.execute("prepare transaction 'p'")
        await worker.close(), await producer.close()
