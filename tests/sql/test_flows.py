"""Jobs that wait for other jobs: each starts once, after its parents, as on_parent_failed says."""

import asyncio
import json

import asyncpg
import pytest


async def count_flows(conn):
    """What a worker does between two flushes."""
    while True:
        attached = await conn.fetchval("select _jobs_flow_attach(1000)")
        counted = await conn.fetchval("select _jobs_flow_resolve(1000)")
        if attached <= 0 and counted <= 0:
            return


@pytest.fixture
async def worker(connect):
    """A living worker, so that ends are counted by count_flows and not by the caller's session."""
    session = await connect()
    await session.execute("select jobs_worker_start('w', '{elsewhere}', '{x}', 1, '0')")
    return session


@pytest.fixture
def add(conn):
    async def enqueue(*parents, **options):
        names = ", ".join(f"{name} => ${place}" for place, name in enumerate(options, 2))
        return await conn.fetchval(
            f"select id from jobs_enqueue('t', depends_on => $1{', ' + names if names else ''})",
            list(parents), *options.values(),
        )

    return enqueue


@pytest.fixture
def status(conn):
    async def read(*job_ids):
        found = dict(await conn.fetch(
            "select id, status from jobs where id = any ($1)", list(job_ids)))
        return [found.get(job_id) for job_id in job_ids]

    return read


async def run(conn, job_id, outcome="completed"):
    await conn.execute("select jobs_claim('me', max_jobs => 1000)")
    if outcome == "completed":
        await conn.execute("select jobs_complete($1, $2)", job_id, json.dumps({"of": job_id}))
    elif outcome == "failed":
        await conn.execute("select jobs_fail($1, 'broken', retry => false)", job_id)
    else:
        await conn.execute("select jobs_cancel($1, worker => 'me')", job_id)


async def test_a_child_waits_for_all_its_parents(conn, add, status, worker):
    first, second = await add(), await add()
    child = await add(first, second)
    assert await status(child) == ["blocked"]
    assert await conn.fetchval("select depends_on_left from jobs where id = $1", child) == 2
    await count_flows(conn)
    await run(conn, first)
    await count_flows(conn)
    assert await status(child) == ["blocked"]
    assert await conn.fetchval("select depends_on_left from jobs where id = $1", child) == 1
    await run(conn, second)
    await count_flows(conn)
    assert await status(child) == ["pending"]
    assert await conn.fetchval("select depends_on_left from jobs where id = $1", child) == 0


async def test_without_a_worker_of_pgjobs_the_end_itself_lets_the_child_go(conn, add, status):
    parent = await add()
    child = await add(parent)
    await run(conn, parent)
    assert await status(child) == ["pending"]


@pytest.mark.parametrize(("policy", "outcome", "becomes"), [
    ("cancel", "completed", "pending"), ("cancel", "failed", "cancelled"),
    ("cancel", "cancelled", "cancelled"), ("run", "completed", "pending"),
    ("run", "failed", "pending"), ("run", "cancelled", "pending"), ("wait", "completed", "pending"),
    ("wait", "failed", "blocked"), ("wait", "cancelled", "blocked"),
    ("only", "completed", "cancelled"), ("only", "failed", "pending"),
    ("only", "cancelled", "pending"),
])
async def test_on_parent_failed_decides_what_becomes_of_the_child(
    conn, add, status, worker, policy, outcome, becomes
):
    parent = await add()
    child = await add(parent, on_parent_failed=policy)
    await count_flows(conn)
    await run(conn, parent, outcome)
    await count_flows(conn)
    assert await status(child) == [becomes]


async def test_a_cancelled_child_names_the_parent(conn, add, worker):
    parent = await add()
    child = await add(parent)
    grandchild = await add(child)
    await run(conn, parent, "failed")
    await count_flows(conn)
    errors = await conn.fetch("select status, error from jobs where id > $1 order by id", parent)
    assert errors == [
        ("cancelled", f"its parent, job {parent}, failed"),
        ("cancelled", f"its parent, job {child}, was cancelled"),
    ]
    assert grandchild > child


async def test_a_long_chain_is_cancelled_in_few_calls(conn, status, worker):
    chain = [{"job_type": "t", "ref": "0"}] + [
        {"job_type": "t", "ref": f"{n}", "depends_on": [f"{n - 1}"]} for n in range(1, 300)
    ]
    ids = [r[0] for r in await conn.fetch("select jobs_enqueue_many($1)", json.dumps(chain))]
    await conn.execute("select jobs_cancel($1)", ids[0])
    calls = 0
    while await conn.fetchval("select _jobs_flow_resolve(1000)") > 0:
        calls += 1
    assert set(await status(*ids)) == {"cancelled"}
    assert calls < 30, "not one for each job"


async def test_a_parent_that_ended_before_the_child_was_added_counts(conn, add, status, worker):
    done, failed = await add(), await add()
    await run(conn, done)
    await run(conn, failed, "failed")
    child, given_up = await add(done), await add(done, failed)
    await count_flows(conn)
    assert await status(child, given_up) == ["pending", "cancelled"]


async def test_a_parent_that_is_retried_first_counts_again(conn, add, status, worker):
    parent, other = await add(), await add()
    child = await add(parent, other, on_parent_failed="wait")
    await count_flows(conn)
    await run(conn, parent, "failed")
    await count_flows(conn)
    await conn.execute("select jobs_retry($1)", parent)
    await run(conn, other)
    await count_flows(conn)
    assert await status(child) == ["blocked"]
    await run(conn, parent)
    await count_flows(conn)
    assert await status(child) == ["pending"]


async def test_a_retry_of_the_parent_before_the_count_spares_the_child(conn, add, status, worker):
    parent = await add()
    child = await add(parent)
    await count_flows(conn)
    await run(conn, parent, "failed")
    await conn.execute("select jobs_retry($1)", parent)
    await count_flows(conn)
    assert await status(child) == ["blocked"]
    await run(conn, parent)
    await count_flows(conn)
    assert await status(child) == ["pending"]


async def test_a_retried_child_waits_again_for_parents_that_have_not_ended(
    conn, add, status, worker
):
    parent = await add()
    child = await add(parent)
    await conn.execute("select jobs_cancel($1)", child)
    await conn.execute("select jobs_retry($1)", child)
    assert await status(child) == ["blocked"]
    await count_flows(conn)
    await run(conn, parent)
    await count_flows(conn)
    assert await status(child) == ["pending"]
    await run(conn, child)
    await conn.execute("select jobs_retry($1)", child)
    assert await status(child) == ["pending"]


@pytest.mark.parametrize("end", ["recover", "expire", "cancel", "cancel_many", "release"])
async def test_each_way_to_end_counts(conn, add, job, status, worker, end):
    parent = await add()
    child = await add(parent, on_parent_failed="run")
    await count_flows(conn)
    if end in ("recover", "release"):
        await conn.execute("select jobs_claim('me', max_jobs => 1000)")
        await conn.execute("select jobs_cancel($1)", parent)
    if end == "recover":
        await conn.execute("update jobs set lease_until = now() - interval '1 minute'"
                           " where id = $1", parent)
        await conn.execute("select jobs_recover()")
    elif end == "release":
        await conn.execute("select jobs_release_many('me', array[$1::bigint], '{1}')", parent)
    elif end == "expire":
        await conn.execute("update jobs set expires_at = now() where id = $1", parent)
        await conn.execute("select _jobs_expire(10)")
    elif end == "cancel":
        await conn.execute("select jobs_cancel($1)", parent)
    else:
        await conn.execute("select jobs_cancel_many(job_ids => array[$1::bigint])", parent)
    assert await status(parent) == ["cancelled"]
    await count_flows(conn)
    assert await status(child) == ["pending"]


async def test_refs_name_jobs_of_the_same_call(conn, status, worker):
    jobs = [
        {"job_type": "fetch", "ref": "f"},
        {"job_type": "parse", "ref": "a", "depends_on": ["f"]},
        {"job_type": "parse", "ref": "b", "depends_on": ["f"]},
        {"job_type": "report", "depends_on": ["a", "b"]},
    ]
    fetch, a, b, report = [r[0] for r in await conn.fetch(
        "select jobs_enqueue_many($1)", json.dumps(jobs))]
    assert await status(fetch, a, b, report) == ["pending", "blocked", "blocked", "blocked"]
    for job_ids in ([fetch], [a, b]):
        for job_id in job_ids:
            assert (await status(job_id))[0] in ("pending", "processing")
            await run(conn, job_id)
        await count_flows(conn)
    assert await status(report) == ["pending"]
    parents = await conn.fetch("select job_id, job_type, status, result from jobs_parents($1)",
                               report)
    assert parents == [(a, "parse", "completed", f'{{"of": {a}}}'),
                       (b, "parse", "completed", f'{{"of": {b}}}')]


async def test_refs_and_keys_in_one_call(conn, status, worker):
    jobs = [
        {"job_type": "t", "ref": "f", "unique_key": "k"},
        {"job_type": "t", "depends_on": ["f"], "unique_key": "l"},
    ]
    first, second = [r[0] for r in await conn.fetch(
        "select jobs_enqueue_many($1)", json.dumps(jobs))]
    assert await status(first, second) == ["pending", "blocked"]
    again = [r[0] for r in await conn.fetch("select jobs_enqueue_many($1)", json.dumps(jobs))]
    assert again == [first, second]
    await count_flows(conn)
    await run(conn, first)
    await count_flows(conn)
    assert await status(second) == ["pending"]


@pytest.mark.parametrize(("jobs", "says"), [
    ([{"job_type": "t", "depends_on": ["x"]}], r"jobs\[0\]: depends_on names the ref x"),
    ([{"job_type": "t", "depends_on": ["b"]}, {"job_type": "t", "ref": "b"}],
     r"jobs\[0\]: depends_on names the ref b"),
    ([{"job_type": "t", "ref": "b"}, {"job_type": "t", "ref": "b"}],
     r"jobs\[1\]: an object before has the ref b"),
    ([{"job_type": "t", "ref": ""}, {"job_type": "t"}], r"jobs\[0\]: ref must have 1 to 512"),
    ([{"job_type": "t"}, {"job_type": "t", "on_parent_failed": "stop"}],
     r"jobs\[1\]: on_parent_failed must be cancel, run, wait or only, not stop"),
    ([{"job_type": "t"}, {"job_type": "t", "depends_on": 3}],
     r"jobs\[1\]: depends_on must be a plain list"),
    ([{"job_type": "t"}, {"job_type": "t", "depends_on": [1.5]}], r"jobs\[1\]: .*bigint"),
    ([{"job_type": "t"}, {"job_type": "t", "depends_on": [None]}], r"jobs\[1\]: .*null"),
])
async def test_what_is_wrong_in_a_call_is_named_and_nothing_is_added(conn, jobs, says):
    with pytest.raises(asyncpg.PostgresError, match=says) as raised:
        await conn.execute("select jobs_enqueue_many($1)", json.dumps(jobs))
    assert raised.value.sqlstate == "JQ003"
    assert await conn.fetchval("select count(*) from jobs") == 0


async def test_a_parent_that_does_not_exist_is_named(conn, add):
    with pytest.raises(asyncpg.PostgresError, match="no job 77, which depends_on names") as raised:
        await add(77)
    assert raised.value.sqlstate == "JQ001"


async def test_a_producers_open_transaction_locks_no_parent(conn, add, connect, status, worker):
    parent = await add()
    await conn.execute("select jobs_claim('me')")
    producer = await connect()
    transaction = producer.transaction()
    await transaction.start()
    child = await producer.fetchval(
        "select id from jobs_enqueue('t', depends_on => array[$1::bigint])", parent)
    async with asyncio.timeout(5):
        await conn.execute("select jobs_complete($1)", parent)
    await count_flows(conn)
    await transaction.commit()
    assert await status(child) == ["blocked"]
    await count_flows(conn)
    assert await status(child) == ["pending"]


async def test_a_parent_that_ends_while_its_edge_is_attached_counts_once(
    conn, add, connect, blocked, status, worker
):
    parent = await add()
    await conn.execute("select jobs_claim('me')")
    child = await add(parent)
    # The attaching session has the parent's lock. The end waits for that session's commit.
    attaching, ending = await connect(), await connect()
    transaction = attaching.transaction()
    await transaction.start()
    assert await attaching.fetchval("select _jobs_flow_attach(10)") == 1
    end = asyncio.create_task(ending.fetch(
        "select jobs_complete_many('me', array[$1::bigint], '{1}', '{null}')", parent))
    await blocked(ending)
    await transaction.commit()
    await end
    await count_flows(conn)
    assert await status(child) == ["pending"]
    assert await conn.fetch("select parents, completed from jobs_flows") == [(1, 1)]


@pytest.mark.parametrize("end", [
    "jobs_complete($1)", "jobs_complete_many('me', array[$1::bigint], '{1}', '{null}')",
    "jobs_complete_many('me', array[$1::bigint], '{1}', '{null}', false)",
    "jobs_fail($1, 'e', retry => false)", "jobs_cancel($1, worker => 'me')",
    "jobs_fail_many('me', array[$1::bigint], '{1}', '{e}', '{false}', '{null}')",
])
async def test_an_end_that_waits_for_the_row_counts_for_children_that_came_meanwhile(
    conn, add, connect, blocked, status, worker, end
):
    parent = await add()
    await conn.execute("select jobs_claim('me')")
    holding, ending = await connect(), await connect()
    transaction = holding.transaction()
    await transaction.start()
    await holding.execute("select from jobs where id = $1 for share", parent)
    task = asyncio.create_task(ending.fetch(f"select {end}", parent))
    await blocked(ending)
    child = await add(parent, on_parent_failed="run")
    # This lock goes beside the other one, so the edge is attached before the end.
    assert await conn.fetchval("select _jobs_flow_attach(10)") == 1
    await transaction.commit()
    await task
    await count_flows(conn)
    assert await status(child) == ["pending"]


async def test_an_edge_whose_parent_is_ending_is_attached_after_that(
    conn, add, connect, status, worker
):
    parent = await add()
    await conn.execute("select jobs_claim('me')")
    child = await add(parent)
    ending = await connect()
    transaction = ending.transaction()
    await transaction.start()
    await ending.execute("select jobs_complete($1)", parent)
    async with asyncio.timeout(5):
        assert await conn.fetchval("select _jobs_flow_attach(10)") == 0
    await transaction.commit()
    await count_flows(conn)
    assert await status(child) == ["pending"]
    assert await conn.fetch("select parents, completed from jobs_flows") == [(1, 1)]


async def test_two_sessions_count_each_end_once(conn, add, connect, status, worker):
    parents = [await add() for _ in range(6)]
    child = await add(*parents)
    await count_flows(conn)
    await conn.execute("select jobs_claim('me', max_jobs => 10)")
    for parent in parents[:5]:
        await conn.execute("select jobs_complete($1)", parent)
    first, second = await connect(), await connect()
    transaction = first.transaction()
    await transaction.start()
    assert await first.fetchval("select _jobs_flow_resolve(10)") == 1
    async with asyncio.timeout(5):
        assert await second.fetchval("select _jobs_flow_resolve(10)") == 0
    await transaction.commit()
    await conn.execute("select jobs_complete($1)", parents[5])
    await count_flows(second)
    assert await status(child) == ["pending"]
    assert await conn.fetch("select parents, completed from jobs_flows") == [(6, 6)]


async def test_cancel_downstream_ends_all_that_waits_whatever_on_parent_failed_says(
    conn, add, status, worker
):
    parent = await add()
    child = await add(parent, on_parent_failed="run")
    grandchild = await add(child, on_parent_failed="wait")
    other = await add()
    await conn.execute("select jobs_cancel($1, 'wrong order', downstream => true)", parent)
    assert await status(parent, child, grandchild, other) == [
        "cancelled", "cancelled", "cancelled", "pending"]
    assert await conn.fetchval("select error from jobs where id = $1", grandchild) == "wrong order"
    await count_flows(conn)


async def test_cleanup_leaves_the_parents_of_a_job_that_has_not_ended(conn, add, status, worker):
    parent, other = await add(), await add()
    child = await add(parent, other)
    await count_flows(conn)
    await run(conn, parent)
    assert await conn.fetchval("select jobs_cleanup('0')") == 0
    assert await conn.fetchval("select jobs_delete_many(job_ids => array[$1::bigint])", parent) == 0
    await run(conn, other)
    await count_flows(conn)
    assert await conn.fetchval("select jobs_cleanup('0')") == 0
    await run(conn, child)
    assert await conn.fetchval("select jobs_cleanup('0')") == 3
    for table in ("jobs_flows", "jobs_flow_edges", "jobs_flow_changes"):
        assert await conn.fetchval(f"select count(*) from {table}") == 0


async def test_parents_completed_by_a_worker_that_deletes_stay_until_the_child_has_ended(
    conn, add, status, worker
):
    parent, alone = await add(), await add()
    child = await add(parent)
    await count_flows(conn)
    await conn.execute("select jobs_claim('me', max_jobs => 10)")
    delete = "select jobs_complete_many('me', $1, '{1,1}', '{null,null}', false)"
    await conn.execute(delete, [parent, alone])
    await count_flows(conn)
    assert await status(parent, alone, child) == ["completed", None, "pending"]
    await conn.execute("select jobs_claim('me', max_jobs => 10)")
    await conn.fetchval("select _jobs_flow_tidy(10)")
    assert await status(parent) == ["completed"]
    await conn.execute("select jobs_fail($1, 'e', retry => false)", child)
    await conn.fetchval("select _jobs_flow_tidy(10)")
    assert await status(parent, child) == [None, "failed"]


async def test_a_child_committed_while_its_parent_is_completed_and_deleted_is_let_go(
    conn, add, connect, blocked, status, worker
):
    parent = await add()
    await conn.execute("select jobs_claim('me')")
    holding, ending = await connect(), await connect()
    transaction = holding.transaction()
    await transaction.start()
    # The end has looked for children already when it waits for this lock.
    await holding.execute("select from jobs where id = $1 for update", parent)
    end = asyncio.create_task(ending.fetch(
        "select _jobs_complete_uncounted('me', array[$1::bigint], '{1}', '{null}', false)", parent))
    await blocked(ending)
    child = await add(parent)
    await transaction.commit()
    await end
    await count_flows(conn)
    assert await status(parent, child) == [None, "pending"]


async def test_an_hour_later_rows_changed_by_hand_are_counted_anew(conn, add, status, worker):
    parent, gone = await add(), await add()
    child = await add(parent, gone, on_parent_failed="run")
    await count_flows(conn)
    await conn.execute("delete from jobs where id = $1", gone)
    await run(conn, parent)
    await count_flows(conn)
    assert await status(child) == ["blocked"]
    await conn.execute("update jobs_flows set counted_at = counted_at - interval '61 minutes'")
    await conn.execute("select _jobs_flow_tidy(10)")
    await count_flows(conn)
    assert await status(child) == ["pending"]


async def test_what_is_counted_anew_is_not_counted_twice(conn, add, worker):
    parents = [await add() for _ in range(4)]
    await add(*parents)
    await count_flows(conn)
    await run(conn, parents[0])
    await run(conn, parents[1])
    await conn.execute("update jobs_flows set counted_at = counted_at - interval '61 minutes'")
    await conn.execute("select _jobs_flow_tidy(10)")
    assert await conn.fetch("select parents, completed from jobs_flows") == [(4, 2)]
    assert await conn.fetchval("select sum(completed) from jobs_flow_changes") == 0
    await count_flows(conn)
    assert await conn.fetch("select parents, completed from jobs_flows") == [(4, 2)]


async def test_parents_kept_for_a_child_go_when_the_child_is_completed_and_deleted(
    conn, add, status, worker
):
    parents = [await add() for _ in range(2)]
    child = await add(*parents)
    await count_flows(conn)
    for job_ids in (parents, [child]):
        await conn.execute("select jobs_claim('me', max_jobs => 10)")
        await conn.execute(
            "select jobs_complete_many('me', $1, $2, $3, false)", job_ids, [1] * len(job_ids),
            [None] * len(job_ids))
        await count_flows(conn)
    assert await status(*parents, child) == ["completed", "completed", None]
    holder = await conn.fetchval("select count(*) from jobs_flows")
    assert holder == 1
    await conn.execute("select _jobs_flow_tidy(10)")
    await conn.execute("select _jobs_flow_tidy(10)")
    for table in ("jobs", "jobs_flows", "jobs_flow_edges"):
        assert await conn.fetchval(f"select count(*) from {table}") == 0


async def test_a_kept_parent_that_is_locked_for_a_moment_goes_later(
    conn, add, connect, status, worker
):
    parent = await add()
    child = await add(parent)
    await count_flows(conn)
    await conn.execute("select jobs_claim('me')")
    await conn.execute("select jobs_complete_many('me', array[$1::bigint], '{1}', '{null}', false)",
                       parent)
    await conn.execute("select jobs_cancel($1)", child)
    await count_flows(conn)
    holding = await connect()
    async with holding.transaction():
        await holding.execute("select from jobs where id = $1 for share", parent)
        await conn.execute("select _jobs_flow_tidy(10)")
        assert await status(parent) == ["completed"]
    await conn.execute("select _jobs_flow_tidy(10)")
    assert await status(parent) == [None]


async def test_a_retried_child_does_not_count_parents_that_were_cleaned_up(
    conn, add, status, worker
):
    done, failed = await add(max_retries=0), await add(max_retries=0)
    child = await add(done, failed)
    await count_flows(conn)
    await run(conn, done)
    await run(conn, failed, "failed")
    await count_flows(conn)
    assert await status(child) == ["cancelled"]
    assert await conn.fetchval("select jobs_cleanup('0')") == 1
    await conn.execute("select jobs_retry($1)", failed)
    await conn.execute("select jobs_retry($1)", child)
    await count_flows(conn)
    assert await status(child) == ["blocked"]
    await run(conn, failed)
    await count_flows(conn)
    assert await status(child) == ["pending"]


async def test_many_edges_to_a_locked_parent_hide_no_other(conn, connect, status, worker, add):
    locked, other = await add(), await add()
    jobs = [{"job_type": "t", "depends_on": [locked]}] * 30 + [
        {"job_type": "t", "depends_on": [other]}]
    ids = [r[0] for r in await conn.fetch("select jobs_enqueue_many($1)", json.dumps(jobs))]
    await run(conn, other)
    holding = await connect()
    async with holding.transaction():
        await holding.execute("select from jobs where id = $1 for update", locked)
        for _ in range(3):
            await conn.execute("select _jobs_flow_attach(10)")
            await conn.execute("select _jobs_flow_resolve(10)")
        assert await status(ids[0], ids[-1]) == ["blocked", "pending"]


async def test_many_locked_children_hide_no_other(conn, connect, status, worker, add):
    parent, other = await add(), await add()
    children = [await add(parent) for _ in range(30)]
    last = await add(other)
    await count_flows(conn)
    holding = await connect()
    async with holding.transaction():
        await holding.execute("select from jobs where id = any ($1) for update", children)
        await run(conn, parent)
        await run(conn, other)
        await conn.execute("select _jobs_flow_resolve(10)")
        assert await status(children[0], last) == ["blocked", "pending"]


async def test_two_cancels_downstream_do_not_deadlock(conn, connect, add, blocked, worker):
    first = await add()
    batch = await conn.fetchval("select id from jobs_batch('t')")
    member = await conn.fetchval(
        "select id from jobs_enqueue('t', depends_on => array[$1::bigint], batch_id => $2)",
        first, batch)
    holding, one, two = await connect(), await connect(), await connect()
    transaction = holding.transaction()
    await transaction.start()
    await holding.execute("select from jobs where id = $1 for update", member)
    tasks = []
    for session, job_id in ((one, member), (two, first)):
        tasks.append(asyncio.create_task(
            session.fetch("select jobs_cancel($1, downstream => true)", job_id)))
        await blocked(session)
    await transaction.commit()
    for task in tasks:
        await task


async def test_without_a_worker_enqueueing_locks_no_parent(conn, add, connect):
    parent = await add()
    await conn.execute("select jobs_claim('me')")
    producer = await connect()
    async with producer.transaction():
        await producer.execute("select jobs_enqueue('t', depends_on => array[$1::bigint])", parent)
        async with asyncio.timeout(5):
            await conn.execute("select jobs_complete($1)", parent)


async def test_counts_that_are_wrong_never_start_a_child_early(conn, add, status, worker):
    parent, other = await add(), await add()
    child = await add(parent, other)
    await count_flows(conn)
    await conn.execute("insert into jobs_flow_changes (child_id, completed) values ($1, 5)", child)
    await count_flows(conn)
    assert await status(child) == ["blocked"]
    await run(conn, parent)
    await count_flows(conn)
    assert await status(child) == ["blocked"]
    await run(conn, other)
    await count_flows(conn)
    assert await status(child) == ["pending"]
