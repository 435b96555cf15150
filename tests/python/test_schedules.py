"""Schedules that code declares: what is refused at import, and what a worker writes and runs."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from pgjobs import App, Backoff, InvalidArgument, RunningJob

HOUR = timedelta(hours=1)


class Report(BaseModel):
    days: int = 1


def nightly(app, cron="0 3 * * *", **arguments):
    """Declares a schedule of a handler of its own."""

    @app.schedule(cron, **arguments)
    @app.job("report")
    async def report(job: RunningJob[Report]) -> None: ...

    return report


def another(app):
    """An app of the same module, as an older or newer version of the code has it."""
    return App(dsn=app.dsn)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either cron or every"),
        ({"cron": "@daily", "every": HOUR}, "either cron or every"),
        ({"cron": 3}, "cron must be of type str, not 3"),
        ({"every": 3600}, "every must be of type timedelta, not 3600"),
        ({"every": HOUR, "timezone": ZoneInfo("Europe/Berlin")}, "timezone must be of type str"),
        ({"every": HOUR, "name": ""}, "name must not be empty"),
        ({"every": HOUR, "missed": "some"}, "missed must be latest, all or none, not 'some'"),
        ({"every": HOUR, "overlap": None}, "overlap must be skip, allow or replace, not None"),
        ({"every": HOUR, "starts_at": datetime(2030, 1, 1)}, "starts_at must have a time zone"),  # noqa: DTZ001
        ({"every": HOUR, "payload": {"days": "x"}}, "the payload is not valid"),
    ],
    ids=str,
)
async def test_what_can_be_seen_to_be_wrong_is_refused_at_import(app, arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        nightly(app, **{"cron": None} | arguments)
    assert app.schedules == {}


async def test_the_decorator_stands_above_that_of_the_handler(app):
    message = r"write @app.schedule\(...\) above @app.job\(...\) of the same app"
    with pytest.raises(InvalidArgument, match=message):

        @app.job("a")
        @app.schedule("@daily")
        async def a(job): ...

    with pytest.raises(InvalidArgument, match=message):
        another(app).schedule("@daily")(nightly(app))
    with pytest.raises(InvalidArgument, match="write when"):
        app.schedule(nightly(another(app)))


async def test_a_second_schedule_of_a_type_needs_a_name(app):
    task = nightly(app)
    with pytest.raises(InvalidArgument, match="there is a schedule report already: give this one"):
        app.schedule("@weekly")(task)
    assert app.schedule("@weekly", name="weekly report")(task) is task
    assert list(app.schedules) == ["report", "weekly report"]


async def test_a_worker_writes_what_its_code_declares(app, conn):
    task = app.job(
        "report", queue="slow", priority=2, max_retries=1, backoff=Backoff.fixed(HOUR)
    )(lambda job: None)
    app.schedule(
        every=HOUR, name="a", payload=[1.5, None], missed="all", missed_within=2 * HOUR,
        overlap="allow", starts_at=datetime(2100, 1, 1, tzinfo=UTC),
        ends_at=datetime(2100, 1, 2, tzinfo=UTC),
    )(task)
    app.schedule("0 3 * * *", timezone="Europe/Berlin")(task)
    await app.worker().run(until_empty=True)
    first, second = await conn.fetch("select * from jobs_schedules order by name")
    assert (first["name"], first["job_type"], first["every"]) == ("a", "report", HOUR)
    assert (first["queue"], first["priority"], first["max_retries"]) == ("slow", 2, 1)
    assert (first["payload"], first["backoff"]) == ("[1.5, null]", [HOUR])
    assert (first["missed"], first["missed_within"], first["overlap"]) == ("all", 2 * HOUR, "allow")
    assert first["starts_at"].year == first["ends_at"].year == first["next_at"].year == 2100
    assert (second["name"], second["cron"]) == ("report", "0 3 * * *")
    assert (second["timezone"], second["payload"]) == ("Europe/Berlin", "{}")
    assert json.loads(second["declared"])["app"] == app.declared_in


async def test_an_operators_change_and_pause_survive_a_restart(app, conn):
    nightly(app)
    await app.worker().run(until_empty=True)
    await conn.execute(
        """select jobs_schedule('report', 'report', '0 5 * * *');
        select jobs_schedule_pause('report')"""
    )
    await app.worker().run(until_empty=True)
    row = await conn.fetchrow("select cron, paused_at from jobs_schedules")
    assert row["cron"] == "0 5 * * *"
    assert row["paused_at"] is not None


async def test_an_older_version_that_restarts_warns_and_names_both(app, conn, caplog):
    nightly(app)
    await app.worker().run(until_empty=True)
    newer = another(app)
    nightly(newer, "0 4 * * *")
    await newer.worker().run(until_empty=True)
    for _ in range(2):
        caplog.clear()
        await app.worker().run(until_empty=True)
        await newer.worker().run(until_empty=True)
        (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert "schedule report stays as other code declared it on 2" in warning
        assert "cron 0 4 * * *" in warning
        assert "cron 0 3 * * *" in warning
        assert "pgjobs apply MODULE:APP" in warning
    assert await conn.fetchval("select cron from jobs_schedules") == "0 4 * * *"


async def test_a_schedule_that_the_database_refuses_ends_the_worker_at_its_start(app):
    nightly(app, timezone="Europe/Atlantis")
    with pytest.raises(InvalidArgument, match="schedule report: timezone Europe/Atlantis is not"):
        await app.worker().run(until_empty=True)


async def test_a_worker_that_may_not_write_schedules_warns_once_and_works(
    app, conn, pgjobs_dsn, caplog
):
    await conn.execute(
        "create role schedules_worker login; select jobs_grant('schedules_worker', 'worker')"
    )
    limited = App(dsn=pgjobs_dsn.replace("user=postgres", "user=schedules_worker"))
    nightly(limited)
    try:
        job = await app.enqueue("report")
        await limited.worker().run(until_empty=True)
        (warning,) = [r.getMessage() for r in caplog.records if r.name == "pgjobs.declarations"]
        assert "pgjobs apply MODULE:APP" in warning
        assert await conn.fetchval("select count(*) from jobs_schedules") == 0
        assert (await app.get(job.id)).status == "completed"
        # Once an admin has applied it, there is nothing to warn of.
        nightly(app)
        await app.worker().run(until_empty=True)
        caplog.clear()
        await limited.worker().run(until_empty=True)
        assert [r for r in caplog.records if r.name == "pgjobs.declarations"] == []
    finally:
        await conn.execute("drop owned by schedules_worker; drop role schedules_worker")


async def test_a_schedule_that_another_session_locks_delays_no_job(
    app, conn, other, working, until_status, eventually
):
    nightly(app)
    await app.worker().run(until_empty=True)
    newer = another(app)
    nightly(newer, "0 4 * * *")
    async with other.transaction():
        await other.execute("select from jobs_schedules for update")
        job = await app.enqueue("report")
        async with working(newer):
            await until_status(job.id, "completed")
            await other.execute("commit; begin")
            await eventually(declared_at_four(conn))


def declared_at_four(conn):
    async def is_declared() -> bool:
        return bool(await conn.fetchval("select cron from jobs_schedules") == "0 4 * * *")

    return is_declared


async def test_a_worker_fires_at_the_moment_and_the_job_knows_its_tick(
    app, conn, working, eventually
):
    ran: list[tuple[str | None, datetime | None, datetime]] = []

    @app.schedule(every=timedelta(seconds=1), name="each second")
    @app.job("tick")
    async def tick(job: RunningJob[dict[str, int]]) -> None:
        ran.append((job.schedule, job.scheduled_for, datetime.now(UTC)))

    async with working():
        await eventually(lambda: len(ran) >= 3)
    assert {name for name, _, _ in ran} == {"each second"}
    ticks = [moment for _, moment, _ in ran]
    assert ticks == sorted(set(ticks))
    for _, moment, began in ran:
        assert moment.microsecond == 0
        assert timedelta(0) <= began - moment < timedelta(seconds=1)


async def test_a_job_of_no_schedule_has_no_tick(app):
    job = await app.enqueue("t")
    assert (job.schedule, job.scheduled_for) == (None, None)


async def test_a_new_schedule_wakes_a_worker_that_sleeps(app, conn, working, eventually, quick):
    async with working():
        await asyncio.sleep(0.3)  # the worker's first tick is over, the next comes in 10 s
        began = asyncio.get_running_loop().time()
        await conn.execute("select jobs_schedule('a', 't', every => '1 s')")
        await eventually(lambda: quick.began)
        assert asyncio.get_running_loop().time() - began < 3


async def test_an_app_knows_the_module_that_made_it_also_through_a_class_of_its_own(app):
    class Own(App):
        def __init__(self):
            super().__init__("postgresql://nowhere")

    made = [Own(), another(app), App[int]("postgresql://nowhere")]
    assert {of.declared_in for of in made} == {__name__}
