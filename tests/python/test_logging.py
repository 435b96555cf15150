import asyncio
import io
import logging
import re
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from model.test_odd_handlers import Liar, chained
from pydantic import BaseModel, ValidationError

from pgjobs import App, Backoff, Cancel, ConnectionLost, Fail, Job, Snooze, migrate
from pgjobs.embedded import EmbeddedPostgres


class Mail(BaseModel):
    order: int


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
    assert (record.levelno, record.outcome) == (logging.ERROR, "failed")
    assert record.getMessage() == f"job {bad.id} (t) failed for good in attempt 1: the file"


@pytest.mark.parametrize(
    ("entity", "shown"), [(42, "order:42"), ("A 7\x1b", r"order:A 7\x1b"), (None, None)]
)
async def test_the_lines_about_a_job_name_what_the_job_is_about(app, records, entity, shown):
    @app.job("t", max_retries=0)
    async def handler(job):
        raise Fail("no")

    job = await handler.enqueue(reference=None if entity is None else ("order", entity))
    await app.worker().run(until_empty=True)
    [record] = records(job_id=job.id)
    named = f"job {job.id} (t)" if shown is None else f"job {job.id} (t, {shown})"
    assert record.getMessage() == f"{named} failed for good in attempt 1: no"


async def test_a_payload_that_does_not_fit_is_told_once(app, records):
    @app.job("t")
    async def handler(job: Job[Mail]): ...

    [job_id] = await app.enqueue_many("t", [{"ordre": 1}])
    await app.worker().run(until_empty=True)
    [record] = records(job_id=job_id)
    assert record.getMessage() == (
        f"job {job_id} (t) failed for good in attempt 1: the payload is not valid: 1 validation"
        " error for Mail"
    )
    assert record.exc_text.startswith("order\n  Field required")
    assert len(record.exc_text.splitlines()) == 3
    assert record.exc_info[0] is ValidationError


async def test_a_result_that_cannot_be_stored_is_told_once(app, records):
    @app.job("t")
    async def handler(job):
        return float("nan")

    job = await handler.enqueue()
    await app.worker().run(until_empty=True)
    [record] = records(job_id=job.id)
    assert record.getMessage().endswith("NaN is not a JSON number")
    assert record.exc_text == "pgjobs.errors.InvalidArgument"


async def test_a_function_that_outlives_its_timeout_and_the_grace_is_told_of_as_it_is(
    app, conn, records, eventually
):
    gate = threading.Event()

    @app.job("t", timeout=timedelta(seconds=0.05))
    def handler(job):
        gate.wait(20)

    def lines():
        told = [r for r in records() if r.name != "pgjobs.retention"]
        return [r.getMessage() for r in told if r.levelno > logging.DEBUG]

    job = await handler.enqueue()
    worker = app.worker(grace=timedelta(0), name="me")
    running = asyncio.create_task(worker.run())
    await eventually(lambda: any("runs on" in line for line in lines()))
    worker.stop()
    await running
    assert (await job.refresh()).status == "pending"
    gate.set()
    await asyncio.sleep(0.1)  # the log has time to tell something wrong
    place = re.sub(r" at .*?: a thread", " at PLACE: a thread", lines()[2])
    assert [lines()[1], place, *lines()[3:]] == [
        f"job {job.id} (t) is asked to end: its timeout is over",
        (
            f"job {job.id} (t): its function runs on in its thread at PLACE: a thread cannot be"
            " stopped, so the job is held until the function ends, or is given back when the"
            " worker ends"
        ),
        "worker me stops; running jobs: 1",
        f"job {job.id} (t) is asked to end: the worker is shutting down",
        lines()[2],
        (
            f"job {job.id} (t) still runs, and cannot be stopped: it is given back, and may run"
            " elsewhere beside its handler until this process ends"
        ),
        "worker me has stopped",
    ]
    assert re.search(r" in handler \(\S*/test_logging\.py:\d+\): a thread", lines()[2])
    assert "pgjobs" not in lines()[2].replace(str(Path.cwd()), "")


async def test_a_worker_at_work_says_so_once_a_minute_and_an_idle_one_says_nothing(
    app, records, working, eventually, monkeypatch
):
    monkeypatch.setattr("pgjobs.worker.tally.TELL_EVERY_S", 0.05)

    @app.job("t", max_retries=1, backoff=Backoff.fixed(timedelta(hours=1)))
    async def handler(job):
        match job.payload:
            case "committed":
                async with job.transaction():
                    pass
            case "retried":
                raise ValueError
            case "failed":
                raise Fail("no")
            case "cancelled":
                raise Cancel("no")
            case "back":
                raise Snooze(timedelta(hours=1))
            case "long":
                await gate.wait()

    def told():
        lines = [r.getMessage() for r in records(levelno=logging.INFO)]
        return [line for line in lines if " in the last " in line]

    gate = asyncio.Event()
    async with working(name="me"):
        await asyncio.sleep(0.12)
        assert told() == []
        await handler.enqueue("long")
        await eventually(lambda: "worker me: none ended in the last 0 s; 1 running" in told())
        await handler.enqueue_many(
            ["", "", "committed", "retried", "failed", "cancelled", "back"]
        )
        counts = Counter()

        def all_told():
            counts.clear()
            for line in told():
                for jobs, how in re.findall(r"(\d+) ([a-z ]+?)(?:,| in the)", line):
                    counts[how] += int(jobs)
            return counts.total() >= 7

        await eventually(all_told)
        ended_once = ("retried", "failed", "cancelled", "given back")
        assert counts == {"completed": 3, **dict.fromkeys(ended_once, 1)}
        gate.set()
    assert told()[-1] == "worker me: 1 completed in the last 0 s"


async def test_a_worker_logs_its_start_and_its_end(app, records, caplog):
    app.job("t")(lambda job: None)
    await app.worker(name="me").run(until_empty=True)
    assert "worker me: queues default; concurrency 100; types t" in caplog.text
    assert "worker me has stopped" in caplog.text


async def test_a_job_may_log_its_own_fields(app, records):
    @app.job("t")
    async def handler(job):
        logging.getLogger("pgjobs.mine").info("half way", extra=job.log_fields)
        raise Snooze(timedelta(hours=1))

    job = await app.enqueue("t")
    await app.worker().run(until_empty=True)
    assert [r.getMessage() for r in records(job_id=job.id, name="pgjobs.mine")] == ["half way"]
    [record] = records(job_id=job.id, outcome="released")
    assert (record.levelno, record.getMessage()[-23:]) == (logging.INFO, " s: snoozed for 1:00:00")


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


async def test_a_worker_that_has_connected_again_says_so(app, conn, working, eventually, caplog):
    app.job("t")(lambda job: None)
    cut = (
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where datname = current_database() and application_name like '% listen'"
    )
    async with working(name="w"):
        assert await conn.fetchval(cut) == 1
        await eventually(lambda: "worker w: connected again after 0." in caplog.text)


async def test_the_log_tells_an_outage_as_one_story(working, eventually, records):
    begun, goes_on = asyncio.Event(), asyncio.Event()

    def told(text, level=logging.DEBUG):
        lines = [r.getMessage() for r in records() if r.levelno >= level and r.name != "asyncio"]
        return [line for line in lines if text in line]

    with EmbeddedPostgres(settings={"fsync": "off"}) as server:
        await asyncio.to_thread(migrate, server.dsn)
        async with App(dsn=server.dsn) as app:
            @app.job("t")
            async def handler(job):
                begun.set()
                await goes_on.wait()

            async with working(app, name="w"):
                job = await app.enqueue("t")
                await begun.wait()
                await asyncio.to_thread(server._stop_server, "fast")
                goes_on.set()
                for part in ("claiming", "listening", "settling jobs"):
                    await eventually(lambda part=part: told(f"{part}: connection lost"))
                await asyncio.to_thread(server.start)
                await eventually(lambda: told("connected again"))
                assert (await job.refresh()).status == "completed"

    *tries, end = told("", logging.WARNING)
    assert "worker w: connected again after" in end
    # Of one part of the worker, whichever noticed first.
    assert len({re.sub(r": connection lost .*", "", line) for line in tries}) == 1


async def test_a_failure_that_is_retried_is_a_warning_that_says_when(app, records):
    @app.job("t", max_retries=3, backoff=Backoff.fixed(timedelta(seconds=4)))
    async def handler(job):
        raise ValueError("no\x1b[31m\nmore")

    job = await handler.enqueue({})
    await app.worker().run(until_empty=True)
    [record] = records(job_id=job.id)
    assert (record.levelno, record.outcome) == (logging.WARNING, "retried")
    assert record.getMessage() == (
        f"job {job.id} (t) failed in attempt 1, retry 1 of 3 in 4 s: ValueError: no\\x1b[31m"
    )


async def test_a_job_that_failed_for_good_is_an_error_with_its_exception(app, records):
    error = ValueError("no")

    @app.job("t", max_retries=0)
    async def handler(job):
        raise error

    job = await handler.enqueue({})
    await app.worker().run(until_empty=True)
    [record] = records(job_id=job.id)
    assert (record.levelno, record.outcome) == (logging.ERROR, "failed")
    kind, value, traceback = record.exc_info
    assert (kind, value) == (ValueError, error)
    assert traceback.tb_frame.f_code.co_name == "handler"
    assert "    raise error\nValueError: no" in record.exc_text


class ReadsExceptions(logging.Handler):
    """As a handler of a service that collects errors: it asks the exception itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            str(record.exc_info[1])


@pytest.mark.parametrize("make", [Liar, lambda: ValueError(Liar()), chained])
async def test_no_exception_harms_the_worker_by_being_logged(app, records, make):
    @app.job("t", max_retries=0)
    async def handler(job):
        if job.payload == "odd":
            raise make()

    odd, good = await handler.enqueue("odd"), await handler.enqueue("good")
    log, stream = logging.getLogger("pgjobs"), io.StringIO()
    handlers = [ReadsExceptions(), logging.StreamHandler(stream)]
    for one in handlers:
        log.addHandler(one)
    try:
        await app.worker().run(until_empty=True)
    finally:
        for one in handlers:
            log.removeHandler(one)
    assert records(job_id=odd.id, levelno=logging.ERROR, outcome="failed")
    assert records(job_id=good.id, outcome="completed")
    assert f"job {odd.id} (t) failed for good in attempt 1" in stream.getvalue()
    assert len(stream.getvalue()) < 20_000


async def test_a_failure_of_a_job_that_was_lost_meanwhile_is_told_with_its_error(
    app, conn, records
):
    @app.job("t")
    async def handler(job):
        await conn.execute("update jobs set attempt = 2")
        raise ValueError("nobody knows")

    job = await handler.enqueue({})
    await app.worker().run(until_empty=True)
    [record] = records(job_id=job.id, levelno=logging.WARNING)
    assert record.getMessage() == (
        f"job {job.id}: the end of attempt 1 (failed: ValueError: nobody knows) is discarded: the"
        " job is not held"
    )


async def test_a_failure_of_a_job_whose_cancellation_was_requested_is_no_warning(
    app, conn, records
):
    @app.job("t")
    async def handler(job):
        await conn.execute("update jobs set cancel_requested_at = now()")
        raise ValueError("no")

    job = await handler.enqueue({})
    await app.worker().run(until_empty=True)
    [record] = records(job_id=job.id)
    assert (record.levelno, record.outcome) == (logging.INFO, "cancelled")


async def test_a_worker_tells_which_jobs_it_took_back_from_whom(
    app, conn, records, working, eventually
):
    await conn.execute(
        """insert into jobs (job_type, status, worker, attempt, started_at, lease_until,
            crash_count)
        values ('other', 'processing', 'dead', 1, now(), now() - interval '1 s', 0),
            ('other', 'processing', 'dead', 1, now(), now() - interval '1 s', 3),
            ('other', 'processing', 'me', 1, now() - interval '1 s', now() + interval '1 h', 0)"""
    )
    app.job("t")(lambda job: None)

    def told():
        return [(r.levelname, r.getMessage()) for r in records() if "took back" in r.getMessage()]

    async with working(name="me"):
        await eventually(lambda: len(told()) > 1)
    failed = "; of these, lost too often, have failed for good: 2"
    assert told() == [
        ("ERROR", f"took back jobs of worker 'dead', which was lost: 1, 2{failed}"),
        ("WARNING", "took back jobs of worker 'me', which was lost: 3"),
    ]
