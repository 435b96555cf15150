"""Plain functions that run in child processes of the worker."""

import asyncio
import os
import signal
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from python import in_children

from pgjobs import App, InvalidArgument
from pgjobs.worker import children

SECOND = timedelta(seconds=1)


@pytest.fixture
async def child_app(pgjobs_dsn):
    in_children.app.connect_to(pgjobs_dsn)
    async with in_children.app as app:
        yield app


@pytest.fixture
def run(child_app, conn):
    async def go(job_type, payload=None):
        options = child_app.tasks[job_type].options
        # Not by `enqueue`, so that the child is the first to read the payload.
        [job_id] = await child_app.enqueue_many(job_type, [payload], **options)
        await child_app.worker().run(until_empty=True)
        return await conn.fetchrow("select * from jobs where id = $1", job_id)

    return go


async def test_a_function_in_a_child_process_has_its_payload_and_gives_a_result(run):
    row = await run("double", 21)
    result = eval(row["result"])
    assert (row["status"], result["doubled"], result["attempt"]) == ("completed", 42, 1)
    assert result["pid"] != os.getpid()


async def test_what_a_function_in_a_child_process_reports_last_is_written(run):
    row = await run("report", 10_000)
    assert row["status"] == "completed"
    assert eval(row["progress"]) == {"done": 10_000, "total": 10_000}


async def test_a_child_process_runs_many_jobs_and_is_then_replaced(child_app, conn, monkeypatch):
    monkeypatch.setattr(children, "MAX_JOBS_PER_CHILD", 3)
    await child_app.enqueue_many("double", list(range(7)))
    await child_app.worker(concurrency=1).run(until_empty=True)
    pids = await conn.fetch(
        "select count(*) from jobs where status = 'completed' group by result ->> 'pid' order by 1"
    )
    assert [row[0] for row in pids] == [1, 3, 3]


async def test_a_payload_that_is_not_valid_fails_in_the_child_process(run):
    row = await run("double", "many")
    assert (row["status"], row["attempt"]) == ("failed", 1)
    assert row["error"].startswith("the payload is not valid: 1 validation error")


@pytest.mark.parametrize(
    ("job_type", "payload", "error"),
    [("raise", "no such file", "LookupError: no such file"), ("exit", 3, "SystemExit: 3")],
)
async def test_an_error_in_a_child_process_fails_the_job(run, job_type, payload, error):
    row = await run(job_type, payload)
    head, trace = row["error"].split("\n\n", 1)
    assert (row["status"], row["crash_count"], head) == ("failed", 0, error)
    assert trace.splitlines()[1].endswith(("in raise_error", "in leave"))


@pytest.mark.parametrize(
    ("payload", "how"),
    [("killed", "was killed by SIGKILL"), ("faulted", "was killed by SIGSEGV"),
     ("left", "exited with 3")],
)
async def test_the_death_of_a_child_process_is_a_crash_of_its_job_alone(
    child_app, conn, working, until_status, caplog, payload, how
):
    child_app.job("beside")(lambda job: None)
    try:
        async with working(child_app, concurrency=4):
            job = await child_app.enqueue("die", payload, max_retries=0)
            for _ in range(10):
                beside = await child_app.enqueue("beside")
            row = await until_status(job.id, "failed")
            await until_status(beside.id, "completed")
    finally:
        del child_app.tasks["beside"]
    # Even a job without retries may be lost once.
    assert (row["crash_count"], row["attempt"], row["retry_count"]) == (2, 2, 0)
    assert row["error"] == f"its child process {how}"
    error = row["error"]
    told = [(r.levelname, r.getMessage()) for r in caplog.records if "(die)" in r.getMessage()]
    assert told == [
        ("WARNING", f"job {job.id} (die) crashed in attempt 1, crash 1, again in 0 s: {error}"),
        ("ERROR", f"job {job.id} (die) failed for good in attempt 2: {error}"),
    ]
    beside = "select count(*) from jobs where job_type = 'beside' and (attempt <> 1 or error <> '')"
    assert await conn.fetchval(beside) == 0


@pytest.mark.parametrize("job_type", ["endless", "stubborn"])
async def test_a_timeout_ends_a_function_in_a_child_process(run, job_type):
    async with asyncio.timeout(10):
        row = await run(job_type)
    assert (row["status"], row["crash_count"]) == ("failed", 0)
    assert row["error"].startswith("TimeoutError: still running after 0:00:00.200000")
    # Where it was stuck, if the child lived to tell.
    assert (", in endless\n" in row["error"]) == (job_type == "endless")


async def test_a_function_that_is_stopped_in_a_child_process_may_clean_up(run, tmp_path):
    row = await run("clean", str(tmp_path / "file"))
    assert row["error"].startswith("TimeoutError: still running after 0:00:00.200000")
    assert not list(tmp_path.iterdir())


async def test_a_cancelled_job_ends_its_child_process(
    child_app, conn, working, until_status, eventually, tmp_path
):
    async with working(child_app):
        job = await child_app.enqueue("wait", str(tmp_path / "file"))
        await eventually((tmp_path / "file").exists)
        await conn.execute("select from jobs_cancel($1)", job.id)
        await until_status(job.id, "cancelled")
    assert not _is_alive(tmp_path / "file")


async def test_a_function_in_a_child_process_sees_that_its_worker_stops(
    child_app, conn, eventually, tmp_path
):
    await child_app.enqueue("wait", str(tmp_path / "file"))
    worker = child_app.worker(grace=60 * SECOND)
    task = asyncio.create_task(worker.run())
    await eventually((tmp_path / "file").exists)
    worker.stop()
    async with asyncio.timeout(10):
        await task
    assert not worker.left_running
    assert tuple(await conn.fetchrow("select status, retry_count from jobs")) == ("pending", 0)


async def test_log_records_of_a_child_process_reach_the_handlers_of_the_worker(run, caplog):
    await run("log", "hello")
    assert ("in a child", 30, "says hello") in caplog.record_tuples


async def test_a_child_process_ends_when_its_worker_is_killed(
    pgjobs_dsn, child_app, eventually, tmp_path
):
    await child_app.enqueue("wait", str(tmp_path / "file"))
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c",
        "import asyncio; from python.in_children import app; asyncio.run(app.worker().run())",
        env={**os.environ, "PGJOBS_DSN": pgjobs_dsn, "PYTHONPATH": _path()},
    )
    await eventually((tmp_path / "file").exists)
    os.kill(worker.pid, signal.SIGKILL)
    await worker.wait()
    await eventually(lambda: not _is_alive(tmp_path / "file"))


def _path() -> str:
    here = Path(__file__).parents[2]
    return os.pathsep.join([str(here), str(here / "tests")])


def _is_alive(file: Path) -> bool:
    try:
        status = Path(f"/proc/{int(file.read_text())}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


async def test_a_handler_that_a_child_process_cannot_import_is_refused(pgjobs_dsn):
    app = App(dsn=pgjobs_dsn)

    @app.job("t", run_in="process")
    def inner(job):
        pass

    with pytest.raises(InvalidArgument, match=r"decorate it with @app\.job at the top"):
        await app.worker().run()
    for run_in in ("process", "thread"):
        with pytest.raises(InvalidArgument, match="write `def` in place of `async def`"):

            @app.job(f"async {run_in}", run_in=run_in)
            async def handler(job):
                pass

    with pytest.raises(InvalidArgument, match="run_in must be 'thread' or 'process'"):
        app.job("u", run_in="moon")(lambda job: None)
    await app.close()


async def results(conn):
    return [row[0] for row in await conn.fetch("select result from jobs order by id")]


@pytest.mark.parametrize(
    ("job_type", "own"), [("log unreadable", '"its own result"'), ("fork", '"parent"')]
)
async def test_no_job_gets_the_result_of_the_job_before_it(child_app, conn, job_type, own):
    await child_app.enqueue(job_type, None)
    for payload in ("a", "ab"):
        await child_app.enqueue("length", payload)
    await child_app.worker(concurrency=1).run(until_empty=True)
    assert await results(conn) == [own, "1", "2"]


async def test_a_log_record_with_odd_fields_reaches_the_worker(run, caplog):
    async with asyncio.timeout(10):
        row = await run("log odd")
    [record] = [r for r in caplog.records if r.name == "in a child"]
    assert (row["status"], record.getMessage(), record.plain) == ("completed", "odd", {"a": [1]})
    assert "OnlyHere object" in record.odd[0]


async def test_log_records_reach_the_worker_after_a_module_has_configured_logging(
    child_app, caplog
):
    await child_app.enqueue("reconfigure", None)
    await child_app.enqueue("log", "hello")
    await child_app.worker(concurrency=1).run(until_empty=True)
    assert ("in a child", 30, "says hello") in caplog.record_tuples


async def test_the_death_of_a_child_is_seen_while_a_process_of_the_handler_lives_on(
    child_app, run
):
    async with asyncio.timeout(15):
        row = await run("leave one behind")
    assert row["error"] == "its child process was killed by SIGKILL"


async def test_a_child_that_has_closed_its_pipe_ends_with_its_job(run, tmp_path):
    async with asyncio.timeout(10):
        row = await run("close all", str(tmp_path / "file"))
    assert row["finished_at"] is not None or row["crash_count"] > 0
    assert not _is_alive(tmp_path / "file")


async def test_a_sigterm_that_is_not_of_the_worker_leaves_the_job_its_grace(run):
    row = await run("signalled")
    assert (row["result"], row["error"]) == ('"went on"', None)


async def test_an_idle_child_that_was_killed_costs_no_job_an_attempt(
    child_app, conn, working, until_status
):
    async with working(child_app, concurrency=1):
        first = await until_status((await child_app.enqueue("double", 1)).id, "completed")
        os.kill(eval(first["result"])["pid"], signal.SIGKILL)
        await asyncio.sleep(0.1)
        row = await until_status((await child_app.enqueue("double", 1)).id, "completed")
    assert (row["attempt"], row["retry_count"]) == (1, 0)


async def test_a_worker_that_stops_while_a_child_starts_fails_no_job(
    child_app, conn, eventually, monkeypatch, tmp_path
):
    starting, go = threading.Event(), threading.Event()

    class Slow(children.Child):
        def __init__(self):
            starting.set()
            go.wait(10)
            super().__init__()

    monkeypatch.setattr(children, "Child", Slow)
    await child_app.enqueue("wait", str(tmp_path / "file"), max_retries=0)
    worker = child_app.worker()
    task = asyncio.create_task(worker.run())
    await eventually(starting.is_set)
    worker.stop()
    go.set()
    async with asyncio.timeout(10):
        await task
    row = await conn.fetchrow("select status, retry_count, error from jobs")
    assert tuple(row) == ("pending", 0, None)


async def test_a_worker_leaves_no_child_process_behind(child_app, eventually):
    await child_app.enqueue_many("double", [1, 2, 3])
    await child_app.worker(concurrency=3).run(until_empty=True)
    me = str(os.getpid())

    def children_of_this_process():
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if stat.read_text().rsplit(")", 1)[1].split()[1] == me:
                    found.append(stat.with_name("cmdline").read_text())
        return [c for c in found if "resource_tracker" not in c and "postgres" not in c]

    await eventually(lambda: not children_of_this_process())


async def test_a_large_payload_is_not_mixed_with_a_request_to_stop(
    child_app, conn, eventually, monkeypatch
):
    sending = threading.Event()
    run = children.Child.run

    def tell(*arguments):
        sending.set()
        return run(*arguments)

    monkeypatch.setattr(children.Child, "run", tell)
    await child_app.enqueue("length", "x" * 20_000_000)
    worker = child_app.worker()
    task = asyncio.create_task(worker.run())
    await eventually(sending.is_set)
    await asyncio.sleep(0.05)  # the payload is on its way, and the child is starting
    worker.stop()
    async with asyncio.timeout(20):
        await task
    row = await conn.fetchrow("select status, retry_count, error, result from jobs")
    assert tuple(row) == ("completed", 0, None, "20000000")


@pytest.mark.parametrize("where", ["thread", "process"])
async def test_a_job_for_which_the_system_has_no_place_left_is_given_back(
    child_app, conn, monkeypatch, where
):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    def refuse_child(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    child_app.job("plain")(lambda job: "ran")
    try:
        if where == "process":
            monkeypatch.setattr(children.Child, "__init__", refuse_child)
            await child_app.enqueue("double", 1, max_retries=0)
        else:
            await child_app.enqueue("plain", {}, max_retries=0)
        worker = child_app.worker()
        with monkeypatch.context() as patch:
            if where == "thread":
                patch.setattr(worker._functions._threads, "start", refuse)
            await worker.run(until_empty=True)
    finally:
        del child_app.tasks["plain"]
    row = await conn.fetchrow(
        "select status, retry_count, error, run_at > now() + interval '3 s' as later from jobs"
    )
    assert tuple(row) == ("pending", 0, None, True)


async def test_a_program_whose_child_would_start_the_worker_again_is_told_so(
    pgjobs_dsn, conn, tmp_path
):
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio\nfrom pgjobs import App\napp = App()\n\n"
        "@app.job('t', run_in='process')\ndef t(job):\n    pass\n\n"
        "asyncio.run(app.worker().run(until_empty=True))\n"
    )
    await conn.execute("select from jobs_enqueue('t', max_retries => 0)")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), env={**os.environ, "PGJOBS_DSN": pgjobs_dsn,
                                           "PYTHONPATH": _path()},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        _, text = await process.communicate()
    row = await conn.fetchrow("select status, error from jobs")
    assert row["status"] == "failed"
    assert "must stand under `if __name__ == '__main__'`" in row["error"]
    assert b"a worker cannot run in a child process of a worker" in text
