"""Which indexes the statements use, and how many rows they read: counted, never timed.

A queue can mislead the planner: by plans from a time when the table was empty, by no statistics or
old statistics, and by generic plans, which do not know the values.
"""

import json

import asyncpg
import pytest

# 100,000 rows. A claim of queue `default`, type `t`, must read about as many rows as it claims.
FILL = """
insert into jobs (job_type, queue, priority, run_at)
    select 'foreign', 'default', 0, clock_timestamp() - interval '1 hour'
    from generate_series(1, 20000);
insert into jobs (job_type, queue, priority, run_at)
    select 't', 'default', 9, clock_timestamp() + interval '1 hour' from generate_series(1, 20000);
insert into jobs (job_type, queue, priority, run_at)
    select 't', 'default', -5, clock_timestamp() - interval '1 hour' from generate_series(1, 10000);
insert into jobs (job_type, queue, run_at)
    select 't', 'other', clock_timestamp() - interval '1 hour' from generate_series(1, 10000);
insert into jobs (job_type, queue, run_at)
    select 't', 'default', clock_timestamp() - interval '30 minutes' from generate_series(1, 100);
insert into jobs (job_type, queue, run_at)
    select 't', 'later', clock_timestamp() + interval '1 hour' from generate_series(1, 5000);
insert into jobs (job_type, status, finished_at, reference_type, reference_id)
    select 't', 'completed', clock_timestamp() - interval '8 days', 'file', n
    from generate_series(1, 34470) n;
insert into jobs (job_type, status, finished_at, error)
    select 't', 'failed', clock_timestamp() - interval '8 days', 'e' from generate_series(1, 300);
insert into jobs (job_type, status, worker, attempt, lease_until)
    select 't', 'processing', case when n <= 20 then 'me' else 'you' end, 1,
        clock_timestamp() + interval '1 hour'
    from generate_series(1, 40) n;
insert into jobs (job_type, unique_key) values ('t', 'a');
insert into jobs (job_type, reference_type, reference_key)
    select 'keyed', 'order', 'o-' || n from generate_series(1, 500) n;
insert into jobs (job_type, reference_type) select 'rare', 'rare' from generate_series(1, 59);
insert into jobs (job_type, status, finished_at)
    select 'few', 'failed', clock_timestamp() - interval '8 days' from generate_series(1, 30);
"""

MANY = "array['t', 'u', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6', 'v7', 'v8']"

# Each statement changes or returns one row, or ten rows.
CALLS = {
    "claim one type": "select * from jobs_claim('me', '{default}', 10, job_types => '{t}')",
    "claim two types": "select * from jobs_claim('me', '{default}', 10, job_types => '{t,u}')",
    "claim any type": "select * from jobs_claim('me', '{default,other}', 10)",
    "claim of an empty queue": "select * from jobs_claim('me', '{empty}', 10)",
    "claim many types": f"select * from jobs_claim('me', '{{default}}', 10, job_types => {MANY})",
    "claim many types, none due":
        f"select * from jobs_claim('me', '{{empty,later}}', 10, job_types => {MANY})",
    "claim many queues": f"select * from jobs_claim('me', {MANY} || '{{later,default}}', 5)",
    "next_due": "select jobs_next_due('{default,other}', '{t,u}')",
    "next_due many types": f"select jobs_next_due('{{default,other}}', {MANY})",
    "next_due many queues": f"select jobs_next_due({MANY} || '{{default,other}}')",
    "due many types": f"""select _jobs_next_due('{{default,other,later}}', {MANY},
        before => clock_timestamp())""",
    "next_due any type": "select jobs_next_due('{default,other}')",
    "start": "select * from jobs_start({pending}, 'me')",
    "complete": "select * from jobs_complete({one})",
    "fail": "select * from jobs_fail({one}, 'e')",
    "cancel": "select * from jobs_cancel({pending})",
    "retry": "select * from jobs_retry({failed})",
    "edit": "select * from jobs_edit({pending}, '{}', 5, 'other', clock_timestamp())",
    "copy": "select * from jobs_copy({pending})",
    "complete_many": "select * from jobs_complete_many('me', '{mine}', {ones}, {nulls}::jsonb[])",
    "complete_many, delete":
        "select * from jobs_complete_many('me', '{mine}', {ones}, {nulls}::jsonb[], false)",
    "fail_many": """select * from jobs_fail_many('me', '{mine}', {ones},
        array_fill('e'::text, array[10]), {nulls}::boolean[], {nulls}::interval[])""",
    "release_many": "select * from jobs_release_many('me', '{mine}', {ones})",
    "heartbeat": "select * from jobs_heartbeat('me', '{mine}', {ones}, '1 minute')",
    "recover": "select * from jobs_recover()",
    "recover by name": "select * from jobs_recover('me')",
    "retry_many": "select jobs_retry_many(max_jobs => 10)",
    "cleanup": "select jobs_cleanup(max_jobs => 10)",
    "cancel_many by ids": "select jobs_cancel_many('{mine}')",
    "cancel_many by type": "select jobs_cancel_many(job_types => '{t}', max_jobs => 10)",
    "cancel_many by queue": "select jobs_cancel_many(queues => '{other}', max_jobs => 10)",
    "cancel_many by reference": """select jobs_cancel_many(
        reference_type => 'order', reference_key => 'o-42')""",
    "cancel_many by group": "select jobs_cancel_many(group_keys => '{g,h}')",
    "edit_many of old ones": """select jobs_edit_many(
        3, created_before => clock_timestamp(), max_jobs => 10)""",
    "delete_many by reference": """select jobs_delete_many(
        reference_type => 'file', reference_id => 42)""",
    "delete_many by type": "select jobs_delete_many(job_types => '{few}', max_jobs => 10)",
    "delete_many of failed ones": """select jobs_delete_many(
        failed_since => clock_timestamp() - interval '9 days', max_jobs => 10)""",
    "delete_many of a type and status": """select jobs_delete_many(
        statuses => array['failed'], job_types => '{few}', finished_before => clock_timestamp(),
        max_jobs => 10)""",
    "edit_many of later ones": """select jobs_edit_many(
        set_run_at => '2999-01-01', due_after => '2000-01-01', queues => '{other}',
        statuses => array['pending'], max_jobs => 10)""",
    "retry_many by type": "select jobs_retry_many('{few}', max_jobs => 10)",
    "counts": "select * from jobs_counts(3)",
    "rates": "select * from _jobs_rates('10 s')",
    "groups that wait": "select * from _jobs_waiting_groups()",
    "list": "select * from _jobs_search(max_jobs => 10)",
    "list of pending": "select * from _jobs_search(array['pending'], max_jobs => 10)",
    "list of pending in a queue":
        "select * from _jobs_search(array['pending'], queues => '{other}', max_jobs => 10)",
    "list of processing": "select * from _jobs_search(array['processing'], max_jobs => 10)",
    "list of failed": "select * from _jobs_search(array['failed'], max_jobs => 10)",
    "list of completed and failed":
        "select * from _jobs_search(array['completed', 'failed'], max_jobs => 10)",
    "list of cancelled": "select * from _jobs_search(array['cancelled'], max_jobs => 10)",
    "list of a type": "select * from _jobs_search(job_types => '{few}', max_jobs => 10)",
    "list of a type and status":
        "select * from _jobs_search(array['failed'], '{few}', max_jobs => 10)",
    "list of a queue":
        "select * from _jobs_search(queues => '{none}', max_jobs => 10, max_read => 50)",
    "list of a reference": """select * from _jobs_search(
        reference_type => 'file', reference_id => 42, max_jobs => 10)""",
    "list of a reference and status": """select * from _jobs_search(
        array['failed'], reference_type => 'order', reference_key => 'o-42', max_jobs => 10)""",
    "enqueue": "select * from jobs_enqueue('t')",
    "enqueue a taken key": "select * from jobs_enqueue('t', unique_key => 'a')",
    "next_due with floors": """select _jobs_next_due('{default,other}', '{t,u}',
        '{"default": {"9": "2999-01-01", "0": "2999-01-01", "-5": "2999-01-01"}}')""",
    "claim with floors": """select * from jobs_claim('me', '{default}', 10, job_types => '{t}',
        floors => '{"default": {"0": "2000-01-01", "-5": "2000-01-01"}}')""",
    "claim without suspects": "select * from jobs_claim('me', '{default}', 10, suspects => false)",
    "tick": "select * from _jobs_worker_tick('me')",
    "light tick": "select * from _jobs_worker_tick('me', false)",
    "watch": "select * from _jobs_worker_watch('me', '{}')",
    "watch with floors": """select * from _jobs_worker_watch('me',
        '{"default": {"9": "2999-01-01", "0": "2999-01-01", "-5": "2999-01-01"}}')""",
    "beat": "select * from _jobs_worker_beat('me', '{mine}', {ones}, '1 minute', '1 s')",
    "reconcile": "select * from _jobs_reconcile('me', '{mine}', {ones}, 1)",
    "recover own": "select _jobs_recover_own('me', clock_timestamp(), 10)",
}
# These count up to 1,000 jobs of each kind, and look for what may be wrong.
LONGER = {
    "doctor": "select * from jobs_doctor()",
    "counts": "select * from jobs_counts(1000)",
    # A job that is due, behind 10,000 others; it counts 1,000 of them.
    "why": "select * from jobs_why((select min(id) + 10000 from jobs))",
}
MAX_ROWS_OF_LONGER = 12_000
MAX_ROWS = 120  # recovery reads each of its 20 jobs six times; who scans too much reads thousands
MAX_BLOCKS = 1_000  # also for an index-only scan, which reads blocks but no rows


async def targets(conn: asyncpg.Connection) -> dict[str, str]:
    """The values for the placeholders in CALLS."""
    mine = [r[0] for r in await conn.fetch("select id from jobs where worker = 'me' order by id")]
    pending = await conn.fetchval("select min(id) from jobs where status = 'pending'")
    failed = await conn.fetchval("select min(id) from jobs where status = 'failed'")
    return {
        "{mine}": "{" + ",".join(map(str, mine[:10] or range(1, 11))) + "}",
        "{one}": str(mine[0] if mine else -1),
        "{pending}": str(pending or -1),
        "{failed}": str(failed or -1),
        "{ones}": "array_fill(1, array[10])",
        "{nulls}": "array_fill(null::text, array[10])",
    }


async def read(
    conn: asyncpg.Connection, query: str, of: tuple[str, ...] = ("jobs",)
) -> tuple[int, int, int]:
    """Counts the full scans, rows and blocks that a statement read; rolls its changes back."""
    counters = f"""select sum(seq_scan), sum(seq_tup_read + coalesce(idx_tup_fetch, 0))
        from pg_stat_xact_user_tables where relname = any ('{{{",".join(of)}}}')"""
    transaction = conn.transaction()
    await transaction.start()
    try:
        scans, rows = await conn.fetchrow(counters)
        plan = json.loads(await conn.fetchval(f"explain (analyze, buffers, format json) {query}"))[
            0
        ]["Plan"]
        scans_after, rows_after = await conn.fetchrow(counters)
    finally:
        await transaction.rollback()
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return scans_after - scans, rows_after - rows, blocks


async def everything(conn: asyncpg.Connection) -> dict[str, tuple[int, int, int]]:
    """The counts of each statement, after so many runs that PostgreSQL keeps its plans."""
    found = await targets(conn)
    result = {}
    for name, query in CALLS.items():
        for placeholder, value in found.items():
            query = query.replace(placeholder, value)  # noqa: PLW2901
        for _ in range(7):
            try:
                result[name] = await read(conn, query)
            except asyncpg.PostgresError as error:
                # On the empty table there is no job to start or to complete.
                if error.sqlstate != "JQ001":
                    raise
    return result


@pytest.fixture(
    params=["without statistics", "planned when empty", "analysed", "skewed", "generic plans"]
)
async def situation(request: pytest.FixtureRequest, conn: asyncpg.Connection) -> str:
    await conn.execute("alter table jobs set (autovacuum_enabled = false)")
    # A statement with a bad plan may take an hour.
    await conn.execute("set statement_timeout = '30 s'")
    await conn.execute("select jobs_worker_start('me', '{default}', null, 1)")
    name: str = request.param
    match name:
        case "without statistics":
            await conn.execute(FILL)
        case "planned when empty":
            await conn.execute("vacuum analyze jobs")
            await everything(conn)
            await conn.execute(FILL)
        case "analysed" | "generic plans":
            await conn.execute(FILL)
            await conn.execute("vacuum analyze jobs")
            if name == "generic plans":
                await conn.execute("set plan_cache_mode = force_generic_plan")
        case "skewed":
            # The statistics are from a time when the jobs were due, processing, or failed.
            for status in ["pending", "processing", "failed"]:
                await conn.execute(
                    """insert into jobs (job_type, status, worker, attempt, finished_at, unique_key)
                    select 't', $1::text, case when $1 = 'processing' then 'me' end, 0,
                        case when $1 = 'failed' then clock_timestamp() end, $1 || n
                    from generate_series(1, 20000) n""",
                    status,
                )
            await conn.execute("analyze jobs")
            await conn.execute("delete from jobs")
            await conn.execute("alter table jobs disable trigger all")
            await conn.execute(FILL)
            await conn.execute("alter table jobs enable trigger all")
    return name


async def test_no_statement_reads_more_rows_or_blocks_than_the_bounds(conn, situation):
    found = await everything(conn)
    assert found.keys() == CALLS.keys()
    bad = {
        name: cost
        for name, cost in found.items()
        if cost[0] > 0 or cost[1] > MAX_ROWS or cost[2] > MAX_BLOCKS
    }
    assert not bad, found


async def test_what_counts_up_to_a_cap_reads_a_part_of_the_table(conn, situation):
    for name, query in LONGER.items():
        for _ in range(7):
            scans, rows, _ = await read(conn, query)
        assert (scans, rows) <= (0, MAX_ROWS_OF_LONGER), name


LOOK_UPS = [
    ("job_type = 'rare'", "ix_jobs_job_type"),
    ("status = 'failed' and job_type = 'rare'", "ix_jobs_job_type"),
    # By ix_jobs_status; from PostgreSQL 18 on also by ix_jobs_job_type, with one probe per type.
    ("status = 'processing'", "ix_jobs_"),
    ("reference_id = 42", "ix_jobs_reference_id"),
    ("reference_type = 'rare'", "ix_jobs_reference "),
    ("reference_type = 'file' and reference_id = 42", "ix_jobs_reference"),
    ("reference_type = 'order' and reference_key = 'o-42'", "ix_jobs_reference_key"),
]


async def test_each_look_up_has_its_index_at_100_000_rows(conn):
    await conn.execute(FILL)
    await conn.execute("analyze jobs")
    for condition, index in LOOK_UPS:
        # While ids are unique, the index of ids finds the row as well: make one id frequent.
        if "reference_type = 'file'" in condition:
            await conn.execute("update jobs set reference_id = 42 where reference_id % 2 = 0")
            await conn.execute("analyze jobs")
        explained = await conn.fetch(f"explain select * from jobs where {condition}")
        plan = "\n".join(line[0] for line in explained)
        assert index in plan, plan


# By a worker that has claimed all of 20,000 jobs; another session keeps their index entries.
HELD_BACK = """
insert into jobs (job_type, run_at) select t, clock_timestamp() - interval '1 hour'
    from unnest('{t,u}'::text[]) t, generate_series(1, 10000);
insert into jobs (job_type, run_at, crash_count)
    select 't', clock_timestamp() - interval '1 hour', 1 from generate_series(1, 100);
"""
FLOORS = """jsonb_build_object('default', jsonb_build_object('0',
    clock_timestamp() - interval '1 minute'))"""
SEEN = """jsonb_build_object('at', clock_timestamp() - interval '0.15 s',
    'before', clock_timestamp() - interval '0.3 s', 'open', '{}'::jsonb)"""
AFTERWARDS = {
    "next_due": f"select _jobs_next_due('{{default}}', '{{t,u}}', {FLOORS})",
    "next_due many types": f"select _jobs_next_due('{{default}}', {MANY}, {FLOORS})",
    "claim many types":
        f"select * from jobs_claim('me', floors => {FLOORS}, job_types => {MANY})",
    "claim": f"select * from jobs_claim('me', floors => {FLOORS}, job_types => '{{t}}')",
    "watch": f"select * from _jobs_worker_watch('me', {FLOORS}, {SEEN})",
    "light tick": "select * from _jobs_worker_tick('me', false)",
}


@pytest.mark.parametrize("analysed", [False, True])
async def test_a_worker_with_floors_reads_few_dead_index_entries_under_a_held_snapshot(
    conn, connect, analysed
):
    """A worker that knows its types: the types of a level are found only by walking over it."""
    await conn.execute("alter table jobs set (autovacuum_enabled = false)")
    await conn.execute("select jobs_worker_start('me', '{default}', '{t,u}', 1)")
    await conn.execute(HELD_BACK)
    holder = await connect()
    async with holder.transaction(isolation="repeatable_read"):
        await holder.execute("select count(*) from jobs")
        await conn.execute(
            """update jobs set status = 'completed', attempt = 1,
            finished_at = clock_timestamp()"""
        )
        await conn.execute("vacuum analyze jobs" if analysed else "vacuum jobs")
        walked = await read(conn, "select jobs_next_due('{default}', '{t,u}')")
        assert walked[2] > 500, "without floors it walks over the dead entries"
        found = {}
        for name, query in AFTERWARDS.items():
            for _ in range(7):
                found[name] = await read(conn, query)
    assert not {n: c for n, c in found.items() if c[1] > MAX_ROWS or c[2] > 150}, found


async def test_an_empty_claim_of_many_types_does_not_search_the_index_for_each_type(conn):
    await conn.execute(
        """insert into jobs (queue, job_type, priority, run_at)
        select q, 't' || t, p, clock_timestamp() + interval '1 hour'
        from unnest('{a,b}'::text[]) q, generate_series(100, 299) t, generate_series(0, 1) p"""
    )
    await conn.execute("analyze jobs")
    searches_of = "select pg_stat_get_xact_numscans('ix_jobs_claim'::regclass)"
    types = [f"t{n}" for n in range(100, 300)]
    async with conn.transaction():
        before = await conn.fetchval(searches_of)
        claim = "select * from jobs_claim('me', '{a,b}', 10, job_types => $1)"
        assert await conn.fetch(claim, types) == []
        searches = await conn.fetchval(searches_of) - before
    # In each of four levels. Before 17, PostgreSQL searches for each type.
    goes_on_by_itself = conn.get_server_version().major >= 17
    assert searches < (40 if goes_on_by_itself else 850)


# 30,000 groups wait, of which one has 20,000 jobs, beside a queue of four groups.
GROUPS = """
select jobs_limit('many', max_running_per_group => 1);
select jobs_limit('few', in_order => true);
insert into jobs (job_type, queue, group_key)
    select 't', 'many', g from generate_series(1, 30000) g;
insert into jobs (job_type, queue, group_key)
    select 't', 'many', '1' from generate_series(1, 20000);
insert into jobs (job_type, queue, group_key)
    select 't', 'few', g from generate_series(1, 4) g, generate_series(1, 3);
"""
CALLS_OF_GROUPS = {
    "counts": ("select * from jobs_counts(1000)", 12_000, 60_000),
    "doctor": ("select * from jobs_doctor()", 30_000, 120_000),
    "list of pending": ("select * from _jobs_search(array['pending'], max_jobs => 10)", 100, 1_000),
    "list of pending in a queue": ("""select * from _jobs_search(array['pending'],
        queues => '{many}', max_jobs => 10)""", 100, 1_000),
    "list of a group": ("""select * from _jobs_search(array['pending'], queues => '{few}',
        group_key => '3', max_jobs => 10)""", 100, 1_000),
    "why the jobs of a group wait": (
        "select * from _jobs_held_back('{many,few}', '{1,2}')", 1_100, 1_500),
    "why a job of a group waits": (
        """select w.* from (select id + 40000 as id from jobs order by jobs.id limit 1) j
        cross join lateral jobs_why(j.id) w""", 2_100, 3_000),
    "why the first job of a group waits": (
        """select w.* from (select id from jobs order by id limit 1) j
        cross join lateral jobs_why(j.id) w""", 100, 500),
}


@pytest.mark.parametrize("statistics", ["none", "of the empty table", "analysed"])
async def test_what_reads_groups_reads_a_bounded_part_of_them(conn, statistics):
    await conn.execute("alter table jobs set (autovacuum_enabled = false)")
    await conn.execute("alter table jobs_turns set (autovacuum_enabled = false)")
    await conn.execute("set statement_timeout = '30 s'")
    if statistics == "of the empty table":
        await conn.execute("vacuum analyze jobs, jobs_turns, jobs_queues")
        for query, _, _ in CALLS_OF_GROUPS.values():
            await read(conn, query)
    await conn.execute(GROUPS)
    if statistics == "analysed":
        await conn.execute("vacuum analyze jobs, jobs_turns, jobs_queues")
    found = {}
    for name, (query, _, _) in CALLS_OF_GROUPS.items():
        for _ in range(7):
            found[name] = await read(conn, query)
    bad = {
        name: cost
        for name, cost in found.items()
        if cost[0] > 0 or cost[1] > CALLS_OF_GROUPS[name][1] or cost[2] > CALLS_OF_GROUPS[name][2]
    }
    assert not bad, found


# 100 groups with a due job each, behind many that may not start.
BLOCKED = """
select jobs_limit('default', max_running_per_group => 1, group_rate_count => 5,
    group_rate_period => '1 hour');
insert into jobs (job_type, group_key, status, worker, attempt)
    values ('t', 'full', 'processing', 'you', 1);
insert into jobs (job_type, group_key) select 't', 'full' from generate_series(1, 100000);
insert into jobs (job_type, group_key, attempt, run_at)
    select 't', 'retry ' || n, 1, clock_timestamp() + interval '1 hour'
    from generate_series(1, 20000) n;
insert into jobs_starts (queue, group_key, moments, counts, counts_until)
    select 'default', 'spent ' || n, array[clock_timestamp()], '{5}',
        clock_timestamp() + interval '1 hour'
    from generate_series(1, 20000) n;
insert into jobs (job_type, group_key) select 't', 'spent ' || n from generate_series(1, 20000) n;
-- As claims have put them off.
update jobs_turns set turn_at = turn_at + interval '1 hour' where group_key like 'spent %';
insert into jobs (job_type, group_key)
    select 't', 'g' || n from generate_series(1, 100) n, generate_series(1, 10);
"""
OF_GROUPS = {
    "claim": "select * from jobs_claim('me', '{default}', 10)",
    "claim one type": "select * from jobs_claim('me', '{default}', 10, job_types => '{t}')",
    "claim many types": f"select * from jobs_claim('me', '{{default}}', 10, job_types => {MANY})",
    "next_due": "select jobs_next_due('{default}')",
    "next_due one type": "select jobs_next_due('{default}', '{t}')",
    "enqueue": "select * from jobs_enqueue('t', group_key => 'full')",
    "complete": """select * from jobs_complete((select min(id) from jobs
        where status = 'processing'))""",
    "cancel": "select * from jobs_cancel((select min(id) + 1 from jobs))",
}
MAX_ROWS_OF_GROUPS = 200  # of each group the jobs that it may start, one more, and its turn


@pytest.mark.parametrize("how", ["without statistics", "analysed", "generic plans"])
async def test_statements_of_groups_read_few_rows_whatever_may_not_start(conn, how):
    for table in ["jobs", "jobs_turns", "jobs_starts"]:
        await conn.execute(f"alter table {table} set (autovacuum_enabled = false)")
    await conn.execute("set statement_timeout = '60 s'")
    await conn.execute(BLOCKED)
    if how != "without statistics":
        await conn.execute("vacuum analyze jobs, jobs_turns, jobs_starts")
    if how == "generic plans":
        await conn.execute("set plan_cache_mode = force_generic_plan")
    assert await conn.fetchval("select count(*) from jobs_turns") > 40_000
    transaction = conn.transaction()
    await transaction.start()
    assert len(await conn.fetch(OF_GROUPS["claim"])) == 10
    await transaction.rollback()
    found = {}
    for name, query in OF_GROUPS.items():
        for _ in range(7):
            found[name] = await read(conn, query, of=("jobs", "jobs_turns", "jobs_starts"))
    bad = {
        name: cost
        for name, cost in found.items()
        if cost[0] > 0 or cost[1] > MAX_ROWS_OF_GROUPS or cost[2] > 3 * MAX_BLOCKS
    }
    assert not bad, found
