"""The pytest plugin."""

from datetime import timedelta
from typing import Any

import asyncpg
import psycopg
import pytest

from pgjobs.app import App, RunningJob
from pgjobs.errors import PgjobsError
from pgjobs.handler.signals import Fail
from pgjobs.testing import Server, drain, expire_lease, make_due

Connection = asyncpg.Connection
_left_open: list[psycopg.Connection] = []


async def test_each_test_has_a_migrated_database_of_its_own(conn: Connection) -> None:
    assert await conn.fetchval("select count(*) from jobs") == 0
    await conn.execute("insert into jobs (job_type) values ('a')")


async def test_a_test_sees_no_rows_of_another_test(conn: Connection) -> None:
    assert await conn.fetchval("select count(*) from jobs") == 0


def test_the_dsn_suits_both_drivers(pgjobs_dsn: str) -> None:
    with psycopg.connect(pgjobs_dsn) as connection:
        assert connection.execute("select count(*) from jobs").fetchone() == (0,)


def test_a_database_is_dropped_though_connections_are_open(pgjobs_dsn: str) -> None:
    # The next test checks that the database is gone, and closes the connection.
    _left_open.append(psycopg.connect(pgjobs_dsn))


def test_no_database_of_a_test_is_left(pgjobs_server: Server) -> None:
    with psycopg.connect(pgjobs_server.dsn("postgres")) as connection:
        left = connection.execute(
            "select count(*) from pg_database where datname like 'pgjobs_tests_%'"
            " and not datistemplate"
        ).fetchone()
    assert left == (0,)
    for connection in _left_open:
        connection.close()


async def test_make_due_and_expire_lease_move_the_clock_of_a_job(conn: Connection) -> None:
    job_id = await conn.fetchval(
        "insert into jobs (job_type, run_at) values ('a', now() + interval '1 day') returning id"
    )
    await make_due(conn, job_id)
    assert await conn.fetchval("select run_at <= clock_timestamp() from jobs")
    claimed = await conn.fetchrow("select * from jobs_claim('me')")
    assert claimed is not None
    assert claimed["id"] == job_id
    await expire_lease(conn)
    assert await conn.fetchval("select lease_until < clock_timestamp() from jobs")


async def test_drain_runs_due_jobs_and_the_jobs_that_they_enqueue(pgjobs_dsn: str) -> None:
    app = App(dsn=pgjobs_dsn)
    seen = []

    @app.job("first")
    async def first(job: RunningJob[Any]) -> None:
        seen.append("first")
        await job.app.enqueue("second", queue="other")

    @app.job("second")
    async def second(job: RunningJob[Any]) -> None:
        seen.append("second")

    async with app:
        await app.enqueue("first")
        await app.enqueue("first", delay=timedelta(days=1))
        await app.enqueue("nobody handles this")
        assert await drain(app) == 2
        assert seen == ["first", "second"]
        assert await drain(app) == 0
        await make_due(await app.pool())
        assert await drain(app, raise_on_failure=True) == 2


async def test_drain_runs_what_is_made_due_also_in_a_group_and_what_lost_its_worker(
    pgjobs_dsn: str,
) -> None:
    app = App(dsn=pgjobs_dsn)

    @app.job("grouped", group_key="g")
    async def grouped(job: RunningJob[Any]) -> None: ...

    async with app:
        pool = await app.pool()
        await grouped.enqueue(delay=timedelta(days=1))
        assert await drain(app) == 0
        await make_due(pool)
        assert await drain(app) == 1
        await grouped.enqueue()
        assert await pool.fetchval("select id from jobs_claim('gone')") == 2
        assert await drain(app) == 0
        await expire_lease(pool)
        assert await drain(app) == 1


async def test_drain_runs_a_flow_to_its_end_also_over_several_queues(pgjobs_dsn: str) -> None:
    app = App(dsn=pgjobs_dsn)
    seen = []

    @app.job("parse")
    async def parse(job: RunningJob[str]) -> str:
        seen.append(job.payload)
        if job.payload == "torn":
            raise Fail("half of it is missing")
        return job.payload

    @app.job("report", queue="reports")
    async def report(job: RunningJob[None]) -> list[str]:
        seen.append("report")
        return [parent.status for parent in await job.parents()]

    async with app:
        whole, torn, _, told = await app.enqueue_many([
            parse.new("whole", ref="whole"),
            parse.new("torn", ref="torn"),
            report.new(None, depends_on=["whole", "torn"]),
            report.new(None, depends_on=["whole", "torn"], on_parent_failed="run"),
        ])
        async with app.batch(report, None) as batch:
            await parse.enqueue("member", batch=batch)
        assert await drain(app) == 5
        assert sorted(seen[:3]) == ["member", "torn", "whole"]
        assert seen[3:] == ["report", "report"]
        assert (await app.get(told)).result == ["completed", "failed"]
        assert (await app.get(batch.id)).result == ["completed"]
        assert [job.status for job in await app.list(status="cancelled")] == ["cancelled"]
        assert (await app.get(whole)).status == "completed"
        assert (await app.get(torn)).status == "failed"


async def test_drain_lets_go_what_stands_behind_many_cancelled_jobs(
    pgjobs_dsn: str, conn: Connection
) -> None:
    app = App(dsn=pgjobs_dsn)

    @app.job("child")
    async def child(job: RunningJob[Any]) -> None: ...

    async with app:
        # A living worker counts, so that jobs_cancel leaves the count to that worker.
        await conn.execute("select from jobs_worker_start('w', '{other}', '{x}', 1)")
        chain = [await child.enqueue()]
        for _ in range(5):
            chain.append(await child.enqueue(depends_on=[chain[-1]]))
        last = await child.enqueue(depends_on=[chain[-1]], on_parent_failed="run")
        await app.cancel(chain[0].id)
        assert (await chain[1].refresh()).status == "blocked"
        assert await drain(app) == 1
        assert (await last.refresh()).status == "completed"


async def test_make_due_leaves_alone_a_job_that_waits_for_another(pgjobs_dsn: str) -> None:
    app = App(dsn=pgjobs_dsn)

    @app.job("t")
    async def handle(job: RunningJob[Any]) -> None: ...

    async with app:
        pool = await app.pool()
        parent = await handle.enqueue(delay=timedelta(days=1))
        child = await handle.enqueue(depends_on=[parent], delay=timedelta(days=2))
        for job_id in (child.id, None):
            await make_due(pool, job_id)
            again = await child.refresh()
            assert (again.status, again.run_at) == ("blocked", child.run_at)
        assert await drain(app) == 1
        assert (await child.refresh()).status == "pending"
        await make_due(pool, child.id)
        assert await drain(app) == 1


async def test_drain_raises_if_asked(pgjobs_dsn: str) -> None:
    app = App(dsn=pgjobs_dsn)

    @app.job("broken")
    async def broken(job: RunningJob[Any]) -> None:
        raise ValueError("on purpose")

    async with app:
        await app.enqueue("broken", max_retries=1)
        assert await drain(app) == 1
        await make_due(await app.pool())
        with pytest.raises(
            PgjobsError, match=r"1 of 1 jobs failed\njob 1 \(broken\):.*on purpose"
        ) as raised:
            await drain(app, raise_on_failure=True)
        assert repr(raised.value.__cause__) == "ValueError('on purpose')"


async def test_drain_writes_what_the_app_declares_before_it_runs_jobs(pgjobs_dsn: str) -> None:
    app = App(dsn=pgjobs_dsn)
    app.limit("mail", max_running=3)

    @app.schedule("0 3 * * *", name="nightly")
    @app.job("send", queue="mail")
    async def send(job: RunningJob[Any]) -> None:
        limits.append(await (await app.pool()).fetchval("select max_running from jobs_queues"))

    limits: list[int] = []
    async with app:
        assert await drain(app) == 0
        assert await (await app.pool()).fetchval("select name from jobs_schedules") == "nightly"
        await app.enqueue("send")
        assert await drain(app) == 1
    assert limits == [3]
