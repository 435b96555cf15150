"""What the doctor says of how long ended jobs stay."""

from datetime import timedelta

import pytest

DAY = timedelta(days=1)


@pytest.fixture
def ask(conn):
    """Verdict and detail of a check."""

    async def call(check, many=1_000_000):
        row = await conn.fetchrow(
            "select verdict, detail from _jobs_doctor_retention($2) where check_name = $1",
            check, many,
        )
        return tuple(row)

    return call


async def test_many_ended_jobs_without_a_rule_are_a_warning_until_there_is_one(conn, ask):
    await conn.execute(
        """select from jobs_enqueue_many((select jsonb_agg('{"job_type": "t"}'::jsonb)
            from generate_series(1, 1000)));
        select jobs_complete_many('w', array_agg(id), array_agg(attempt),
            array_agg(null::jsonb)) from jobs_claim('w', max_jobs => 1000);
        analyze jobs"""
    )
    assert await ask("retention") == ("ok", "no rule; about 1000 jobs have ended")
    assert await ask("retention", 1000) == ("warn", "no rule; about 1000 jobs have ended")
    assert await ask("retention", 1001) == ("ok", "no rule; about 1000 jobs have ended")
    await conn.execute("select jobs_retain('completed', '7 days')")
    assert await ask("retention", 1000) == ("ok", "completed 7 days")


async def test_a_rule_that_no_worker_enforces_is_named(conn, ask):
    await conn.execute(
        """select jobs_retain('failed', '30 days', 'mail');
        update jobs_retention set next_at = clock_timestamp() - interval '11 minutes'"""
    )
    check = "overdue retention"
    assert await ask(check) == ("warn", "failed of mail (for 00:11:00)")
    # What a worker does.
    await conn.execute("select from _jobs_retention_enforce()")
    assert await ask(check) == ("ok", "none")


async def test_a_job_that_cannot_be_deleted_is_named_until_the_rule_is_given_again(
    conn, ask, job
):
    job_id = await job("completed", finished_at=-8 * DAY)
    await conn.execute("create table files (job_id bigint constraint kept_by references jobs)")
    await conn.execute("insert into files values ($1)", job_id)
    await conn.execute("select jobs_retain('completed', '7 days')")
    await conn.execute("select from _jobs_retention_enforce()")
    verdict, detail = await ask("jobs that cannot be deleted")
    assert verdict == "bad"
    assert detail.startswith(f"completed (job {job_id}: ")
    assert "kept_by" in detail
    await conn.execute(
        """alter table files drop constraint kept_by,
        add constraint kept_by foreign key (job_id) references jobs on delete cascade;
        select jobs_retain('completed', '7 days')"""
    )
    await conn.execute("select from _jobs_retention_enforce()")
    assert await ask("jobs that cannot be deleted") == ("ok", "none")
    assert await conn.fetchval("select count(*) from jobs") == 0
