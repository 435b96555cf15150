"""Random flows under sessions that claim, end, count and die at the same time."""

import asyncio
import json
import random
from contextlib import suppress
from datetime import timedelta

import asyncpg
import pytest

POLICIES = ("cancel", "run", "wait", "only")
JOBS = 60
# Others lock several jobs in an order of their own, so this waits for none of them.
END_LEASES = """
update jobs set lease_until = now() - interval '1 s'
where id = any (array(
    select id from jobs
    where status = 'processing' and started_at < clock_timestamp() - $1::interval
    for update skip locked))"""


async def claim_and_end(connect, rng, stop):
    """A worker that ends what it claims somehow, and is killed now and then."""
    name = f"w{rng.random()}"
    conn = await connect()
    while not stop.is_set():
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError):
            jobs = await conn.fetch(
                "select id, attempt from jobs_claim($1, max_jobs => $2)", name, rng.randint(1, 4))
            if not jobs:
                await asyncio.sleep(0.002)
                continue
            outcome = rng.random()
            ids, attempts = [j["id"] for j in jobs], [j["attempt"] for j in jobs]
            transaction = conn.transaction()
            await transaction.start()
            if outcome < 0.6:
                # keep => false: the row goes with its end, if no other job needs it.
                await conn.execute(
                    "select jobs_complete_many($1, $2, $3, $4, $5)", name, ids, attempts,
                    ["1"] * len(ids), rng.random() < 0.8)
            elif outcome < 0.8:
                for job_id in ids:
                    await conn.execute(
                        "select jobs_fail($1, 'e', retry => $2, retry_in => '0', worker => $3)",
                        job_id, rng.random() < 0.3, name)
            elif outcome < 0.9:
                for job_id in ids:
                    await conn.execute("select jobs_cancel($1, worker => $2)", job_id, name)
            else:
                await conn.execute(
                    "select jobs_release_many($1, $2, $3)", name, ids, attempts)
            await asyncio.sleep(rng.random() * 0.004)
            if rng.random() < 0.1:
                conn.terminate()  # before the commit: the jobs are lost, and recovered
                conn = await connect()
            else:
                await transaction.commit()


async def count(connect, rng, stop):
    conn = await connect()
    while not stop.is_set():
        transaction = conn.transaction()
        await transaction.start()
        if rng.random() < 0.5:
            await conn.execute("select _jobs_flow_attach($1)", rng.randint(1, 20))
        else:
            await conn.execute("select _jobs_flow_resolve($1)", rng.randint(1, 20))
        if rng.random() < 0.1:
            await asyncio.sleep(rng.random() * 0.01)
        if rng.random() < 0.1:
            await transaction.rollback()
        else:
            await transaction.commit()
        await asyncio.sleep(0.001)


async def manage(connect, rng, stop):
    """Somebody who retries, cancels and recovers."""
    conn = await connect()
    while not stop.is_set():
        job_id = rng.randint(1, JOBS)
        with suppress(asyncpg.PostgresError):
            await conn.execute(rng.choice([
                "select jobs_retry($1)", "select jobs_cancel($1)",
                "select jobs_cleanup('0', max_jobs => 1) where $1 > 0",
            ]) if rng.random() < 0.3 else "select 1 where $1 > 0", job_id)
        await conn.execute(END_LEASES, timedelta(seconds=0.2))
        await conn.execute("select jobs_recover()")
        await asyncio.sleep(0.005)


async def produce(connect, rng, number):
    """Adds jobs that depend on any jobs before, some within long transactions, some in batches."""
    conn = await connect()
    made = 0
    batch = None
    while made < number:
        transaction = conn.transaction()
        await transaction.start()
        batch_before = batch
        try:
            known = [r[0] for r in await conn.fetch("select id from jobs")]
            if batch is None and rng.random() < 0.3:
                batch = await conn.fetchval("select id from jobs_batch('callback')")
                made += 1
            elif batch is not None and rng.random() < 0.3:
                await conn.execute("select jobs_batch_close($1)", batch)
                batch = None
            jobs = []
            for place in range(rng.randint(1, 4)):
                parents = rng.sample(known, min(len(known), rng.choice([0, 0, 1, 2, 3])))
                if place and rng.random() < 0.5:
                    parents.append(f"r{rng.randrange(place)}")
                jobs.append({
                    "job_type": "t", "ref": f"r{place}", "depends_on": parents, "max_retries": 1,
                    "on_parent_failed": rng.choice(POLICIES), "batch_id": batch,
                })
            await conn.execute("select jobs_enqueue_many($1)", json.dumps(jobs))
            await asyncio.sleep(rng.random() * 0.01)
            await transaction.commit()
            made += len(jobs)
        except asyncpg.PostgresError as error:
            # A batch that has ended meanwhile, a parent that is gone, or a circle.
            assert error.sqlstate in ("JQ001", "JQ002", "JQ003"), error
            await transaction.rollback()
            batch = None if error.sqlstate == "JQ002" and batch == batch_before else batch_before
    if batch is not None:
        await conn.execute("select jobs_batch_close($1)", batch)


async def end_all(conn):
    """Returns once nothing is pending, processing or to be counted, as far as can be seen.

    What is counted comes last: a job may end between two looks, and its children start after that.
    """
    while (
        await conn.fetchval("select count(*) from jobs where status in ('pending', 'processing')")
        or await conn.fetchval("select _jobs_flow_attach(1000)")
        or await conn.fetchval("select _jobs_flow_resolve(1000)") > 0
    ):
        await conn.execute(END_LEASES, timedelta(seconds=1))
        await conn.execute("select jobs_recover()")
        await asyncio.sleep(0.01)


WATCH_STARTS = """
create table starts (job_id bigint, parents_ended boolean);
create function note_start() returns trigger language plpgsql as $$
begin
    -- Only the first start: a retry by hand may run beside a parent that was retried too.
    if new.status = 'processing' and old.status = 'pending' and new.attempt = 1 then
        insert into starts
        select new.id, not exists (
            select from jobs_flow_edges e join jobs p on p.id = e.parent_id
            where e.child_id = new.id and p.finished_at is null
                and p.attempt <= 1 and p.retry_count = 0);
    end if;
    return null;
end $$;
create trigger note_start after update on jobs for each row execute function note_start();
"""


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("is_managed", [False, True])
async def test_each_child_starts_once_after_its_parents_and_none_is_stranded(
    conn, connect, seed, is_managed
):
    rng = random.Random(seed)
    await conn.execute(WATCH_STARTS)
    keeper = await connect()
    if seed % 3:
        # Ends are counted by others. Without a worker of pgjobs, each end counts itself.
        await keeper.execute("select jobs_worker_start('keeper', '{elsewhere}', '{x}', 1, '0')")
    stop = asyncio.Event()
    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(claim_and_end(connect, random.Random(seed * 10 + number), stop))
        for number in range(2):
            group.create_task(count(connect, random.Random(seed * 20 + number), stop))
        if is_managed:
            group.create_task(manage(connect, rng, stop))
        producers = [
            asyncio.create_task(produce(connect, random.Random(seed * 30 + number), JOBS // 2))
            for number in range(2)
        ]
        await asyncio.gather(*producers)
        await end_all(conn)
        stop.set()
    # Those who counted may have held a lock or given up at the end.
    async with asyncio.TaskGroup() as group:
        stop.clear()
        worker = group.create_task(claim_and_end(connect, rng, stop))
        await end_all(conn)
        stop.set()
        await worker
    await end_all(conn)
    left = await conn.fetch("""
        select c.id, f.on_parent_failed, c.depends_on_left, f.is_open,
            array_agg(coalesce(p.status, 'gone') order by e.parent_id) as parents
        from jobs c join jobs_flows f on f.job_id = c.id
        left join jobs_flow_edges e on e.child_id = c.id
        left join jobs p on p.id = e.parent_id
        where c.status = 'blocked'
        group by c.id, f.job_id""")
    # Who waits still waits for a parent that failed, or for one that waits so.
    for child in left:
        told = dict(child), await conn.fetch(
            "select * from jobs_flows f left join jobs_flow_edges e on e.child_id = f.job_id"
            " left join jobs_flow_changes c on c.child_id = f.job_id where f.job_id = $1",
            child["id"])
        assert not child["is_open"], told
        assert {"failed", "cancelled", "blocked", "gone"} & set(child["parents"]), told
        assert child["on_parent_failed"] == "wait" or "blocked" in child["parents"], told
    if not is_managed:
        # A retry by hand starts a parent again beside its child.
        assert await conn.fetch("select job_id from starts where not parents_ended") == []
        assert await conn.fetch(
            "select job_id from starts group by job_id having count(*) > 1") == []
        wrong = await conn.fetch("""
            select f.job_id, f.parents, f.completed, f.failed, f.cancelled,
                array_agg(p.status order by p.id) as statuses
            from jobs_flows f join jobs c on c.id = f.job_id and c.status = 'blocked'
            left join jobs_flow_edges e on e.child_id = f.job_id
            left join jobs p on p.id = e.parent_id
            group by f.job_id
            -- The edge to a parent that was completed and deleted at once is gone.
            having (f.parents, f.completed, f.failed, f.cancelled) is distinct from (
                f.parents, count(*) filter (where p.status = 'completed')
                    + f.parents - count(e.parent_id),
                count(*) filter (where p.status = 'failed'),
                count(*) filter (where p.status = 'cancelled' or p.id is null
                                 and e.parent_id is not null))""")
        assert wrong == []
