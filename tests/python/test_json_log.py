"""The log as JSON, and the fields of the running job in the handler's own lines."""

import asyncio
import gc
import io
import json
import logging
import math
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from python import in_children

from pgjobs import Job
from pgjobs.handler.run import Run
from pgjobs.logs import JobFields, JsonFormatter, job_fields

log = logging.getLogger("shop")


@pytest.fixture
def lines():
    """Logs as JSON within the test; lines() are the lines by now."""
    root, written = logging.getLogger(), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(JobFields())
    handler.setFormatter(JsonFormatter())
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda **having: [
        line for line in map(json.loads, written.getvalue().splitlines())
        if having.items() <= line.items()
    ]
    root.removeHandler(handler)
    root.setLevel(before)


async def nested():
    log.info("in a task")


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_a_handlers_own_lines_carry_the_fields_of_its_job(app, lines, kind):
    if kind == "def":

        @app.job("t")
        def handler(job: Job[None]):
            log.info("sold", extra={"price": 3})

    else:

        @app.job("t")
        async def handler(job: Job[None]):
            log.info("sold", extra={"price": 3})
            await asyncio.create_task(nested())

    jobs = [await handler.enqueue(reference=("order", n)) for n in range(3)]
    await app.worker(name="w").run(until_empty=True)
    told = {line["job_id"]: line for line in lines(message="sold")}
    for n, job in enumerate(jobs):
        line = told[job.id]
        moment = datetime.fromisoformat(line.pop("time"))
        assert moment.tzinfo == UTC
        assert abs(moment - job.created_at) < timedelta(minutes=1)
        assert line == {
            "level": "INFO", "logger": "shop", "message": "sold", "price": 3, "job_id": job.id,
            "job_type": "t", "queue": "default", "attempt": 1, "worker": "w",
            "reference": f"order:{n}",
        }
    assert {line["job_id"] for line in lines(message="in a task")} == (
        set() if kind == "def" else {job.id for job in jobs}
    )


async def test_the_lines_of_a_function_in_a_child_process_carry_the_fields_of_its_job(
    pgjobs_dsn, lines
):
    in_children.app.connect_to(pgjobs_dsn)
    async with in_children.app as app:
        job = await in_children.tell_fields.enqueue(reference=("order", "A7"))
        await app.worker(name="w").run(until_empty=True)
        assert (await app.get(job.id)).result == {
            "job_id": job.id, "job_type": "tell_fields", "queue": "default", "attempt": 1,
            "reference": "order:A7", "worker": "w",
        }
    [line] = lines(message="in the child")
    assert (line["job_id"], line["worker"], line["reference"]) == (job.id, "w", "order:A7")


async def test_the_line_of_a_job_that_failed_for_good_has_all_fields_and_the_traceback(app, lines):
    @app.job("t", max_retries=0)
    async def handler(job):
        raise ValueError("no PDF")

    job = await handler.enqueue({"secret": "hush"}, reference=("order", 4))
    await app.worker(name="w").run(until_empty=True)
    [line] = lines(level="ERROR")
    assert (line["job_id"], line["reference"], line["worker"]) == (job.id, "order:4", "w")
    assert line["outcome"] == "failed"
    assert line["exception"].startswith("Traceback (most recent call last)")
    assert line["exception"].endswith("ValueError: no PDF")
    assert "hush" not in json.dumps(lines())


async def test_outside_of_a_run_there_are_no_fields(app, lines):
    outlived = asyncio.Event()
    gone_on = asyncio.Event()

    async def outlives():
        await outlived.wait()
        log.info("outlived")
        gone_on.set()

    @app.job("t")
    async def handler(job):
        assert job_fields() == {**job.log_fields, "worker": "w"}
        app.state.task = asyncio.create_task(outlives())

    await handler.enqueue()
    assert job_fields() == {}
    await app.worker(name="w").run(until_empty=True)
    assert job_fields() == {}
    outlived.set()
    async with asyncio.timeout(10):
        await gone_on.wait()
    [line] = lines(message="outlived")
    assert "job_id" not in line
    assert line["worker"] == "w"


async def test_a_line_about_another_job_is_not_mixed_with_the_running_one(app, lines):
    @app.job("t")
    async def handler(job):
        log.info("mine", extra={"job_id": job.id})
        log.info("of another", extra={"job_id": 99})
        log.info("odd", extra={"job_id": [1], "queue": "own"})

    await handler.enqueue()
    await app.worker(name="w").run(until_empty=True)
    assert lines(message="mine")[0]["job_type"] == "t"
    assert "job_type" not in lines(message="of another")[0]
    [odd] = lines(message="odd")
    assert (odd["job_id"], odd["queue"], "job_type" in odd) == ([1], "own", False)


class Liar:
    def __repr__(self):
        raise RuntimeError

    __str__ = __repr__


class LyingError(Exception):
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


class Nameless(type):
    def __getattribute__(cls, name):
        if name in ("__name__", "__qualname__"):
            raise RuntimeError
        return super().__getattribute__(name)


class NamelessError(Exception, metaclass=Nameless):
    pass


def deep():
    found = []
    for _ in range(100_000):
        found = [found]
    return found


def cycle():
    found = {}
    found["self"] = found
    return found


ODD = {
    "nan": math.nan, "inside": [math.inf], "object": Liar(), "nested": [1, Liar()],
    "set": {1}, "keys": {(1, 2): 3},
    "cycle": cycle(), "surrogate": "\ud800", "bytes": b"\xff", "umlaut": "ä\n", "time": 1,
    "exception": 2, "job": Job, "huge": 10**5000,
}


def test_a_line_is_one_json_object_whatever_the_record_holds(lines, monkeypatch):
    # The handler of pytest raises what it cannot format.
    monkeypatch.setattr(log, "propagate", False)
    ours = [h for h in logging.getLogger().handlers if isinstance(h.formatter, JsonFormatter)]
    monkeypatch.setattr(log, "handlers", ours)
    log.info("odd", extra=ODD)
    log.info("two %s %s", 1)  # noqa: PLE1206 - the fault itself
    log.info(Liar())
    log.info("deep", extra={"deep": deep()})
    log.info("message\nof two lines")
    try:
        raise LyingError
    except LyingError:
        log.exception("raised", stack_info=True)
    log.info("keys", extra={(1, 2): 3, 4: 5})
    try:
        raise NamelessError
    except NamelessError:
        log.exception("nameless")
    record = log.makeRecord("shop", logging.INFO, "f", 1, "bytes", (), None)
    record.exc_text = b"x"
    log.handle(record)
    first, second, third, fourth, fifth, sixth, seventh, eighth, ninth = lines(logger="shop")
    assert "ValueError" in first["huge"]
    assert eighth["exception"].endswith("it cannot be formatted")
    assert ninth["exception"] == "b'x'"
    assert first["nan"] == "nan"
    assert first["object"] == "<its __repr__ raised RuntimeError>"
    assert first["nested"] == [1, "<its __repr__ raised RuntimeError>"]
    assert first["inside"] == "[inf]"
    assert (first["umlaut"], first["surrogate"], first["set"]) == ("ä\n", "\ud800", "{1}")
    assert (first["time_"], first["exception_"]) == (1, 2)
    assert second["message"] == "two %s %s (its arguments cannot be formatted: TypeError)"
    assert third["message"].startswith("<its __repr__ raised RuntimeError>")
    assert "deep" in fourth
    assert fifth["message"] == "message\nof two lines"
    assert "LyingError" in sixth["exception"]
    assert "test_json_log" in sixth["stack"]
    assert (seventh["[1, 2]"], seventh["4"]) == (3, 5)
    assert all(line["time"].endswith("+00:00") for line in lines())


def test_no_line_of_json_needs_more_than_ascii():
    record = logging.makeLogRecord({"msg": "ä\u2028", "name": "ö"})
    assert JsonFormatter().format(record).isascii()


async def test_structlog_takes_the_fields_by_a_processor_of_three_lines(app, capsys):
    def add_job_fields(logger, method, event):
        return job_fields() | event

    told = structlog.wrap_logger(
        structlog.PrintLogger(),
        processors=[add_job_fields, structlog.processors.JSONRenderer()],
    )

    @app.job("t")
    def handler(job: Job[None]):
        told.msg("sold", price=3)

    job = await handler.enqueue()
    await app.worker(name="w").run(until_empty=True)
    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["job_id"], line["price"], line["event"]) == (job.id, 3, "sold")


async def test_ended_runs_leave_nothing_to_the_garbage_collector(app):
    @app.job("t")
    async def handler(job): ...

    await app.enqueue_many("t", range(50))
    gc.collect()
    # Of tests before this one, which something of theirs still names.
    earlier = [found for found in gc.get_objects() if type(found) is Run]
    gc.disable()
    try:
        await app.worker().run(until_empty=True)
        left = [found for found in gc.get_objects() if type(found) is Run]
    finally:
        gc.enable()
    # The variable of the run's context has the run, which has its task, which has the context.
    assert len(left) - len(earlier) < 5
