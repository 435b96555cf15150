"""Workers let go the jobs that wait for others, long before their next tick."""

import asyncio

import pytest

from pgjobs.database import Database
from pgjobs.worker.flows import Flows

WITHIN_S = 5  # a tick comes after 10 s


@pytest.fixture
def add(conn):
    async def enqueue(*parents):
        return await conn.fetchval(
            "select id from jobs_enqueue('t', depends_on => $1)", list(parents))

    return enqueue


@pytest.fixture
def done(conn):
    async def is_done(*job_ids):
        return await conn.fetchval(
            "select bool_and(status = 'completed') from jobs where id = any ($1)", list(job_ids))

    return is_done


async def test_a_chain_of_jobs_runs_to_its_end(app, working, add, done, eventually):
    @app.job("t")
    async def handle(job):
        pass

    async with working():
        chain = [await add()]
        for _ in range(9):
            chain.append(await add(chain[-1]))
        await eventually(lambda: done(*chain), WITHIN_S)


async def test_a_worker_that_was_not_picked_counts_a_little_later(
    app, working, conn, add, done, eventually
):
    @app.job("t")
    async def handle(job):
        pass

    # The first by name is picked, and does nothing: its session listens to nobody.
    await conn.execute("select jobs_worker_start('0', '{elsewhere}', '{x}', 1, '0')")
    async with working():
        parent = await add()
        child = await add(parent)
        await eventually(lambda: done(child), WITHIN_S)


async def test_a_child_that_was_added_while_its_parent_was_ending_is_let_go(
    app, working, conn, add, done, eventually, connect
):
    @app.job("t")
    async def handle(job):
        pass

    parent = await conn.fetchval("select id from jobs_enqueue('other')")
    async with working():
        ending = await connect()
        async with ending.transaction():
            await ending.execute("select jobs_start($1, 'me'), jobs_complete($1)", parent)
            child = await add(parent)
            await asyncio.sleep(0.2)  # the worker has heard of the child, and counted
        await eventually(lambda: done(child), WITHIN_S)


async def test_a_count_that_the_server_refuses_is_made_again(
    app, working, conn, add, done, eventually, caplog
):
    @app.job("t")
    async def handle(job):
        pass

    async with working():
        await conn.execute("alter function _jobs_flow_attach rename to attach_edges")
        await conn.execute("create sequence calls")
        await conn.execute("""
            create function _jobs_flow_attach(max_edges int) returns bigint language plpgsql as $$
            begin
                if nextval('public.calls') <= 3 then
                    raise lock_not_available;
                end if;
                return public.attach_edges(max_edges);
            end $$""")
        parent = await add()
        child = await add(parent)
        await eventually(lambda: done(child), WITHIN_S)
        assert "flows: the server refused" in caplog.text


async def test_a_worker_until_empty_runs_what_others_let_go_after_its_last_claim(
    app, conn, add, done, monkeypatch
):
    @app.job("t")
    async def handle(job):
        pass

    original = Database.flow_pending

    async def counted_by_another(self):
        await conn.execute("select _jobs_flow_attach(10)")
        await conn.execute("select _jobs_flow_resolve(10)")
        return await original(self)

    monkeypatch.setattr(Database, "flow_pending", counted_by_another)
    monkeypatch.setattr(Flows, "hear", lambda self, *, is_picked: None)
    parent = await add()
    child = await add(parent)
    await app.worker().run(until_empty=True)
    assert await done(parent, child)
