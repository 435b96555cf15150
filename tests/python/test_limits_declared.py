"""Limits that code declares: what is refused at import, and what a worker writes."""

import logging
from datetime import timedelta

import pytest

from pgjobs import App, InvalidArgument, Rate

MINUTE = timedelta(minutes=1)


def test_limits_are_declared_by_queue():
    app = App()
    app.limit(
        "mail", max_running=5, max_running_per_group=1, rate=Rate(100, per=MINUTE),
        group_rate=Rate(2, per=timedelta(seconds=1)), in_order=True,
    )
    app.limit("api", rate=Rate(1, MINUTE))
    assert {queue: limits.arguments for queue, limits in app.limits.items()} == {
        "mail": {
            "max_running": 5, "max_running_per_group": 1, "rate_count": 100,
            "rate_period": "60.000000 s", "group_rate_count": 2,
            "group_rate_period": "1.000000 s", "in_order": True,
        },
        "api": {"rate_count": 1, "rate_period": "60.000000 s"},
    }


@pytest.mark.parametrize(
    ("queue", "limits", "why"),
    [
        ("", {}, "queue must be a queue's name"),
        (None, {}, "queue must be a queue's name"),
        ("mail", {"max_running": 1}, "the limits of queue mail are declared already"),
        ("q", {"max_running": -1}, "max_running must be 0 or more, not -1"),
        ("q", {"max_running": True}, "max_running must be 0 or more"),
        ("q", {"max_running_per_group": "5"}, "max_running_per_group must be 0 or more"),
        ("q", {"rate": 100}, r"rate must be a pgjobs.Rate, as Rate\(100, per="),
        ("q", {"group_rate": (100, MINUTE)}, "group_rate must be a pgjobs.Rate"),
    ],
)
def test_what_is_wrong_is_refused_at_import(queue, limits, why):
    app = App()
    app.limit("mail", max_running=5)
    with pytest.raises(InvalidArgument, match=why):
        app.limit(queue, **limits)


@pytest.mark.parametrize(
    ("count", "per", "why"),
    [
        (0, MINUTE, "count of a rate must be 1 or more, not 0"),
        ("5", MINUTE, "count of a rate must be 1 or more"),
        (5, timedelta(0), "per must be a timedelta above 0"),
        (5, 60, "per must be a timedelta above 0, not 60"),
    ],
)
def test_a_rate_that_is_none_is_refused(count, per, why):
    with pytest.raises(InvalidArgument, match=why):
        Rate(count, per)


async def test_a_worker_writes_the_limits_and_an_operators_change_survives(app, conn, quick):
    app.limit("default", max_running=5, rate=Rate(100, per=MINUTE))
    await app.worker().run(until_empty=True)
    row = await conn.fetchrow("select max_running, rate_count, rate_period from jobs_queues")
    assert tuple(row) == (5, 100, MINUTE)
    await conn.execute("select jobs_limit('default', max_running => 1)")
    await app.worker().run(until_empty=True)
    assert await conn.fetchval("select max_running from jobs_queues") == 1


async def test_an_older_version_that_restarts_warns_and_names_both(
    app, pgjobs_dsn, quick, caplog
):
    app.limit("default", max_running=5)
    newer = App(dsn=pgjobs_dsn)
    newer.job("t")(quick)
    newer.limit("default", max_running=6)
    await app.worker().run(until_empty=True)
    await newer.worker().run(until_empty=True)
    caplog.clear()
    await app.worker().run(until_empty=True)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "limit of queue default stays as other code declared it on 2" in warning
    assert "max_running 6" in warning
    assert "max_running 5" in warning


async def test_a_worker_that_may_not_write_limits_warns_and_works(
    app, conn, pgjobs_dsn, caplog
):
    await conn.execute(
        "create role limits_worker login; select jobs_grant('limits_worker', 'worker')"
    )
    limited = App(dsn=pgjobs_dsn.replace("user=postgres", "user=limits_worker"))

    @limited.job("t")
    async def handler(job):
        pass

    limited.limit("default", max_running=5)
    limited.retain("completed", MINUTE)
    try:
        job = await app.enqueue("t")
        await limited.worker().run(until_empty=True)
        (warning,) = [r.getMessage() for r in caplog.records if r.name == "pgjobs.declarations"]
        assert "pgjobs apply MODULE:APP" in warning
        assert (await app.get(job.id)).status == "completed"
    finally:
        await conn.execute("drop owned by limits_worker; drop role limits_worker")
