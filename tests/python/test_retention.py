"""Retention: what code declares, and what workers delete."""

import asyncio
import logging
from datetime import timedelta

import asyncpg
import pytest

from pgjobs import App, InvalidArgument, JobStatus
from pgjobs.database import Database
from pgjobs.worker import retention

DAY = timedelta(days=1)
OLD = """insert into jobs (job_type, status, finished_at)
    select 't', 'completed', clock_timestamp() - interval '8 days' from generate_series(1, $1)"""


@pytest.fixture
def left(conn):
    """How many completed jobs are left."""

    async def count():
        return await conn.fetchval("select count(*) from jobs where status = 'completed'")

    return count


def emptied(left):
    async def is_empty() -> bool:
        return await left() == 0

    return is_empty


def test_rules_are_declared_by_status_and_type():
    app = App()
    app.retain("completed", 7 * DAY)
    app.retain(JobStatus.FAILED, 30 * DAY, job_type="mail")
    assert {name: rule.arguments for name, rule in app.retention.items()} == {
        "completed": {"status": "completed", "keep_for": "604800.000000 s"},
        "failed of mail":
            {"status": "failed", "keep_for": "2592000.000000 s", "job_type": "mail"},
    }


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("pending", DAY), "status must be completed, failed or cancelled, not 'pending'"),
        ((None, DAY), "status must be a string"),
        (("failed", 7), "keep_for must be a timedelta"),
        (("failed", -DAY), "keep_for must be a timedelta of 0 or more"),
        (("failed", DAY, ""), "job_type must be a job type"),
        (("completed", DAY), "retention of completed is declared already"),
    ],
)
def test_what_is_wrong_is_refused_at_import(arguments, why):
    app = App()
    app.retain("completed", DAY)
    status, keep_for, *job_type = arguments
    with pytest.raises(InvalidArgument, match=why):
        app.retain(status, keep_for, job_type=job_type[0] if job_type else None)


async def test_a_worker_writes_what_code_declares_and_deletes_in_batches(
    app, conn, working, eventually, quick, left, monkeypatch
):
    monkeypatch.setattr(retention, "DELETE_AGAIN_AFTER_S", 0)
    await conn.execute(OLD, 2_500)
    young = await app.enqueue("t")
    app.retain("completed", 7 * DAY)
    async with working():
        await eventually(lambda: quick.began)

        async def only_the_young_one_is_left() -> bool:
            return bool(await left() == 1)

        await eventually(only_the_young_one_is_left)
    assert await app.get(young.id)
    row = await conn.fetchrow("select * from jobs_retention")
    assert (row["status"], row["keep_for"]) == ("completed", 7 * DAY)


async def test_an_operators_rule_survives_a_restart(app, conn, quick):
    app.retain("completed", 7 * DAY)
    await app.worker().run(until_empty=True)
    await conn.execute("select jobs_retain('completed', '1 day')")
    await app.worker().run(until_empty=True)
    assert await conn.fetchval("select keep_for from jobs_retention") == DAY


async def test_an_older_version_that_restarts_warns_and_names_both(
    app, pgjobs_dsn, quick, caplog
):
    app.retain("completed", 7 * DAY)
    newer = App(dsn=pgjobs_dsn)
    newer.job("t")(quick)
    newer.retain("completed", 30 * DAY)
    await app.worker().run(until_empty=True)
    await newer.worker().run(until_empty=True)
    caplog.clear()
    await app.worker().run(until_empty=True)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "retention of completed stays as other code declared it on 2" in warning
    assert "keep_for 2592000" in warning
    assert "keep_for 604800" in warning


async def test_without_a_rule_a_worker_says_so_once_and_sends_no_further_statement(
    app, conn, working, eventually, quick, caplog, monkeypatch, left
):
    async def enforce(self, max_jobs=None):
        raise AssertionError("there is no rule")

    monkeypatch.setattr(Database, "retention_enforce", enforce)
    caplog.set_level(logging.INFO, "pgjobs.retention")

    def said():
        return [r.getMessage() for r in caplog.records if r.name == "pgjobs.retention"]

    await conn.execute(OLD, 3)
    async with working() as worker:
        await eventually(said)
        worker._listener._next_full_tick = 0.0
        worker._listener._changed.set()
        await eventually(lambda: worker._listener._next_full_tick > 0.0)
    (line,) = said()
    assert "so workers delete none" in line
    assert "app.retain(...) or pgjobs retain set completed 7d" in line
    assert await left() == 3


async def test_with_a_rule_the_line_is_not_logged(app, conn, working, quick, caplog, left,
                                                  eventually):
    await conn.execute("select jobs_retain('completed', '7 days')")
    await conn.execute(OLD, 3)
    caplog.set_level(logging.INFO, "pgjobs.retention")
    async with working():
        await eventually(emptied(left))
    assert [r for r in caplog.records if r.name == "pgjobs.retention"] == []


async def test_of_two_workers_one_deletes_at_a_time_and_both_go_on(
    app, conn, other, working, eventually, quick, left, monkeypatch
):
    monkeypatch.setattr(retention, "DELETE_AGAIN_AFTER_S", 0)
    await conn.execute(OLD, 2_000)
    await conn.execute("select jobs_retain('completed', '7 days')")
    key = await conn.fetchval("select _jobs_advisory_key('retention', '')")
    async with working(), working():
        await eventually(emptied(left))
    # While another session deletes, a worker is refused, and does not wait.
    await conn.execute(OLD, 5)
    await conn.execute("select jobs_retain('completed', '7 days')")
    await other.execute("select pg_advisory_lock($1)", key)
    async with working():
        job = await app.enqueue("t")
        await eventually(lambda: job.id in [began for began, _ in quick.began])
        assert await left() >= 5
    await other.execute("select pg_advisory_unlock($1)", key)
    async with working():
        await eventually(lambda: deleted_all_old(conn))


async def deleted_all_old(conn):
    return not await conn.fetchval(
        "select exists (select from jobs where finished_at < clock_timestamp() - interval '1 day')"
    )


async def test_a_worker_that_is_killed_while_it_deletes_leaves_the_rest_to_the_next(
    app, conn, working, eventually, quick, left
):
    await conn.execute(OLD, 100)
    await conn.execute("select jobs_retain('completed', '7 days')")
    # The first worker's batch waits in a trigger, and its session is killed there.
    await conn.execute(
        """create function hold() returns trigger language plpgsql as $$
        begin
            if pg_try_advisory_xact_lock(4711) then
                perform pg_sleep(10);
            end if;
            return old;
        end $$;
        create trigger hold before delete on jobs for each row execute function hold()"""
    )
    async with working():
        async def is_held() -> bool:
            return bool(await conn.fetchval(
                """select count(pg_terminate_backend(l.pid)) from pg_locks l
                where l.locktype = 'advisory' and l.objid = 4711 and l.granted"""))

        await eventually(is_held)
        await conn.execute("drop trigger hold on jobs")
        assert await left() == 100
        await eventually(emptied(left))


async def test_a_refused_batch_is_told_and_ends_no_worker(
    app, conn, working, eventually, quick, caplog, monkeypatch, left
):
    original, refused = Database.retention_enforce, []

    async def enforce(self, max_jobs=None):
        if not refused:
            refused.append(True)
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        return await original(self, max_jobs)

    monkeypatch.setattr(Database, "retention_enforce", enforce)
    await conn.execute(OLD, 3)
    await conn.execute("select jobs_retain('completed', '7 days')")
    async with working() as worker:
        await eventually(lambda: refused)
        await asyncio.sleep(0)
        worker._listener._next_full_tick = 0.0
        worker._listener._changed.set()
        await eventually(emptied(left))
    assert "retention: refused" in caplog.text
