"""Anybody who can connect may NOTIFY on our channels: a worker trusts no notification."""

import asyncio
import logging

from pgjobs.connection.link import Link
from pgjobs.connection.notifications import Notifications
from pgjobs.database import Database

NUMBERS = ["9" * 5_000, "-1", "٣", "3.5", "0x1", "1e9", "2147483648", ""]


async def test_notifications_of_strangers_cancel_no_job_and_stop_no_worker(
    app, working, conn, until_status, caplog
):
    begun, go_on = asyncio.Event(), asyncio.Event()

    @app.job("t")
    async def handler(job):
        begun.set()
        await go_on.wait()

    async with working(concurrency=1, name="w") as worker:
        first = await app.enqueue("t")
        await begun.wait()
        for number in [*NUMBERS, str(first.id)]:
            await conn.execute("select pg_notify('public.jobs_cancel', $1)", number)
            for signal in ("{} 1 1 default", "0 {} 1 default", "0 1 {} default", "0 1 1 {}"):
                payload = signal.format(number)[:7_999]
                await conn.execute("select pg_notify('public.jobs_signal', $1)", payload)
        for payload in ("", "default", "'; drop table jobs; --", "x" * 7_999, "polling default",
                        "polling", "started default", "0 524287 0 default"):
            for topic in ("jobs", "jobs_signal", "jobs_cancel"):
                await conn.execute(f"select pg_notify('public.{topic}', $1)", payload)
        await asyncio.sleep(0.5)
        assert set(worker._claimer.floors._reached["default"]) <= set(range(-9, 10))
        go_on.set()
        assert (await until_status(first.id, "completed"))["attempt"] == 1
        second = await app.enqueue("t")
        await until_status(second.id, "completed")
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_signals_of_strangers_make_no_worker_look_without_floors_all_the_time(
    app, working, conn, quick, until_status, monkeypatch
):
    ticks = []
    original = Database.worker_tick

    async def worker_tick(self, worker, is_full=True, queues=None):
        ticks.append(is_full)
        return await original(self, worker, is_full, queues)

    async with working():
        monkeypatch.setattr(Database, "worker_tick", worker_tick)
        for _ in range(200):
            await conn.execute("select pg_notify('public.jobs_signal', '0 1 0 default')")
        await asyncio.sleep(0.5)
    assert 1 <= sum(ticks) <= 10


async def test_listening_again_on_the_same_connection_calls_back_once(pgjobs_dsn, eventually):
    link = Link(pgjobs_dsn, name="ears")
    heard: list[str] = []
    notifications = Notifications(link, on_lost=lambda: heard.append("lost"))
    for _ in range(3):
        await notifications.listen({"topic": heard.append})
    await link.fetch("select pg_notify('topic', 'once')")
    await eventually(lambda: heard == ["once"])
    await link.close()
    await eventually(lambda: heard == ["once", "lost"])
