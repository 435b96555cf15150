"""Rules: which jobs they let workers delete, and which rule counts for a job."""

from datetime import timedelta

import pytest

from pgjobs.errors import InvalidArgument

DAY = timedelta(days=1)
FINISHED = ["completed", "failed", "cancelled"]


@pytest.fixture
def enforce(conn):
    """Enforces the rules until nothing is to be deleted; returns how many jobs were deleted."""

    async def call(max_jobs=1000):
        total = 0
        while True:
            row = await conn.fetchrow("select * from _jobs_retention_enforce($1)", max_jobs)
            total += row["deleted"]
            if not row["more"]:
                return total

    return call


@pytest.fixture
def again(conn, enforce):
    """Enforces the rules as workers do some seconds later."""

    async def call():
        await conn.execute("update jobs_retention set next_at = clock_timestamp()")
        return await enforce()

    return call


async def test_without_a_rule_nothing_is_ever_deleted(conn, job, enforce, again):
    for status in FINISHED:
        await job(status, finished_at=-10_000 * DAY)
    assert await enforce() == 0
    assert await again() == 0
    assert await conn.fetchval("select count(*) from jobs") == 3


async def test_jobs_of_the_status_that_ended_longer_ago_are_deleted(conn, job, ids, enforce):
    await job("completed", finished_at=-8 * DAY)
    kept = [
        await job("completed", finished_at=-6 * DAY),
        await job("failed", finished_at=-8 * DAY),
        await job("cancelled", finished_at=-8 * DAY),
        await job("pending", created_at=-8 * DAY, run_at=-8 * DAY),
        await job("processing", created_at=-8 * DAY, run_at=-8 * DAY),
    ]
    await conn.execute("select jobs_retain('completed', '7 days')")
    assert await enforce() == 1
    assert await ids("select id from jobs order by id") == kept


@pytest.mark.parametrize("status", FINISHED)
async def test_the_rule_of_a_type_beats_the_general_one(conn, job, ids, enforce, status):
    for job_type in ("short", "long", "other"):
        for days in (2, 10, 40):
            await job(status, job_type=job_type, finished_at=-days * DAY)
    await conn.execute(
        """select jobs_retain($1, '30 days', 'long')""", status
    )
    await conn.execute("select jobs_retain($1, '7 days')", status)
    await conn.execute("select jobs_retain($1, '1 day', 'short')", status)
    assert await enforce() == 3 + 1 + 2
    left = await conn.fetch("select job_type, count(*) from jobs group by 1 order by 1")
    assert [tuple(row) for row in left] == [("long", 2), ("other", 1)]


async def test_a_type_without_a_rule_is_kept_if_there_is_no_general_one(
    conn, job, ids, enforce
):
    kept = await job("completed", job_type="a", finished_at=-40 * DAY)
    await job("completed", job_type="b", finished_at=-40 * DAY)
    await conn.execute("select jobs_retain('completed', '7 days', 'b')")
    assert await enforce() == 1
    assert await ids("select id from jobs") == [kept]


async def test_null_removes_a_rule_and_its_type_goes_by_the_general_one(conn, job, again):
    await job("failed", job_type="a", finished_at=-10 * DAY)
    await conn.execute("select jobs_retain('failed', '7 days')")
    await conn.execute("select jobs_retain('failed', '1000 years', 'a')")
    assert await again() == 0
    await conn.execute("select jobs_retain('failed', null, 'a')")
    assert await again() == 1
    await conn.execute("select jobs_retain('failed', null), jobs_retain('failed', null, 'none')")
    assert await conn.fetch("select from jobs_retention") == []
    await job("failed", job_type="a", finished_at=-10 * DAY)
    assert await again() == 0


async def test_what_becomes_old_later_is_deleted_in_a_later_round(conn, job, row, again):
    await conn.execute("select jobs_retain('completed', '7 days')")
    await conn.execute("select jobs_retain('completed', '1 hour', 'b')")
    await job("completed", finished_at=-7 * DAY + timedelta(seconds=0.2))
    await job("completed", job_type="b", finished_at=-timedelta(hours=1, seconds=-0.2))
    assert await again() == 0
    await conn.execute("select pg_sleep(0.25)")
    assert await again() == 2


async def test_a_shorter_rule_deletes_at_once_what_the_longer_one_kept(conn, job, again):
    await job("completed", finished_at=-5 * DAY)
    await conn.execute("select jobs_retain('completed', '7 days')")
    assert await again() == 0
    await conn.execute("select jobs_retain('completed', '1 day')")
    assert await again() == 1


async def test_a_new_type_is_found_within_the_hour(conn, job, again):
    await conn.execute("select jobs_retain('completed', '7 days')")
    await conn.execute("select jobs_retain('completed', '1 day', 'a')")
    assert await again() == 0
    await job("completed", job_type="new", finished_at=-8 * DAY)
    assert await again() == 0
    await conn.execute(
        "update jobs_retention set healed_at = clock_timestamp() - interval '61 minutes'"
    )
    assert await again() == 1


async def test_a_job_that_was_locked_is_deleted_within_the_hour(conn, other, job, again):
    locked = await job("failed", finished_at=-8 * DAY)
    await job("failed", finished_at=-8 * DAY)
    await conn.execute("select jobs_retain('failed', '7 days')")
    async with other.transaction():
        await other.execute("select from jobs where id = $1 for update", locked)
        assert await again() == 1
    assert await again() == 0
    await conn.execute(
        "update jobs_retention set healed_at = clock_timestamp() - interval '61 minutes'"
    )
    assert await again() == 1


async def test_a_retried_job_is_pending_and_stays(conn, job, again, row):
    kept = await job("failed", finished_at=-8 * DAY)
    await conn.execute("select jobs_retry($1)", kept)
    await conn.execute("select jobs_retain('failed', '0')")
    assert await again() == 0
    assert (await row(kept))["status"] == "pending"


async def test_a_job_that_another_table_refers_to_keeps_no_other(conn, job, enforce, again):
    referred = await job("completed", finished_at=-9 * DAY)
    for _ in range(3):
        await job("completed", finished_at=-8 * DAY)
    await conn.execute("create table files (job_id bigint references jobs)")
    await conn.execute("insert into files values ($1)", referred)
    await conn.execute("select jobs_retain('completed', '7 days')")
    assert await enforce() == 3
    error = await conn.fetchval("select error from jobs_retention")
    assert error == f"job {referred}: SQLSTATE 23503, constraint files_job_id_fkey of table files"
    # It is not tried in each round.
    await job("completed", finished_at=-7.5 * DAY)
    await conn.execute("create index on files (job_id); delete from files")
    assert await again() == 0
    await conn.execute("select jobs_retain('completed', '7 days')")
    assert await again() == 2
    assert await conn.fetchval("select error from jobs_retention") is None


async def test_many_jobs_that_ended_at_one_moment_and_cannot_be_deleted_hinder_no_other(
    conn, enforce
):
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        select 't', 'completed', date_trunc('day', clock_timestamp()) - interval '9 days'
        from generate_series(1, 300);
        insert into jobs (job_type, status, finished_at)
        select 'u', 'completed', clock_timestamp() - interval '8 days' from generate_series(1, 50);
        create table files (job_id bigint references jobs);
        insert into files select id from jobs where job_type = 't';
        select jobs_retain('completed', '7 days')"""
    )
    assert await enforce() == 50


@pytest.mark.parametrize(
    "arguments",
    [
        "'pending', '1 day'",
        "'processing', '1 day'",
        "null, '1 day'",
        "'nonsense', '1 day'",
        "'completed', '-1 s'",
        "'completed', '1001 years'",
        "'completed', '1 day', ''",
        "'completed', '1 day', repeat('x', 513)",
    ],
)
async def test_bad_arguments_raise(conn, arguments):
    with pytest.raises(InvalidArgument):
        await conn.execute(f"select jobs_retain({arguments})")


async def test_a_call_deletes_at_most_so_many_and_the_oldest_first(conn, job, ids):
    for days in range(20, 10, -1):
        await job("completed", finished_at=-days * DAY)
    await conn.execute("select jobs_retain('completed', '7 days')")
    row = await conn.fetchrow("select * from _jobs_retention_enforce(4)")
    assert tuple(row) == (4, True)
    assert await ids("select id from jobs order by id") == [5, 6, 7, 8, 9, 10]
    row = await conn.fetchrow("select * from _jobs_retention_enforce(4)")
    assert tuple(row) == (4, True)
    row = await conn.fetchrow("select * from _jobs_retention_enforce(4)")
    assert tuple(row) == (2, False)


async def test_rules_take_turns(conn, job):
    for status in ("completed", "failed"):
        for _ in range(6):
            await job(status, finished_at=-8 * DAY)
        await conn.execute("select jobs_retain($1, '7 days')", status)
    for left in ([4, 6], [4, 4], [2, 4], [2, 2]):
        await conn.execute("select from _jobs_retention_enforce(2)")
        counts = await conn.fetch("select count(*) from jobs group by status order by 1")
        assert sorted(row[0] for row in counts) == sorted(left)


async def test_only_one_session_deletes_at_a_time_and_the_other_does_not_wait(
    conn, other, connect, job
):
    for _ in range(4):
        await job("completed", finished_at=-8 * DAY)
    await conn.execute("select jobs_retain('completed', '7 days')")
    async with conn.transaction():
        first = await conn.fetchrow("select * from _jobs_retention_enforce(2)")
        second = await other.fetchrow("select * from _jobs_retention_enforce(2)")
        assert (tuple(first), tuple(second)) == ((2, True), (0, False))
    assert tuple(await other.fetchrow("select * from _jobs_retention_enforce(2)")) == (2, True)


async def test_a_session_that_is_killed_leaves_all_to_the_next_one(conn, other, job, enforce):
    for _ in range(4):
        await job("completed", finished_at=-8 * DAY)
    await conn.execute("select jobs_retain('completed', '7 days')")
    await other.execute("begin")
    assert (await other.fetchrow("select * from _jobs_retention_enforce(3)"))["deleted"] == 3
    await conn.execute("select pg_terminate_backend($1, 10000)", other.get_server_pid())
    assert await enforce() == 4


async def test_a_rule_that_another_session_changes_is_passed_over_without_waiting(
    conn, other, job
):
    await job("completed", finished_at=-8 * DAY)
    await conn.execute("select jobs_retain('completed', '7 days')")
    async with other.transaction():
        await other.execute("select jobs_retain('completed', '7 days', 'u')")
        row = await conn.fetchrow("select * from _jobs_retention_enforce()")
        assert row["deleted"] == 0
    assert (await conn.fetchrow("select * from _jobs_retention_enforce()"))["deleted"] == 1


KEPT = """
insert into jobs (job_type, status, finished_at)
    select 'kept', $1::text, clock_timestamp() - interval '100 days' + n * interval '1 ms'
    from generate_series(1, 100000) n;
"""
BEHIND = """
insert into jobs (job_type, status, finished_at)
    select case when n % 10 = 0 then 'gone' when n % 10 = 1 then 'seldom' else 'kept' end,
        case when n % 10 = 2 then 'failed' else $1::text end,
        clock_timestamp() - interval '20 days' + n * interval '1 ms'
    from generate_series(1, 20000) n;
"""
READ = """select seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) as rows
    from pg_stat_xact_user_tables where relname = 'jobs'"""
RULES = {
    "a rule for a type":
        ["select jobs_retain($1, '7 days', 'gone'), jobs_retain($1, '7 days', 'seldom')"],
    "a general rule, and one that keeps a type":
        ["select jobs_retain($1, '7 days'), jobs_retain($1, '1000 years', 'kept')"],
    "both": ["""select jobs_retain($1, '7 days'), jobs_retain($1, '1000 years', 'kept'),
        jobs_retain($1, '1 day', 'seldom'), jobs_retain($1, '1 day', 'nobody')"""],
}


@pytest.mark.parametrize("analysed", [False, True])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_few_rows_are_read_for_each_that_is_deleted_whatever_is_kept_in_front_and_between(
    conn, status, rules, analysed
):
    await conn.execute("alter table jobs set (autovacuum_enabled = false)")
    await conn.execute(KEPT, status)
    await conn.execute(BEHIND, status)
    # Of the type that is deleted too, what has another status is kept.
    await conn.execute(
        """insert into jobs (job_type, status, finished_at)
        select 'gone', 'failed', clock_timestamp() - interval '101 days'
        from generate_series(1, 5000)"""
    )
    if analysed:
        await conn.execute("vacuum analyze jobs")
    for rule in RULES[rules]:
        await conn.execute(rule, status)
    deleted = 0
    for _ in range(60):
        async with conn.transaction():
            before = await conn.fetchrow(READ)
            row = await conn.fetchrow("select * from _jobs_retention_enforce()")
            after = await conn.fetchrow(READ)
        assert after["seq_scan"] == before["seq_scan"]
        read = after["rows"] - before["rows"]
        # At the begin of a rule it looks for the types that there are.
        assert read <= 3 * row["deleted"] + 5, (read, row["deleted"])
        deleted += row["deleted"]
        if not row["more"]:
            break
    assert deleted == 4000


async def test_under_a_held_snapshot_a_batch_does_not_walk_over_what_was_deleted_before(
    conn, connect
):
    await conn.execute("alter table jobs set (autovacuum_enabled = false)")
    await conn.execute(BEHIND, "completed")
    await conn.execute("update jobs set job_type = 'gone' where status = 'completed'")
    await conn.execute("vacuum analyze jobs")
    holder = await connect()
    async with holder.transaction(isolation="repeatable_read"):
        await holder.execute("select count(*) from jobs")
        await conn.execute("select jobs_retain('completed', '7 days', 'gone')")
        blocks = []
        more = True
        while more:
            explained = await conn.fetch(
                """explain (analyze, buffers, timing off)
                select * from _jobs_retention_enforce(500)"""
            )
            line = next(r[0] for r in explained if "Buffers" in r[0])
            blocks.append(int(line.split("hit=")[1].split()[0]))
            more = await conn.fetchval(
                "select exists (select from jobs_retention where next_at <= clock_timestamp())"
            )
    assert len(blocks) > 20
    assert max(blocks[10:-1]) < 1.5 * max(blocks[2:6])


async def test_a_job_stays_for_ten_seconds_because_its_end_may_be_committed_late(
    conn, other, job, again
):
    held = await job("processing", worker="w", attempt=1)
    await conn.execute("select jobs_retain('completed', '0')")
    async with other.transaction():
        await other.execute("select jobs_complete($1)", held)
        assert await again() == 0
    assert await again() == 0
    # In a later round, and not only in one that begins with the oldest job.
    await conn.execute(
        """update jobs set finished_at = finished_at - interval '10 s';
        update jobs_retention set deleted_to = deleted_to - interval '10 s'"""
    )
    assert await again() == 1
