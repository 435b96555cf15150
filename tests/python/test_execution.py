"""One run of a handler has one outcome."""

import asyncio
import contextlib
import sys
import time
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from pgjobs import Cancel, Fail, Job, Retry, Snooze
from pgjobs.testing import make_due

HOUR = timedelta(hours=1)


class Ingest(BaseModel):
    path: str


@pytest.fixture
def run(app, conn):
    """Registers a handler, enqueues a job for it, runs the job, and returns its row."""

    async def go(handler, payload=None, *, limit=None, **options):
        app.tasks.clear()
        app.job("t", timeout=limit)(handler)
        # Not by `enqueue`, which refuses what does not fit the handler.
        [job_id] = await app.enqueue_many("t", [payload], **options)
        await app.worker().run(until_empty=True)
        return await conn.fetchrow("select * from jobs where id = $1", job_id)

    return go


def raising(error):
    async def handler(job):
        raise error

    return handler


async def test_the_return_value_of_a_handler_is_the_result(run):
    async def handler(job: Job[Ingest]) -> dict[str, Any]:
        return {"path": job.payload.path, "attempt": job.attempt}

    row = await run(handler, {"path": "a"})
    assert (row["status"], row["error"]) == ("completed", None)
    assert row["result"] == '{"path": "a", "attempt": 1}'


async def test_a_model_is_a_result_and_none_is_no_result(run):
    async def model(job):
        return Ingest(path="a")

    async def nothing(job):
        return None

    assert (await run(model))["result"] == '{"path": "a"}'
    assert (await run(nothing))["result"] is None


async def test_a_payload_that_does_not_validate_fails_without_retry(run):
    async def handler(job: Job[Ingest]):
        raise AssertionError("must not run")

    row = await run(handler, {"file": "a"})
    assert (row["status"], row["retry_count"], row["attempt"]) == ("failed", 0, 1)
    assert row["error"].startswith("the payload is not valid: 1 validation error")
    assert "path" in row["error"]


@pytest.mark.parametrize(
    "result",
    [object(), float("nan"), "\x00", "\ud800", {"a": b"\xff"}],
    ids=lambda value: repr(value).split(" at ")[0],
)
async def test_a_result_that_is_not_json_fails_without_retry(run, result):
    async def handler(job):
        return result

    row = await run(handler)
    assert row["status"] == "failed"
    assert row["error"].startswith("the result is not JSON that can be stored")


async def test_an_exception_is_a_failure_with_type_message_and_traceback(run):
    row = await run(raising(LookupError("no such file")))
    assert (row["status"], row["retry_count"]) == ("pending", 1)
    head, trace = row["error"].split("\n\n", 1)
    assert head == "LookupError: no such file"
    assert "in handler" in trace
    assert "raise error" in trace
    assert "pgjobs/handler/" not in trace
    assert "pgjobs/worker/" not in trace


async def test_a_long_traceback_is_cut_in_the_middle(run):
    row = await run(raising(ValueError("x" * 100_000)))
    assert len(row["error"]) < 10_000
    assert "characters ..." in row["error"]
    assert row["error"].startswith("ValueError: xxx")


async def test_the_cause_of_an_exception_is_part_of_the_error(run):
    async def handler(job):
        try:
            {}["a"]
        except KeyError as error:
            raise RuntimeError("outer") from error

    row = await run(handler)
    assert "KeyError" in row["error"]
    assert "direct cause" in row["error"]


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", "a\udfff\x00b"])
async def test_text_that_the_database_cannot_hold_is_escaped(run, text):
    row = await run(raising(ValueError(text)))
    assert row["status"] == "pending"
    assert row["error"].startswith("ValueError: a\\")
    row = await run(raising(Fail(text)))
    assert row["status"] == "failed"
    assert row["error"].startswith("a\\")


async def test_an_exception_that_cannot_even_be_printed_is_a_failure(run):
    class Odd(Exception):
        def __str__(self):
            raise ValueError("no")

    row = await run(raising(Odd()))
    assert (row["status"], row["retry_count"]) == ("pending", 1)
    assert "Odd" in row["error"]


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), BaseException("odd"), BaseExceptionGroup("odd", [SystemExit(1)])],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_a_handler_that_exits_fails_its_own_job_alone(run, error, kind):
    def plain(job):
        raise error

    row = await run(plain if kind == "thread" else raising(error))
    assert (row["status"], row["retry_count"]) == ("pending", 1)
    assert row["error"].startswith(type(error).__name__)


async def test_raising_retry_is_a_failure_with_its_own_delay(run, conn):
    row = await run(raising(Retry(HOUR, "the service is down")))
    assert (row["status"], row["retry_count"]) == ("pending", 1)
    assert row["error"] == "the service is down"
    assert timedelta(minutes=50) < row["run_at"] - row["updated_at"] <= HOUR
    await make_due(conn)
    row = await run(raising(Retry()), max_retries=0)
    assert row["status"] == "failed"


async def test_raising_snooze_spends_no_retry(run):
    row = await run(raising(Snooze(HOUR)), max_retries=0)
    assert (row["status"], row["retry_count"], row["crash_count"]) == ("pending", 0, 0)
    assert timedelta(minutes=50) < row["run_at"] - row["updated_at"] <= HOUR + HOUR / 60


async def test_the_microseconds_of_a_retry_s_delay_count(run):
    after = timedelta(hours=1, microseconds=1)
    row = await run(raising(Retry(after)))
    assert row["run_at"] - row["updated_at"] == after


async def test_a_snooze_of_a_microsecond_makes_the_job_due_at_once(run):
    async def handler(job):
        if job.attempt == 1:
            raise Snooze(timedelta(microseconds=1))

    row = await run(handler)
    assert (row["status"], row["attempt"], row["retry_count"]) == ("completed", 2, 0)


async def test_raising_fail_is_final(run):
    row = await run(raising(Fail("the file is broken")))
    assert (row["status"], row["error"]) == ("failed", "the file is broken")


async def test_raising_cancel_cancels_the_job(run):
    row = await run(raising(Cancel("nobody wants it")))
    assert (row["status"], row["error"]) == ("cancelled", "nobody wants it")


@pytest.mark.parametrize("signal", [Retry, Snooze])
@pytest.mark.parametrize("after", [-HOUR, timedelta.max, 5], ids=repr)
async def test_an_invalid_delay_is_an_ordinary_failure(run, signal, after):
    async def handler(job):
        raise signal(after)

    row = await run(handler)
    assert (row["status"], row["retry_count"]) == ("pending", 1)
    assert row["error"].startswith("pgjobs.errors.InvalidArgument: a delay must be a timedelta")


async def test_a_run_that_takes_too_long_is_a_failure(run):
    async def handler(job):
        await asyncio.sleep(60)

    row = await run(handler, limit=timedelta(seconds=0.05))
    assert (row["status"], row["retry_count"]) == ("pending", 1)
    assert row["error"].startswith("TimeoutError: still running after 0:00:00.050000\n")
    # Where it was stuck.
    assert "    await asyncio.sleep(60)\n" in row["error"]


async def test_a_timeout_error_of_the_handler_is_an_ordinary_failure(run):
    async def handler(job):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    row = await run(handler, limit=timedelta(seconds=50))
    assert row["error"].startswith("TimeoutError\n")


@pytest.mark.parametrize("how", ["raise", "cancel"])
async def test_a_handler_that_cancels_itself_has_failed(run, how):
    async def handler(job):
        if how == "raise":
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    row = await run(handler, max_retries=0)
    assert row["status"] == "failed"
    assert "CancelledError: the handler cancelled itself\n" in row["error"]


async def test_a_plain_function_runs_in_a_thread(run):
    began = time.monotonic()

    def handler(job: Job[Ingest]) -> str:
        import threading

        assert threading.current_thread() is not threading.main_thread()
        return job.payload.path

    assert (await run(handler, {"path": "a"}))["result"] == '"a"'
    assert time.monotonic() - began < 5


async def test_plain_functions_run_at_the_same_time(app, conn):
    import threading

    together = threading.Barrier(5, timeout=10)
    app.job("t")(lambda job: together.wait() >= 0)
    await app.enqueue_many("t", [None] * 5)
    await app.worker(concurrency=5).run(until_empty=True)
    assert await conn.fetchval("select count(*) from jobs where status = 'completed'") == 5


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, GeneratorExit, ValueError])
async def test_any_exception_of_a_plain_function_is_a_failure(run, error):
    def handler(job):
        raise error("odd")

    row = await run(handler)
    assert (row["status"], row["retry_count"]) == ("pending", 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_coroutine_that_a_handler_returns_without_awaiting_it_fails_the_job(run, is_async):
    async def work():
        raise AssertionError("must not run")

    async def handler(job):
        return work()

    row = await run(handler if is_async else lambda job: work())
    assert (row["status"], row["retry_count"]) == ("failed", 0)
    assert "returned the coroutine" in row["error"]
    assert "work, and nothing has awaited it: declare the handler by `async def`" in row["error"]


async def test_the_warning_of_a_coroutine_that_a_plain_function_forgets_names_its_line(run):
    async def work(): ...

    def handler(job):
        work()

    with pytest.warns(RuntimeWarning, match=r"never awaited\nCoroutine created .*\n.*handler\n"):
        await run(handler)


async def test_a_handler_that_swallows_its_timeout_completes(run):
    async def handler(job):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "cleaned up"

    row = await run(handler, limit=timedelta(seconds=0.05))
    assert row["status"] in ("pending", "completed")
    assert row["worker"] is None


async def test_endless_recursion_is_a_failure(run):
    async def handler(job):
        def deeper():
            return deeper()

        return deeper()

    row = await run(handler)
    assert row["error"].startswith("RecursionError")
    assert sys.getrecursionlimit() > 100


async def test_the_traceback_of_a_plain_function_begins_in_the_function(run):
    def plain(job):
        raise LookupError("no such file")

    trace = (await run(plain))["error"].split("\n\n", 1)[1]
    assert trace.splitlines()[1].endswith("in plain")


class OddDelay(Retry):
    def __init__(self, after: Any) -> None:
        Exception.__init__(self, "odd")
        self.after = after


@pytest.mark.parametrize("after", ["soon", timedelta.max, -HOUR])
async def test_a_delay_that_no_job_may_have_fails_its_own_job_alone(run, after):
    row = await run(raising(OddDelay(after)), max_retries=0)
    assert row["status"] == "failed"
    assert row["error"].startswith("pgjobs.errors.InvalidArgument: a delay must be a timedelta")


async def test_an_exception_that_lies_about_its_class_is_a_failure(run):
    class Odd(Exception):
        @property
        def __class__(self):
            raise SystemExit("odd")

    row = await run(raising(Odd()), max_retries=0)
    assert (row["status"], row["error"].splitlines()[0]) == ("failed", "SystemExit: odd")
