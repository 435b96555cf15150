import logging
import time

import pytest

from pgjobs import App, ConnectionLost, Fail, Snooze


@pytest.fixture
def records(caplog):
    caplog.set_level(logging.DEBUG, logger="pgjobs")
    return lambda **fields: [
        record for record in caplog.records
        if all(getattr(record, name, None) == value for name, value in fields.items())
    ]


async def test_the_end_of_a_run_is_one_line_with_its_fields(app, records):
    @app.job("t")
    async def handler(job):
        if job.payload == "bad":
            raise Fail("the file\nis broken")

    good = await app.enqueue("t", "good")
    bad = await app.enqueue("t", "bad")
    await app.worker().run(until_empty=True)

    [record] = records(job_id=good.id)
    assert (record.levelno, record.name) == (logging.DEBUG, "pgjobs.worker")
    assert (record.job_type, record.queue, record.attempt) == ("t", "default", 1)
    assert record.outcome == "completed"
    assert 0 <= record.duration < 60
    [record] = records(job_id=bad.id)
    assert (record.levelno, record.outcome) == (logging.INFO, "failed")
    assert record.getMessage().endswith(": the file")


async def test_a_worker_logs_its_start_and_its_end(app, records, caplog):
    app.job("t")(lambda job: None)
    await app.worker(name="me").run(until_empty=True)
    assert "worker me: queues default; concurrency 100; types t" in caplog.text
    assert "worker me has stopped" in caplog.text


async def test_a_job_may_log_its_own_fields(app, records):
    from datetime import timedelta

    @app.job("t")
    async def handler(job):
        logging.getLogger("pgjobs.mine").info("half way", extra=job.log_fields)
        raise Snooze(timedelta(hours=1))

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert [r.getMessage() for r in records(job_id=job.id, name="pgjobs.mine")] == ["half way"]
    assert records(job_id=job.id, outcome="released")


@pytest.mark.parametrize(
    "dsn", ["postgresql://me:hush@127.0.0.1:1/db", "host=127.0.0.1 port=1 password=hush"]
)
async def test_no_log_line_and_no_error_shows_the_password(dsn, caplog):
    caplog.set_level(logging.DEBUG)
    app = App(dsn=dsn)
    app.job("t")(lambda job: None)
    with pytest.raises(ConnectionRefusedError) as refused:
        await app.worker().run()
    with pytest.raises(ConnectionLost) as refused_too:
        await app.enqueue("t")
    assert "hush" not in f"{caplog.text} {refused.value!r} {refused_too.value!r} {app!r}"


async def test_a_handler_that_blocks_the_event_loop_is_named_after_a_second(
    app, working, until_status, caplog
):
    @app.job("t")
    async def handler(job):
        time.sleep(1.7)  # noqa: ASYNC251 - the fault itself

    async with working():
        job = await app.enqueue("t")
        await until_status(job.id, "completed")
    assert f"the event loop has been blocked for 1 s by job {job.id} (t)" in caplog.text


async def test_a_listener_that_has_connected_again_says_so(app, conn, working, eventually, caplog):
    caplog.set_level("INFO", "pgjobs.listener")
    app.job("t")(lambda job: None)
    cut = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where datname = current_database() and application_name like '% listen'"
    )
    async with working():
        assert await conn.fetchval(cut) == 1
        await eventually(lambda: "listening: connected again" in caplog.text)
