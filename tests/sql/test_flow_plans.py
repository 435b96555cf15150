"""What flows read, beside a batch of 20,000 and 10,000 other flows: counted, never timed."""

import pytest

from tests.sql.test_plans import read

TABLES = ("jobs", "jobs_flows", "jobs_flow_edges", "jobs_flow_changes", "jobs_attempts")
# Jobs 1 to 20,000 are members of batch 20,001; then 10,000 pairs of a parent and its child. Every
# second member and parent has ended.
FILL = """
insert into jobs (job_type, batch_id, status, worker, attempt, finished_at)
    select 't', 20001, case when n % 2 = 0 then 'completed' else 'processing' end,
        case when n % 2 = 1 then 'me' end, 1,
        case when n % 2 = 0 then clock_timestamp() - interval '8 days' end
    from generate_series(1, 20000) n;
insert into jobs (job_type, status, depends_on_left) values ('callback', 'blocked', 10000);
insert into jobs (job_type, status, worker, attempt, finished_at)
    select 't', case when n % 2 = 0 then 'completed' else 'processing' end,
        case when n % 2 = 1 then 'me' end, 1,
        case when n % 2 = 0 then clock_timestamp() - interval '8 days' end
    from generate_series(1, 10000) n;
insert into jobs (job_type, status, depends_on_left)
    select 'child', 'blocked', 1 from generate_series(1, 10000);
insert into jobs_flows (job_id, on_parent_failed, is_batch, is_open, parents, completed)
    values (20001, 'run', true, true, 20000, 10000);
insert into jobs_flows (job_id, on_parent_failed, is_batch, is_open, parents)
    select n, 'cancel', false, false, 1 from generate_series(30002, 40001) n;
insert into jobs_flow_edges select n, 20001, true from generate_series(1, 20000) n;
insert into jobs_flow_edges select n - 10000, n, true from generate_series(30002, 40001) n;
"""
CALLS = {
    "complete a member": "select jobs_complete(7)",
    "complete ten members": """select jobs_complete_many('me', '{1,3,5,7,9,11,13,15,17,19}',
        array_fill(1, array[10]), array_fill('1'::jsonb, array[10]))""",
    "complete and delete a parent":
        "select jobs_complete_many('me', '{20002}', '{1}', '{null}', false)",
    "fail a parent": "select jobs_fail(20004, 'e', retry => false)",
    "complete a child's parent, with no worker": "select jobs_complete(20006)",
    "enqueue a member": "select jobs_enqueue('t', batch_id => 20001)",
    "enqueue a child": "select jobs_enqueue('t', depends_on => '{1,20002}')",
    "enqueue ten members": """select jobs_enqueue_many((select jsonb_agg('{"job_type": "t",
        "batch_id": 20001}'::jsonb) from generate_series(1, 10)))""",
    "attach": """with loose as (insert into jobs_flow_edges values (3, 30002, false) returning 1)
        select from loose""",
    "count one end": """with noted as (
        insert into jobs_flow_changes (child_id, completed) values (20001, 1) returning 1)
        select from noted""",
    "retry a member": "select jobs_retry(2)",
    "retry a cancelled child": "select jobs_cancel(30010), jobs_retry(30010)",
    "cancel downstream": "select jobs_cancel(20008, downstream => true)",
    "delete ten": "select jobs_delete_many(job_ids => '{2,4,6,8,10,12,14,16,18,20}')",
    "parents": "select * from jobs_parents(30002)",
    "why": "select * from jobs_why(30005)",
}
MAX_ROWS = 100


async def prepare(conn):
    await conn.execute("alter table jobs set (autovacuum_enabled = false)")
    await conn.execute("set statement_timeout = '30 s'")


async def costs(conn):
    found = {}
    for name, query in CALLS.items():
        for _ in range(7):
            found[name] = await read(conn, query, TABLES)
        if name in ("attach", "count one end"):
            # What a worker does next, in a statement of its own.
            call = "attach" if name == "attach" else "resolve"
            for _ in range(7):
                transaction = conn.transaction()
                await transaction.start()
                await conn.execute(query)
                found[name] = await read(conn, f"select _jobs_flow_{call}(10)", TABLES)
                await transaction.rollback()
    return found


@pytest.mark.parametrize("situation", ["without statistics", "analysed", "generic plans"])
@pytest.mark.parametrize("is_served", [False, True])
async def test_no_statement_about_flows_reads_more_rows_than_it_needs(
    conn, start_worker, situation, is_served
):
    await prepare(conn)
    if is_served:
        await start_worker("w", queues=["elsewhere"])
    await conn.execute(FILL)
    if situation != "without statistics":
        await conn.execute("vacuum analyze")
    if situation == "generic plans":
        await conn.execute("set plan_cache_mode = force_generic_plan")
    found = await costs(conn)
    bad = {name: cost for name, cost in found.items() if cost[0] > 0 or cost[1] > MAX_ROWS}
    assert not bad, bad


async def test_no_statement_about_flows_reads_more_when_it_was_planned_on_empty_tables(
    conn, start_worker
):
    await prepare(conn)
    await start_worker("w", queues=["elsewhere"])
    await conn.execute("vacuum analyze")
    for query in (
        "select _jobs_flow_attach(10), _jobs_flow_resolve(10), _jobs_flow_tidy(10)",
        "select jobs_complete_many('me', '{1}', '{1}', '{1}')",
        "select jobs_enqueue('t')", "select jobs_recover()",
        "select _jobs_flow_ended('{1}'), _jobs_flow_reopened('{1}'), _jobs_flow_waiting('{1}')",
        "select _jobs_flow_deleted('{1}'), _jobs_is_needed(1), _jobs_flow_recount(1)",
    ):
        for _ in range(7):
            await read(conn, query, TABLES)
    await conn.execute("select setval('jobs_id_seq', 1, false)")
    await conn.execute(FILL)
    found = await costs(conn)
    bad = {name: cost for name, cost in found.items() if cost[0] > 0 or cost[1] > MAX_ROWS}
    assert not bad, bad


async def test_a_thousand_changes_of_one_job_hide_no_other(conn, start_worker):
    await start_worker("w", queues=["elsewhere"])
    await conn.execute(FILL)
    await conn.execute("insert into jobs_flow_changes (child_id, completed)"
                       " select 20001, 1 from generate_series(1, 1000)")
    await conn.execute("insert into jobs_flow_changes (child_id, failed, culprit)"
                       " values (30002, 1, 20002)")
    assert await conn.fetchval("select _jobs_flow_resolve(2)") == 2
    assert await conn.fetchval("select status from jobs where id = 30002") == "cancelled"
