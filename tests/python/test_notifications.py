"""Anybody who can connect may NOTIFY on our channels: a worker trusts no notification."""

import asyncio
import logging

from pgjobs.connection.link import Link
from pgjobs.connection.notifications import Notifications
from pgjobs.worker.waiting import MAX_HANDOVERS

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
            await conn.execute("select pg_notify('public.jobs_turn', $1)", f"{number} w")
        for payload in ("", "default", "'; drop table jobs; --", "x" * 7_999):
            for topic in ("jobs", "jobs_turn", "jobs_cancel"):
                await conn.execute(f"select pg_notify('public.{topic}', $1)", payload)
        await conn.execute("select pg_notify('public.jobs_turn', '1999999999 w')")
        await asyncio.sleep(0.5)
        assert worker._waiting._handovers_left <= MAX_HANDOVERS
        go_on.set()
        assert (await until_status(first.id, "completed"))["attempt"] == 1
        second = await app.enqueue("t")
        await until_status(second.id, "completed")
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


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
