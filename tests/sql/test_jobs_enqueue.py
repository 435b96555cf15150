import asyncio
from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

ENQUEUE_A = "select id from jobs_enqueue('t', unique_key => 'a')"


async def test_a_job_has_the_documented_defaults(conn):
    job = await conn.fetchrow("select * from jobs_enqueue('ingest')")
    assert {
        "job_type": "ingest", "payload": "{}", "queue": "default", "priority": 0,
        "status": "pending", "max_retries": 3, "retry_count": 0, "crash_count": 0, "attempt": 0,
        "reference_type": None, "reference_id": None, "unique_key": None, "unique_scope": "live",
        "backoff": None, "worker": None, "finished_at": None, "reference_key": None,
        "group_key": None, "headers": None, "started_at": None, "progress": None,
        "depends_on_left": None, "batch_id": None, "expires_at": None, "unique_until": None,
        "marks": None,
    }.items() <= dict(job).items()
    assert await conn.fetchval("select run_at <= clock_timestamp() from jobs")


async def test_an_explicit_null_means_the_default(conn):
    job = await conn.fetchrow(
        """select * from jobs_enqueue(
            't', null, null, null, null, null, null, null, null, null, null, null,
            null, null, null, null, null, null)"""
    )
    assert (job["payload"], job["queue"], job["priority"], job["max_retries"]) == (
        "{}", "default", 0, 3,
    )
    assert job["unique_scope"] == "live"


async def test_a_payload_of_json_null_is_json_null(conn):
    assert await conn.fetchval("select payload from jobs_enqueue('t', 'null')") == "null"


async def test_every_argument_reaches_its_column(conn):
    job = await conn.fetchrow(
        """select * from jobs_enqueue('t', '{"n": 1}', queue => 'slow', priority => -9,
            run_at => '2030-01-01 00:00Z', reference_type => 'file', reference_id => 42,
            max_retries => 0, unique_key => 'k', unique_scope => 'kept', backoff => '{1s,1m}',
            reference_key => 'o-1', group_key => 'g', headers => '{"a": 1}',
            expires_at => '2031-01-01 00:00Z')"""
    )
    assert job["payload"] == '{"n": 1}'
    assert (job["queue"], job["priority"], job["run_at"].year) == ("slow", -9, 2030)
    assert (job["reference_type"], job["reference_id"], job["max_retries"]) == ("file", 42, 0)
    assert (job["unique_key"], job["unique_scope"]) == ("k", "kept")
    assert job["backoff"] == [timedelta(seconds=1), timedelta(minutes=1)]
    assert (job["reference_key"], job["group_key"]) == ("o-1", "g")
    assert (job["headers"], job["expires_at"].year) == ('{"a": 1}', 2031)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("null", "job_type is missing"),
        ("''", "job_type must have 1 to 512 bytes"),
        ("repeat('é', 257)", "job_type must have 1 to 512 bytes"),
        ("'t', queue => ''", "queue must have"),
        ("'t', queue => repeat('q', 513)", "queue must have"),
        ("'t', priority => 10", "priority must be from -9 to 9, not 10"),
        ("'t', run_at => 'infinity'", "run_at must be a moment"),
        ("'t', run_at => '-infinity'", "run_at must be a moment"),
        ("'t', run_at => '4713-01-01 BC'", "run_at must be a moment in the years 1 to 9999"),
        ("'t', run_at => '10000-01-01'", "run_at must be a moment in the years 1 to 9999"),
        ("'t', reference_type => ''", "reference_type must have"),
        ("'t', reference_key => ''", "reference_key must have 1 to 512 bytes"),
        ("'t', reference_key => repeat('k', 513)", "reference_key must have 1 to 512 bytes"),
        ("'t', group_key => ''", "group_key must have 1 to 512 bytes"),
        ("'t', group_key => repeat('g', 513)", "group_key must have 1 to 512 bytes"),
        ("'t', headers => '[1]'", "headers must be a JSON object"),
        ("'t', headers => 'null'", "headers must be a JSON object"),
        ("'t', expires_at => 'infinity'", "expires_at must be a moment in the years 1 to 9999"),
        ("'t', max_retries => -1", "max_retries must be 0 or more, not -1"),
        ("'t', unique_key => ''", "unique_key must have"),
        ("'t', unique_key => repeat('k', 513)", "unique_key must have"),
        ("'t', unique_scope => 'for ever'", "unique_scope must be live, kept, pending or period"),
        ("'t', backoff => '{}'", "backoff must be a list of one or more delays"),
        ("'t', backoff => '{{1s,2s}}'", "backoff must be a list of one or more delays"),
        ("'t', backoff => '[5:6]={1s,2s}'", "backoff must be a list of one or more delays"),
        ("'t', backoff => '{1s,null}'", "backoff must not hold nulls"),
        ("'t', backoff => '{-1s}'", "delays from 0 to 100 years"),
        ("'t', backoff => '{1000 years}'", "delays from 0 to 100 years"),
        # This is one day if each month has 30 days, but added to a moment it leaves the calendar.
        ("'t', backoff => '{-290000 years 104400001 days}'", "delays from 0 to 100 years"),
    ],
)
async def test_a_bad_argument_raises_an_error_that_names_the_argument(conn, arguments, problem):
    with pytest.raises(InvalidArgument, match=problem):
        await conn.fetch(f"select jobs_enqueue({arguments})")
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_names_of_512_bytes_are_accepted_in_every_indexed_column(conn):
    await conn.execute(
        """select jobs_enqueue(n, queue => n, reference_type => n, unique_key => n)
        from (select string_agg(md5(i::text), '') as n from generate_series(1, 16) i) name"""
    )
    assert await conn.fetchval("select octet_length(unique_key) from jobs") == 512


async def test_the_table_itself_refuses_the_values_that_jobs_enqueue_refuses(conn):
    for column, value in [
        ("queue", "''"), ("job_type", "repeat('t', 513)"), ("priority", "10"),
        ("run_at", "'infinity'"), ("unique_scope", "'x'"), ("max_retries", "-1"),
        ("backoff", "'{-1s}'"), ("backoff", "'{101 years}'"), ("backoff", "'{}'"),
        ("status", "'x'"), ("status", "'completed'"), ("group_key", "''"),
        ("group_key", "repeat('g', 513)"), ("headers", "'[1]'"), ("expires_at", "'infinity'"),
    ]:
        columns, values = ("job_type, ", "'t', ") if column != "job_type" else ("", "")
        with pytest.raises(Exception, match="violates check constraint"):
            await conn.execute(f"insert into jobs ({columns}{column}) values ({values}{value})")


async def test_a_taken_key_returns_the_existing_row(conn):
    first = await conn.fetchrow("select * from jobs_enqueue('t', '{\"n\": 1}', unique_key => 'a')")
    again = await conn.fetchrow("select * from jobs_enqueue('t', '{\"n\": 2}', unique_key => 'a')")
    assert again == first


async def test_another_type_or_key_makes_another_job(conn):
    await conn.execute(ENQUEUE_A)
    assert await conn.fetchval("select id from jobs_enqueue('u', unique_key => 'a')") == 2
    assert await conn.fetchval("select id from jobs_enqueue('t', unique_key => 'b')") == 3
    assert await conn.fetchval("select id from jobs_enqueue('t')") == 4


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_a_live_key_is_free_when_its_job_has_ended(conn, job, status):
    ended = await job(status, unique_key="a")
    assert await conn.fetchval(ENQUEUE_A) != ended


@pytest.mark.parametrize("status", ["pending", "processing", "completed", "failed", "cancelled"])
async def test_a_kept_key_is_taken_as_long_as_its_row_exists(conn, job, status):
    kept = await job(status, unique_key="a", unique_scope="kept")
    assert await conn.fetchval(ENQUEUE_A) == kept
    await conn.execute("delete from jobs")
    assert await conn.fetchval(ENQUEUE_A) != kept


async def test_of_two_racing_sessions_the_loser_gets_the_winners_row(conn, other, blocked):
    async with conn.transaction():
        winner = await conn.fetchval(ENQUEUE_A)
        losing = asyncio.create_task(other.fetchval(ENQUEUE_A))
        await blocked(other)
    assert await losing == winner
    assert await conn.fetchval("select count(*) from jobs") == 1


async def test_when_the_winner_rolls_back_the_waiting_session_wins(conn, other, blocked):
    transaction = conn.transaction()
    await transaction.start()
    winner = await conn.fetchval(ENQUEUE_A)
    waiting = asyncio.create_task(other.fetchval(ENQUEUE_A))
    await blocked(other)
    await transaction.rollback()
    assert await waiting != winner
    assert await conn.fetchval("select count(*) from jobs") == 1


async def test_sixteen_racing_sessions_make_one_job(connect, conn):
    sessions = [await connect() for _ in range(16)]
    answers = await asyncio.gather(*(session.fetchval(ENQUEUE_A) for session in sessions))
    assert len(set(answers)) == 1
    assert await conn.fetchval("select count(*) from jobs") == 1


async def test_a_key_whose_job_ends_during_the_enqueue_makes_a_new_job(
    conn, other, job, blocked
):
    # The trigger fires also without an inserted row: so jobs_enqueue waits after the conflict,
    # before it reads the row that holds the key.
    await conn.execute("""
        create function pause() returns trigger language plpgsql as
            $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
        create trigger pause after insert on jobs for each statement execute function pause()
    """)
    holder = await job(unique_key="a")
    await conn.execute("select pg_advisory_lock(1)")
    enqueuing = asyncio.create_task(other.fetchval(ENQUEUE_A))
    await blocked(other)
    await conn.execute("select jobs_cancel($1)", holder)
    await conn.execute("select pg_advisory_unlock(1)")
    assert await enqueuing == holder + 2  # the insert that met the conflict used up one id
    assert await conn.fetchval("select status from jobs where id = $1", holder) == "cancelled"


async def test_a_key_of_a_locked_row_is_found_without_waiting_or_changing_the_row(
    conn, other, job, row
):
    held = await job("processing", unique_key="a")
    before = await row(held)
    async with conn.transaction():
        await conn.execute("select from jobs where id = $1 for update", held)
        assert await other.fetchval(ENQUEUE_A) == held
    assert await row(held) == before


async def test_the_job_exists_only_if_the_callers_transaction_commits(conn, other):
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute("select jobs_enqueue('t')")
    assert await other.fetchval("select count(*) from jobs_claim('me')") == 0
    await transaction.rollback()
    assert await other.fetchval("select count(*) from jobs") == 0
