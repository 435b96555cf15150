"""The command `pgjobs worker`: import of the app, jobs, shutdown, and several processes."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

ROOT = Path(__file__).parents[2]
Connection = asyncpg.Connection
Start = Callable[..., "subprocess.Popen[str]"]

APP = """
import asyncio, logging, os
import pgjobs

app = pgjobs.App(dsn="postgresql://127.0.0.1:1/elsewhere")
not_an_app = 3
log = logging.getLogger("shop")

@app.job("quick")
async def quick(job: pgjobs.RunningJob[dict]) -> dict:
    log.info("sold", extra={"price": 3})
    return {"pid": os.getpid()}

@app.job("slow")
async def slow(job: pgjobs.RunningJob[dict]) -> None:
    await asyncio.sleep(60)
"""


STUCK = """
import asyncio, contextlib, time
import pgjobs

@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    await asyncio.sleep(600)

app = pgjobs.App()
app_that_never_closes = pgjobs.App(lifespan=lifespan)

@app_that_never_closes.job("closes")
async def closes(job):
    pass

@app.job("thread")
def thread(job):
    time.sleep(600)

@app.job("to_thread")
async def to_thread(job):
    await asyncio.to_thread(time.sleep, 600)

@app.job("swallows")
async def swallows(job):
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)

@app.job("blocks")
async def blocks(job):
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "stuck.py").write_text(STUCK)
    (tmp_path / "empty.py").write_text("import pgjobs\nthe_app = pgjobs.App()\n")
    (tmp_path / "broken.py").write_text("import pgjobs\n\n1 / 0\n")
    (tmp_path / "unclosed.py").write_text("import pgjobs\napp = (\n")
    (tmp_path / "needy.py").write_text("import a_package_that_is_missing\n")
    return tmp_path


@pytest.fixture
def start(folder: Path, pgjobs_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts worker processes, and kills them at the end of the test."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, flags: Sequence[str] = ()) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *flags, "-m", "pgjobs", "worker", "--dsn", pgjobs_dsn, *arguments],
            cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def until(conn: Connection, query: str, expected: Any = True, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while (found := await conn.fetchval(query)) != expected:
        assert time.monotonic() < deadline, f"{query} stays {found}"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nowhere:app", "there is no module nowhere: looked on Python's path and in "),
        ("shop.nowhere:app", "there is no module shop.nowhere"),
        ("empty:app", "empty has no app: its apps are the_app"),
        ("empty:the_app", "the app has no handlers: decorate one with @app.job(...), or import "),
        ("shop.py:app", "shop.py:app is a file, and MODULE:APP is wanted: write shop:app"),
        ("./my/shop.py", "./my/shop.py is a file, and MODULE:APP is wanted: write my.shop:app"),
        ("/a/shop.py:app", "is a file, and MODULE:APP is wanted: write shop:app in the folder /a"),
        ("unclosed:app", "importing unclosed failed with SyntaxError: '(' was never closed (/"),
        ("shop:not_an_app", "shop:not_an_app is not a pgjobs.App but of type int"),
        ("broken:app", "importing broken failed with ZeroDivisionError: division by zero ("),
        ("needy:app", "importing needy failed with ModuleNotFoundError: No module named 'a_pack"),
    ],
)
def test_an_app_that_cannot_be_found(start: Start, target: str, why: str) -> None:
    process = start(target)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (1, 2)
    assert out == ""
    assert why in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("module", ["broken", "unclosed", "needy"])
def test_an_error_at_import_has_a_traceback_of_the_apps_own_files(
    start: Start, module: str
) -> None:
    _, brief = start(f"{module}:app").communicate(timeout=30)
    assert f"{module}.py, line " in brief
    assert brief.endswith("; the traceback comes with --log-level debug\n")
    _, err = start(f"{module}:app", "--log-level", "debug").communicate(timeout=30)
    assert f'{module}.py", line ' in err
    assert "importlib" not in brief + err
    assert err.splitlines()[-1].startswith(f"pgjobs: importing {module} failed with ")


def test_tables_that_are_missing(start: Start) -> None:
    process = start("shop:app", "--schema", "elsewhere")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith("pgjobs: run `pgjobs migrate --schema elsewhere`: pgjobs is not")
    assert err.count("\n") == 1


async def test_a_worker_runs_jobs_of_the_given_database_and_stops_at_a_signal(
    conn: Connection, start: Start
) -> None:
    await conn.execute("select from jobs_enqueue('quick', queue => 'q')")
    process = start("shop:app", "-q", "q", "-c", "3", "--name", "w", "--log-level", "debug")
    await until(conn, "select status from jobs", "completed")
    row = await conn.fetchrow("select * from jobs_workers")
    assert row is not None
    assert (row["worker"], row["queues"], row["concurrency"]) == ("w", ["q"], 3)
    await conn.execute("select from jobs_enqueue('slow', queue => 'q')")
    await until(conn, "select count(*) from jobs where status = 'processing'", 1)
    await asyncio.sleep(0.5)  # a job that is claimed, and has not begun, would be given back
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)  # the running job may still end
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(r"INFO +shop +sold +\[price=3\]", err)
    assert re.search(r"pgjobs.worker  job 1 \(quick\) completed .*\[job_id=1 job_type=quick", err)
    assert "Traceback" not in err


LOGS = """
import logging, threading, warnings
import pgjobs

app = pgjobs.App()
log = logging.getLogger("shop")

@app.job("t", max_retries=0)
def t(job):
    log.info("sold", extra={"price": {3}})
    warnings.warn("odd")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise LookupError(job.payload)
"""


@pytest.mark.parametrize("processes", [(), ("--processes", "2"), ("--reload",)])
async def test_with_json_each_line_of_the_log_is_an_object(
    start: Start, conn: Connection, folder: Path, processes: Sequence[str]
) -> None:
    (folder / "logs.py").write_text(LOGS)
    await conn.execute("select from jobs_enqueue('t', '\"hush\"', reference_type => 'order',"
                       " reference_id => 4, max_retries => 0)")
    process = start("logs:app", "--log-format", "json", "--name", "w", *processes)
    await until(conn, "select status from jobs", "failed")
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.to_thread(process.communicate, timeout=30)
    lines = [json.loads(line) for line in err.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    told = {line["logger"]: line for line in lines}
    fields = {"job_type": "t", "attempt": 1, "queue": "default", "reference": "order:4"}
    assert (told["shop"] | fields) == told["shop"]
    assert told["shop"]["price"] == "{3}"
    assert told["shop"]["worker"].startswith("w")
    assert "odd" in told["py.warnings"]["message"]
    assert told["pgjobs.cli"]["exception"].endswith("ZeroDivisionError: division by zero")
    [failed] = [line for line in lines if line["level"] == "ERROR"]
    assert (failed | fields) == failed
    assert failed["exception"].endswith("LookupError: hush")
    if processes == ("--processes", "2"):
        assert told["pgjobs.processes"]["message"].startswith("SIGTERM received")
    if processes == ("--reload",):
        assert told["pgjobs.reload"]["message"].startswith("watching")


@pytest.mark.parametrize(
    ("target", "schema", "told"),
    [
        ("shop:app", "elsewhere", "run `pgjobs migrate --schema elsewhere`"),
        ("broken:app", "public", "importing broken failed with ZeroDivisionError"),
        ("exits:app", "public", "an error that nobody handles"),
    ],
)
def test_with_json_the_error_that_ends_the_command_is_an_object_too(
    start: Start, folder: Path, target: str, schema: str, told: str
) -> None:
    (folder / "exits.py").write_text(
        "import contextlib, pgjobs\n\n@contextlib.asynccontextmanager\nasync def fails(app):\n"
        "    yield 1 / 0\n\napp = pgjobs.App(lifespan=fails)\napp.job('t')(lambda job: None)\n"
    )
    process = start(target, "--schema", schema, "--log-format", "json", "--log-level", "error")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    [line] = [json.loads(line) for line in err.splitlines()]
    assert (line["level"], line["logger"]) == ("CRITICAL", "pgjobs.cli")
    assert line["message"].startswith(told)


async def test_a_worker_warns_of_a_queue_that_none_of_its_handlers_enqueues_into(
    start: Start, conn: Connection, folder: Path
) -> None:
    (folder / "post.py").write_text(
        "import pgjobs\n\napp = pgjobs.App()\n\n"
        "@app.job('mail', queue='mails')\nasync def mail(job): pass\n\n"
        "@app.job('note')\nasync def note(job): pass\n"
    )

    async def log_of(*queues: str) -> str:
        process = start("post:app", "--until-empty", "--name", "w", *queues)
        _, err = await asyncio.to_thread(process.communicate, timeout=30)
        assert process.returncode == 0, err
        return str(err)

    warning = (
        "worker w: none of its handlers enqueues into queue mial, unless a call names that queue: "
        "is the name right? The queues of its handlers are mails, default\n"
    )
    assert warning in await log_of("-q", "mails", "-q", "mial")
    assert "WARNING" not in await log_of("-q", "mails")
    said = await log_of()
    assert "WARNING" not in said
    assert "worker w: queues mails, default; " in said


async def test_a_worker_ends_when_the_queue_is_empty_and_deletes_what_is_completed(
    start: Start, conn: Connection, folder: Path
) -> None:
    (folder / "more.py").write_text(
        "from shop import app\n\n@app.job('more', queue='other')\nasync def more(job): pass\n"
    )
    for processes in ("1", "2"):
        await conn.execute("select from jobs_enqueue('quick')")
        await conn.execute("select from jobs_enqueue('more', queue => 'other')")
        process = start(
            "shop:app", "--import", "more", "--until-empty", "--delete-completed", "--lease", "5s",
            "--processes", processes,
        )
        _, err = await asyncio.to_thread(process.communicate, timeout=30)
        assert process.returncode == 0, err
        assert "queues default, other; concurrency 100; types quick, slow, more" in err
        assert await conn.fetchval("select count(*) from jobs") == 0


async def test_the_process_ends_soon_after_its_grace_whatever_keeps_it(
    start: Start, conn: Connection
) -> None:
    # The status is 1 where the worker could not end its work in order.
    stuck = {"closes": 1, "thread": 0, "to_thread": 0, "swallows": 0, "blocks": 1}
    processes = {}
    for what in stuck:
        app = "app_that_never_closes" if what == "closes" else "app"
        options = "--queue", what, "--grace", "0s", "--log-level", "warning"
        processes[what] = start(f"stuck:{app}", *options)
        await conn.execute("select from jobs_enqueue($1, queue => $1)", what)
    begun = "select count(*) from jobs where attempt = 1 and status in ('processing', 'completed')"
    await until(conn, begun, len(stuck))
    await asyncio.sleep(0.5)  # the last handler begins
    began = time.monotonic()
    for process in processes.values():
        process.send_signal(signal.SIGTERM)
    for what, process in processes.items():
        said = await asyncio.to_thread(process.communicate, timeout=30)
        took = time.monotonic() - began
        assert process.returncode == stuck[what], (what, said)
        assert took < 16, (what, took)
        if what in ("thread", "swallows"):
            assert "still runs, and cannot be stopped" in said[1], what
        if what != "thread":  # a thread of pgjobs does not keep its process
            assert "but not its process: exiting" in said[1], what
    rows = await conn.fetch("select job_type, status from jobs where job_type <> 'blocks'")
    ended = {"closes": "completed"}
    assert {tuple(row) for row in rows} == {
        (what, ended.get(what, "pending")) for what in stuck if what != "blocks"
    }


async def test_a_job_that_does_not_end_within_the_grace_is_released(
    conn: Connection, start: Start
) -> None:
    await conn.execute("select from jobs_enqueue('slow')")
    process = start("shop:app", "--grace", "0s")
    await until(conn, "select status from jobs", "processing")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    row = await conn.fetchrow("select status, retry_count, crash_count from jobs")
    assert tuple(row or ()) == ("pending", 0, 0)
    assert not await conn.fetch("select from jobs_workers")


async def test_several_processes_work_and_a_dead_one_is_restarted(
    conn: Connection, start: Start
) -> None:
    parent = start("shop:app", "--processes", "2", "--name", "w")
    names = """select array_agg(worker order by worker) from _jobs_worker_modes()
        where mode <> 'gone'"""
    await until(conn, names, ["w-1", "w-2"])
    began = await conn.fetchval("select clock_timestamp()")
    await conn.execute("select from jobs_enqueue('quick')")
    await until(conn, "select status from jobs", "completed")
    os.kill(await conn.fetchval("select (result ->> 'pid')::int from jobs"), signal.SIGKILL)
    await until(conn, f"select count(*) from jobs_workers where started_at > '{began}'", 1)
    await conn.execute("select jobs_enqueue('quick') from generate_series(1, 20)")
    await until(conn, "select count(*) from jobs where status = 'completed'", 21)
    parent.send_signal(signal.SIGTERM)
    _, err = parent.communicate(timeout=20)
    assert parent.returncode == 0, err
    assert re.search(r"worker process [12] ended with status -9: restarting it in 0.5 s", err)
    assert not await conn.fetch("select from jobs_workers")


def test_the_parent_exits_with_0_if_a_signal_ends_workers_that_are_still_starting(
    start: Start, folder: Path
) -> None:
    # The parent imports the app too; only the workers are slow to start.
    (folder / "slow.py").write_text(f"""{APP}
import pathlib, sys, time
if any(argument.startswith("--parent=") for argument in sys.argv):
    pathlib.Path(f"{{os.getpid()}}.begun").touch()
    time.sleep(60)
""")
    parent = start("slow:app", "--processes", "2")
    deadline = time.monotonic() + 30
    while len(list(folder.glob("*.begun"))) < 2:
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.send_signal(signal.SIGTERM)
    _, err = parent.communicate(timeout=20)
    assert parent.returncode == 0, err


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_modules_of_the_folder_are_found_and_never_taken_for_modules_of_python(
    conn: Connection, start: Start, folder: Path, processes: str
) -> None:
    for name in ("json", "logging", "queue", "types", "asyncio", "colorsys"):
        (folder / f"{name}.py").write_text("raise SystemExit('this is not the module of Python')")
    package = folder / "myproject"
    package.mkdir()
    # colorsys is one that nothing has imported before.
    (package / "jobs.py").write_text(f"import colorsys, json, queue\nimport shop\n{APP}")
    start("myproject.jobs:app", "--processes", processes, flags=["-P"])  # as the script `pgjobs`
    await conn.execute("select from jobs_enqueue('quick')")
    await until(conn, "select status from jobs", "completed")


def test_python_m_puts_the_folder_behind_pythons_own_modules_too(
    start: Start, folder: Path
) -> None:
    (folder / "colorsys.py").write_text("raise SystemExit('this is not the module of Python')")
    (folder / "jobs.py").write_text("import colorsys\nimport pgjobs\napp = pgjobs.App()\n")
    _, err = start("jobs:app").communicate(timeout=30)
    assert "the app has no handlers" in err


def test_an_app_in_a_module_that_is_named_like_one_of_pythons_must_be_renamed(
    start: Start, folder: Path
) -> None:
    (folder / "colorsys.py").write_text("import pgjobs\napp = pgjobs.App()\n")
    _, err = start("colorsys:app").communicate(timeout=30)
    assert "colorsys is a module of Python's own: rename your module" in err


async def test_each_process_gets_the_arguments_of_the_command_as_they_were_given(
    conn: Connection, start: Start
) -> None:
    # Three values look like options, and the app follows `--`.
    start("-p2", "--name", "-p", "-q", "--name=q", "-q", "--", "-c3", "--", "shop:app")
    row = "(worker, queues, concurrency)::text"
    workers = f"select array_agg({row} order by worker) from jobs_workers"
    await until(conn, workers, [f'(-p-{slot},"{{--name=q,--}}",3)' for slot in (1, 2)])


async def test_workers_whose_parent_was_killed_stop_by_themselves(
    conn: Connection, start: Start
) -> None:
    parent = start("shop:app", "--processes", "2")
    await until(conn, "select count(*) from jobs_workers", 2)
    parent.kill()
    await until(conn, "select count(*) from jobs_workers", 0)


async def test_a_role_that_is_only_a_worker_runs_jobs(
    conn: Connection, start: Start, pgjobs_dsn: str
) -> None:
    role = f"worker_{uuid4().hex[:12]}"
    await conn.execute(f"create role {role} login; select jobs_grant('{role}', 'worker')")
    try:
        await conn.execute("select jobs_enqueue('quick') from generate_series(1, 20)")
        process = start("shop:app", "--dsn", pgjobs_dsn.replace("user=postgres", f"user={role}"))
        await until(conn, "select count(*) from jobs where status = 'completed'", 20)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "permission denied" not in err
    finally:
        await conn.execute(f"drop owned by {role}; drop role {role}")


RELOADED = """
import pathlib
import pgjobs

app = pgjobs.App()

@app.job("version")
async def version(job):
    return 1
"""


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_worker_that_reloads_runs_each_version_of_a_file_and_survives_a_broken_one(
    start: Start, conn: Connection, folder: Path, processes: str
) -> None:
    file = folder / "reloaded.py"
    file.write_text(RELOADED)
    (folder / ".venv").mkdir()
    reloader = start("reloaded:app", "--reload", "--processes", processes)

    async def version_of_the_next_job() -> str:
        job_id = await conn.fetchval("select id from jobs_enqueue('version')")
        await until(conn, f"select status from jobs where id = {job_id}", "completed")
        return str(await conn.fetchval("select result from jobs where id = $1", job_id))

    workers = "select count(*) from jobs_workers"
    assert await version_of_the_next_job() == "1"
    await until(conn, workers, int(processes))
    began = await conn.fetchval("select max(started_at) from jobs_workers")
    (folder / ".venv" / "installed.py").write_text("1")
    # Of the same size, and within the same second: Python would take the compiled file.
    file.write_text(RELOADED.replace("1", "2"))
    await until(conn, f"{workers} where started_at > '{began}'", int(processes))
    assert await version_of_the_next_job() == "2"
    file.write_text("import pathlib\npathlib.Path('imported').touch()\n1 / 0\n")
    await until(conn, workers, 0)
    while not (folder / "imported").exists():
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)  # the process ends
    assert reloader.poll() is None
    file.write_text(RELOADED.replace("1", "3"))
    assert await version_of_the_next_job() == "3"
    reloader.send_signal(signal.SIGTERM)
    _, err = await asyncio.to_thread(reloader.communicate, timeout=20)
    assert reloader.returncode == 0
    assert err.count("reloaded.py changed: restarting the worker") == 3
    assert "the worker ended with status 1: the next change starts it again" in err
    assert "pgjobs: importing reloaded failed with ZeroDivisionError: division by zero (" in err
    assert ".venv" not in err
    assert await conn.fetchval(workers) == 0
    assert await conn.fetchval("select max(attempt) from jobs") == 1


async def test_a_worker_reloads_gently_and_stops_without_the_process_that_watches(
    start: Start, conn: Connection, folder: Path
) -> None:
    app = RELOADED.replace("return 1", "import asyncio; await asyncio.sleep(2); return 1")
    (folder / "reloaded.py").write_text(app)
    reloader = start("reloaded:app", "--reload", "--processes", "2")
    await conn.execute("select from jobs_enqueue('version')")
    await until(conn, "select status from jobs", "processing")
    (folder / "another.py").write_text("")
    await until(conn, "select (status, attempt)::text from jobs", "(completed,1)")
    await until(conn, "select count(*) from jobs_workers", 2)
    reloader.kill()
    await until(conn, "select count(*) from jobs_workers", 0)


def test_a_worker_that_reloads_cannot_end_when_the_queue_is_empty(start: Start) -> None:
    process = start("shop:app", "--reload", "--until-empty")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == "pgjobs: --reload never ends, and --until-empty does: give one\n"
