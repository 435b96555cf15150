"""Workers that are killed, stopped and restarted, counted by what they wrote down."""

import signal

import asyncpg
from end_to_end.processes import Start, eventually

ADD = """select jobs_enqueue_many((select jsonb_agg(jsonb_build_object(
    'job_type', $1::text, 'payload', jsonb_build_object('seconds', $2::float)))
    from generate_series(1, $3::int)))"""
LEFT = "select count(*) from jobs where status in ('pending', 'processing')"
RUNS = "select count(*) from ledger"
AGAIN = "select count(*) from (select from ledger group by job_id having count(*) > 1) twice"


async def ended(conn: asyncpg.Connection) -> bool:
    return await conn.fetchval(LEFT) == 0


async def test_a_killed_worker_loses_no_job_and_only_its_running_ones_run_twice(
    ledger: asyncpg.Connection, start: Start
) -> None:
    first = start(concurrency=10)
    await ledger.execute(ADD, "work", 0.02, 1_000)
    await eventually(lambda: ledger.fetchval(f"{RUNS} having count(*) > 100"), "100 have begun")
    first.send_signal(signal.SIGKILL)
    first.wait()
    held = await ledger.fetchval("select count(*) from jobs where status = 'processing'")
    start(concurrency=10)
    await eventually(lambda: ended(ledger), "all jobs have ended")
    assert await ledger.fetchval("select count(*) from jobs where status = 'completed'") == 1_000
    assert await ledger.fetchval("select count(distinct job_id) from ledger") == 1_000
    assert await ledger.fetchval(AGAIN) <= held
    assert await ledger.fetchval("select max(retry_count) from jobs") == 0


async def test_a_death_is_noticed_within_seconds_by_another_worker(
    ledger: asyncpg.Connection, start: Start
) -> None:
    first, second = start(concurrency=1), start(concurrency=1)
    await ledger.execute(ADD, "work", 1.0, 2)
    await eventually(lambda: ledger.fetchval(f"{RUNS} having count(*) = 2"), "both work")
    first.send_signal(signal.SIGKILL)
    took = await eventually(lambda: ledger.fetchval(f"{RUNS} having count(*) = 3"), "it is re-run")
    assert took < 6
    await eventually(lambda: ended(ledger), "all jobs have ended")
    assert second.poll() is None


async def test_sigterm_runs_nothing_twice_and_spends_no_retry(
    ledger: asyncpg.Connection, start: Start
) -> None:
    workers = [start(concurrency=10) for _ in range(2)]
    await ledger.execute(ADD, "work", 0.02, 1_000)
    for number in range(2):
        await eventually(
            lambda wanted=200 * (number + 1): ledger.fetchval(f"{RUNS} having count(*) > {wanted}"),
            "more jobs have begun",
        )
        workers[number].send_signal(signal.SIGTERM)
        workers.append(start(concurrency=10))
        assert workers[number].wait(timeout=15) == 0
    await eventually(lambda: ended(ledger), "all jobs have ended")
    assert await ledger.fetchval("select count(*) from jobs where status = 'completed'") == 1_000
    assert await ledger.fetchval(AGAIN) == 0
    assert await ledger.fetchval("select max(retry_count + crash_count) from jobs") == 0


async def test_a_kill_before_the_commit_leaves_neither_write_nor_completion(
    ledger: asyncpg.Connection, start: Start
) -> None:
    first = start(concurrency=5)
    await ledger.execute(ADD, "write", 2.0, 5)
    await eventually(
        lambda: ledger.fetchval(
            "select count(*) = 5 from pg_stat_activity"
            " where state = 'idle in transaction' and query like 'insert into ledger%'"
        ),
        "all have written",
    )
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert await ledger.fetchval(RUNS) == 0
    await ledger.execute("update jobs set payload = '{\"seconds\": 0}'")
    start(concurrency=5)
    await eventually(lambda: ended(ledger), "all jobs have ended")
    assert await ledger.fetchval(RUNS) == await ledger.fetchval(
        "select count(*) from jobs where status = 'completed'"
    ) == 5


async def test_a_poison_job_ends_failed_and_its_neighbours_do_not(
    ledger: asyncpg.Connection, start: Start
) -> None:
    await ledger.execute("select jobs_enqueue('poison', '{}', max_retries => 2)")
    await ledger.execute(ADD, "work", 0.1, 300)
    workers = [start(concurrency=50) for _ in range(2)]

    async def over() -> bool:
        for number, worker in enumerate(workers):
            if worker.poll() is not None:
                workers[number] = start(concurrency=50)  # as a supervisor would
        return await ended(ledger)

    await eventually(over, "all jobs have ended", seconds=90)
    rows = await ledger.fetch(
        "select job_type, status, count(*), max(retry_count) from jobs group by 1, 2 order by 1"
    )
    assert [tuple(row) for row in rows] == [
        ("poison", "failed", 1, 0), ("work", "completed", 300, 0),
    ]  # fmt: skip
    assert await ledger.fetchval("select crash_count from jobs where job_type = 'poison'") == 3


async def test_a_second_worker_of_a_living_ones_name_is_refused(
    ledger: asyncpg.Connection, start: Start
) -> None:
    first = start(name="same")
    registered = "select count(*) from jobs_workers where worker = 'same'"
    await eventually(lambda: ledger.fetchval(registered), "the first one is registered")
    assert start(name="same").wait(timeout=30) != 0
    assert first.poll() is None
