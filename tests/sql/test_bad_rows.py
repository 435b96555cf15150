"""A plain insert holds only what a driver can read, and one bad row never stops the other jobs."""

from datetime import timedelta

import asyncpg
import pytest

MOMENTS = [
    "created_at", "updated_at", "run_at", "started_at", "lease_until", "cancel_requested_at",
    "finished_at", "expires_at",
]
BEYOND = ["10001-01-01", "294276-12-31", "4000-01-01 BC", "0001-01-01 BC", "infinity", "-infinity"]
LAST_INT = 2_147_483_647


@pytest.mark.parametrize("column", MOMENTS)
async def test_no_row_holds_a_moment_that_a_driver_cannot_read(conn, column):
    status = "completed" if column == "finished_at" else "pending"
    await conn.execute("insert into jobs (job_type) values ('t')")
    for moment in BEYOND:
        for statement in (
            f"insert into jobs (job_type, status, {column}) values ('t', '{status}', '{moment}')",
            f"update jobs set {column} = '{moment}', status = '{status}'",
        ):
            with pytest.raises(asyncpg.CheckViolationError, match="the_years_1_to_9999"):
                await conn.execute(statement)


async def test_every_moment_of_every_table_is_one_that_a_driver_can_read(conn):
    plain = await conn.fetch(
        """select attrelid::regclass::text, attname from pg_attribute
        join pg_class c on c.oid = attrelid
        where relnamespace = 'public'::regnamespace and relname ~ '^jobs' and relkind = 'r'
            and attnum > 0 and atttypid = 'timestamptz'::regtype"""
    )
    # Nothing reads or writes it yet.
    assert [tuple(column) for column in plain] == [("jobs", "unique_until")]


@pytest.mark.parametrize("backoff", ["[0:1]={7s,7s}", "{{7s},{7s}}", "{}", "{null}", "{-1s}"])
async def test_no_row_holds_a_backoff_that_a_function_refuses(conn, backoff):
    with pytest.raises(asyncpg.CheckViolationError, match="jobs_backoff_holds_delays"):
        await conn.execute(
            "insert into jobs (job_type, backoff) values ('t', $1::text::interval[])", backoff
        )


@pytest.mark.parametrize("query", [
    "select * from jobs_claim('w', max_jobs => 5)",
    "select (jobs_start(id, 'w')).* from jobs order by id",
])
async def test_an_attempt_that_cannot_grow_does_not_stop_the_claim_of_the_others(conn, query):
    await conn.execute(
        "insert into jobs (job_type, attempt) values ('t', 0), ('t', $1), ('t', 7)", LAST_INT
    )
    claimed = await conn.fetch(query)
    assert [job["attempt"] for job in claimed] == [1, LAST_INT, 8]


BAD = {
    "a queue whose name does not fit into a notification": {"queue": "repeat('q', 9000)"},
    "a run_at that does not fit into a notification": {"run_at": "'294276-12-31'"},
    "a run_at before the calendar": {"run_at": "'-infinity'"},
    "a run_at behind the calendar": {"run_at": "'infinity'"},
    "a backoff that leads out of the calendar": {"backoff": "'{200000 years}'"},
    "days that lead out of the calendar": {"backoff": "'{1 year 2000000000 days}'"},
    "a backoff below zero": {"backoff": "'{-3000 years}'"},
    "a backoff without delays": {"backoff": "'{}'"},
    "a backoff with a null": {"backoff": "'{null}'"},
    "a priority without a level": {"priority": "32767"},
    "counts at their ends": {
        "crash_count": "32767", "retry_count": "2147483647", "max_retries": "2147483647",
        "attempt": "2147483647",
    },
    "counts below zero": {
        "crash_count": "-5", "retry_count": "-7", "max_retries": "-9", "attempt": "-1",
    },
    "a worker with a long name": {"worker": "repeat('w', 100000)"},
}
WITHOUT_CONSTRAINTS = """
    do $$
    declare
        v_statement text;
    begin
        for v_statement in
            select format('alter table jobs drop constraint %I', conname) from pg_constraint
            where conrelid = 'jobs'::regclass and contype = 'c'
            union all
            select format('alter domain %s drop constraint %I', contypid::regtype, conname)
            from pg_constraint where contypid <> 0 and connamespace = 'public'::regnamespace
        loop
            execute v_statement;
        end loop;
    end $$;
    set session_replication_role = replica
"""


@pytest.mark.parametrize("bad", BAD)
async def test_a_row_against_all_constraints_does_not_stop_the_others(conn, bad):
    await conn.execute(WITHOUT_CONSTRAINTS)
    gone = "clock_timestamp() - interval '1 minute'"
    for status, losses in (("pending", 0), ("processing", 0), ("processing", 1), ("completed", 0)):
        row = {
            "job_type": "'t'", "status": f"'{status}'", "worker": "'dead'", "attempt": "1",
            "lease_until": gone, "crash_count": str(losses),
            "finished_at": gone if status == "completed" else "null", **BAD[bad],
        }
        await conn.execute(
            f"insert into jobs ({', '.join(row)}) values ({', '.join(row.values())})"
        )
    await conn.execute("set session_replication_role = origin")
    await conn.execute(
        f"""insert into jobs (queue, job_type, status, worker, attempt, lease_until, finished_at)
        values ('other', 'ok', 'pending', null, 0, null, null),
            ('other', 'ok', 'processing', 'dead', 1, {gone}, null),
            ('other', 'ok', 'completed', null, 1, null, {gone})"""
    )
    recovered = await conn.fetch("select job_type from jobs_recover()")
    assert [job["job_type"] for job in recovered].count("ok") == 1
    queues = "array(select distinct queue from jobs)"
    claimed = [
        job
        # A job that was lost is not held beside a suspect.
        for worker in ("w", "v")
        for job in await conn.fetch(f"select job_type from jobs_claim('{worker}', {queues}, 100)")
    ]
    assert [job["job_type"] for job in claimed].count("ok") == 2
    await conn.execute(f"select due::text from _jobs_next_due({queues}) due")
    await conn.execute("select jobs_start(id, 'w') from jobs where status = 'pending'")
    await conn.execute("select jobs_cleanup('0')")
    assert await conn.fetchval("select count(*) from jobs where status = 'completed'") == 0
    await conn.execute("select from jobs_recover('w'); select from jobs_recover('v')")
    assert await conn.fetchval(
        "select count(*) from jobs where job_type = 'ok' and status = 'pending'"
    ) == 2


async def test_a_delay_that_is_not_valid_counts_as_none(conn):
    delays = ["{200000 years}", "{1 year 2000000000 days}", "{-3000 years}", "{-1 day}"]
    for backoff in delays:
        delay = await conn.fetchval("select _jobs_retry_delay($1::text::interval[], 1)", backoff)
        assert timedelta(seconds=3.75) <= delay <= timedelta(seconds=6.25)
