"""The trigger that notifies workers, and sends no NOTIFY while a polling worker serves the jobs."""

from datetime import timedelta

import pytest

ENQUEUE = "select jobs_enqueue('t')"
START = "select jobs_worker_start($1, $2, $3, 1)"
LISTEN = "select _jobs_worker_listen($1)"
POLL = "select _jobs_worker_poll($1)"


@pytest.fixture
async def worker(other, ears):
    """Makes ``other`` the session of a polling worker, and drops the notifications so far."""

    async def poll(name="w", queues=("default",), job_types=None):
        await other.execute(START, name, queues, job_types)
        await other.fetchval(LISTEN, name)
        await other.execute(POLL, name)
        await ears.heard()
        return other

    return poll


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
    conn, worker, ears
):
    await worker(queues=["default", "q"], job_types=["t", "u"])
    await conn.execute(ENQUEUE)
    await conn.execute("select jobs_enqueue('u', queue => 'q')")
    await conn.copy_records_to_table("jobs", records=[("t",), ("u",)], columns=["job_type"])
    assert await ears.heard() == []


async def test_a_polling_worker_without_a_list_of_types_serves_all_types(conn, worker, ears):
    await worker(job_types=None)
    await conn.execute(ENQUEUE)
    assert await ears.heard() == []


@pytest.mark.parametrize(
    "enqueue",
    [
        "select jobs_enqueue('t', queue => 'q')",
        "select jobs_enqueue('u')",
        "select jobs_enqueue('t', run_at => clock_timestamp() + interval '1 hour')",
        "insert into jobs (job_type) values ('t'), ('u')",
        "insert into jobs (job_type, run_at) values ('t', default), ('t', '2999-01-01')",
    ],
)
async def test_a_job_that_the_polling_worker_cannot_claim_now_sends_a_notification(
    conn, worker, ears, enqueue
):
    await worker(queues=["default"], job_types=["t"])
    await conn.execute(enqueue)
    assert len(await ears.heard()) == 1


async def test_a_statement_sends_a_notification_for_its_unserved_queue_only(conn, worker, ears):
    await worker()
    await conn.execute("insert into jobs (job_type, queue) values ('t', 'default'), ('t', 'q')")
    assert await ears.heard() == ["q"]


async def test_a_listening_worker_is_notified(conn, worker, ears):
    session = await worker()
    assert await session.fetchval(LISTEN, "w")
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_registered_worker_that_has_not_changed_to_polling_is_notified(conn, other, ears):
    await other.execute(START, "w", ["default"], None)
    assert await ears.heard() == ["default"]  # so that other workers watch this worker
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_worker_that_died_in_mode_polling_does_not_keep_producers_silent(
    conn, worker, ears
):
    session = await worker()
    await session.close()
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    assert await conn.fetchval(locks) == 0


async def test_a_worker_cannot_change_to_listening_before_the_silent_producers_have_committed(
    conn, worker, ears
):
    session = await worker()
    async with conn.transaction():
        await conn.execute(ENQUEUE)
        assert not await session.fetchval(LISTEN, "w")
        # So the worker goes on polling, and producers still need not notify it.
        assert await session.fetchval("select polling from jobs_workers")
    assert await session.fetchval(LISTEN, "w")
    assert len(await session.fetch("select * from jobs_claim('w')")) == 1
    assert await ears.heard() == []


async def test_a_producer_notifies_a_listening_worker_that_was_polling_in_the_producers_snapshot(
    conn, worker, ears
):
    session = await worker()
    async with conn.transaction(isolation="repeatable_read"):
        assert await conn.fetchval("select polling from jobs_workers")
        assert await session.fetchval(LISTEN, "w")
        await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_rolled_back_savepoint_does_not_keep_the_worker_in_mode_polling(conn, worker):
    session = await worker()
    async with conn.transaction():
        savepoint = conn.transaction()
        await savepoint.start()
        await conn.execute(ENQUEUE)
        await savepoint.rollback()
        assert await session.fetchval(LISTEN, "w")


async def test_a_retry_sends_a_notification_even_while_a_worker_is_polling(conn, worker, job, ears):
    failed = await job("failed", queue="q", run_at=timedelta(hours=-1))
    await worker(queues=["q"])
    await conn.execute("select jobs_retry($1)", failed)
    assert await ears.heard() == ["q"]
