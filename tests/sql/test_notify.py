"""The trigger that wakes sleepers, and the gate that keeps it silent while a worker is awake."""

from datetime import timedelta

import pytest

ENQUEUE = "select jobs_enqueue('t')"
START = "select jobs_worker_start($1, $2, $3, 1)"
REST = "select _jobs_worker_listen($1)"
RISE = "select _jobs_worker_poll($1)"


@pytest.fixture
async def worker(other, ears):
    """Makes ``other`` the session of an awake worker of that name, and forgets what it was told."""

    async def rise(name="w", queues=("default",), job_types=None):
        await other.execute(START, name, queues, job_types)
        await other.fetchval(REST, name)
        await other.execute(RISE, name)
        await ears.heard()
        return other

    return rise


async def test_an_enqueued_job_is_told_on_the_channel_of_its_schema_with_its_queue(conn, ears):
    await conn.execute("select jobs_enqueue('t', queue => 'mail')")
    assert await ears.heard() == ["mail"]


async def test_a_batch_is_told_once_per_queue(conn, ears):
    await conn.execute(
        """select jobs_enqueue_many('[{"job_type": "t"}, {"job_type": "t"},
            {"job_type": "u", "queue": "q"}, {"job_type": "t", "queue": "q"}]')"""
    )
    assert sorted(await ears.heard()) == ["default", "q"]


async def test_a_batch_with_keys_is_told_once_per_queue_too(conn, ears):
    await conn.execute(
        """select jobs_enqueue_many('[{"job_type": "t", "unique_key": "a"},
            {"job_type": "t", "unique_key": "b"}]')"""
    )
    assert await ears.heard() == ["default"]


async def test_a_plain_insert_is_told_once_per_queue_however_many_rows(conn, ears):
    await conn.execute(
        "insert into jobs (job_type, queue) select 't', 'q' || n % 2 from generate_series(1, 999) n"
    )
    assert sorted(await ears.heard()) == ["q0", "q1"]


async def test_copy_is_told_too(conn, ears):
    await conn.copy_records_to_table("jobs", records=[("t",), ("u",)], columns=["job_type"])
    assert await ears.heard() == ["default"]


async def test_a_scheduled_job_is_told_since_it_may_be_nearer_than_a_sleeper_thinks(conn, ears):
    await conn.execute("select jobs_enqueue('t', run_at => '2999-01-01')")
    assert await ears.heard() == ["default"]


async def test_nothing_is_told_before_the_commit_or_after_a_rollback(conn, ears):
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(ENQUEUE)
    assert await ears.heard() == []
    await transaction.rollback()
    assert await ears.heard() == []


async def test_rows_that_are_not_pending_and_statements_without_rows_are_not_told(conn, job, ears):
    await job("completed")
    await job("processing")
    await job(unique_key="a")
    await ears.heard()
    await conn.execute("select jobs_enqueue('t', unique_key => 'a')")
    await conn.execute("insert into jobs (job_type) select 't' where false")
    assert await ears.heard() == []


async def test_the_gate_is_silent_while_an_awake_worker_serves_queue_and_type(conn, worker, ears):
    await worker(queues=["default", "q"], job_types=["t", "u"])
    await conn.execute(ENQUEUE)
    await conn.execute("select jobs_enqueue('u', queue => 'q')")
    await conn.copy_records_to_table("jobs", records=[("t",), ("u",)], columns=["job_type"])
    assert await ears.heard() == []


async def test_a_worker_without_a_list_of_types_serves_them_all(conn, worker, ears):
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
async def test_it_tells_what_the_awake_worker_does_not_serve_or_would_not_see_now(
    conn, worker, ears, enqueue
):
    await worker(queues=["default"], job_types=["t"])
    await conn.execute(enqueue)
    assert len(await ears.heard()) == 1


async def test_only_the_unserved_queue_of_a_statement_is_told(conn, worker, ears):
    await worker()
    await conn.execute("insert into jobs (job_type, queue) values ('t', 'default'), ('t', 'q')")
    assert await ears.heard() == ["q"]


async def test_a_worker_that_rests_is_told(conn, worker, ears):
    session = await worker()
    assert await session.fetchval(REST, "w")
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_worker_that_has_registered_and_not_risen_is_told(conn, other, ears):
    await other.execute(START, "w", ["default"], None)
    assert await ears.heard() == ["default"]  # so that others begin to watch it
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_worker_that_died_awake_is_not_counted_on(conn, worker, ears):
    session = await worker()
    await session.close()
    await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    assert await conn.fetchval(locks) == 0


async def test_a_worker_cannot_rest_before_the_producers_that_counted_on_it_have_committed(
    conn, worker, ears
):
    session = await worker()
    async with conn.transaction():
        await conn.execute(ENQUEUE)
        assert not await session.fetchval(REST, "w")
        # So it goes on looking, and producers may go on counting on it.
        assert await session.fetchval("select polling from jobs_workers")
    assert await session.fetchval(REST, "w")
    assert len(await session.fetch("select * from jobs_claim('w')")) == 1
    assert await ears.heard() == []


async def test_a_producer_that_finds_the_worker_resting_tells_although_its_snapshot_is_older(
    conn, worker, ears
):
    session = await worker()
    async with conn.transaction(isolation="repeatable_read"):
        assert await conn.fetchval("select polling from jobs_workers")
        assert await session.fetchval(REST, "w")
        await conn.execute(ENQUEUE)
    assert await ears.heard() == ["default"]


async def test_a_rolled_back_savepoint_does_not_keep_the_worker_awake(conn, worker):
    session = await worker()
    async with conn.transaction():
        savepoint = conn.transaction()
        await savepoint.start()
        await conn.execute(ENQUEUE)
        await savepoint.rollback()
        assert await session.fetchval(REST, "w")


async def test_resuming_and_retrying_tell_even_while_a_worker_is_awake(conn, worker, job, ears):
    failed = await job("failed", queue="q", run_at=timedelta(hours=-1))
    await worker(queues=["q"])
    await conn.execute("select jobs_retry($1)", failed)
    assert await ears.heard() == ["q"]
