"""The constraints of the table jobs, blocked jobs, and started_at."""

import asyncpg
import pytest


async def test_a_blocked_job_is_neither_claimed_nor_due_nor_recovered(conn, job, row):
    blocked = await job("blocked")
    assert await conn.fetch("select id from jobs_claim('w')") == []
    assert await conn.fetchval("select jobs_next_due('{default}')") is None
    assert await conn.fetch("select id from jobs_recover('w')") == []
    assert (await row(blocked))["status"] == "blocked"


async def test_a_blocked_job_holds_its_unique_key(conn, job):
    blocked = await job("blocked", unique_key="k")
    found = await conn.fetchval("select id from jobs_enqueue('t', unique_key => 'k')")
    assert found == blocked


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("reference_key", "repeat('k', 513)", "jobs_reference_key_has_at_most_512_bytes"),
        ("unique_scope", "'for ever'", "jobs_unique_scope_is_known"),
        ("status", "'gone'", "jobs_status_is_known_and_final_exactly_when_finished_at_is_set"),
    ],
)
async def test_a_plain_insert_of_a_bad_value_names_the_constraint(conn, column, value, constraint):
    with pytest.raises(asyncpg.CheckViolationError, match=constraint):
        await conn.execute(f"insert into jobs (job_type, {column}) values ('t', {value})")


async def test_a_claim_and_a_start_set_started_at(conn, job, row):
    claimed, started = await job(), await job(queue="q")
    await conn.execute("select from jobs_claim('w'); select from jobs_start(2, 'w')")
    for job_id in (claimed, started):
        stamped = await row(job_id)
        assert stamped["started_at"] == stamped["updated_at"] > stamped["created_at"]
