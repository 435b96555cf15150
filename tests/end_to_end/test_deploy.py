"""The files of examples/deploy: what they start runs, answers its probes and drains at SIGTERM."""

import asyncio
import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import yaml
from end_to_end.blocks import blocks
from psycopg.conninfo import conninfo_to_dict

from pgjobs import App, Job
from pgjobs.cli.options import duration

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "deploy"
UNIT = FOLDER / "pgjobs-worker.service"
ANALYZE = shutil.which("systemd-analyze")
LIMIT_S = 30
# A worker ends this long after its grace at the latest, whatever its jobs do.
MARGIN_S = 10

APP = """
import asyncio

from pgjobs import App, Job

app = App()


@app.schedule("0 3 * * *")
@app.job("short")
async def short(job: Job[None]) -> None:
    program = await asyncio.create_subprocess_exec("sleep", "1")
    assert await program.wait() == 0


@app.job("long")
async def long(job: Job[None]) -> None:
    await asyncio.sleep(600)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(pgjobs_dsn: str, tmp_path: Path) -> Iterator[Start]:
    """start(arguments) runs a command in a folder with an app ``shop:app``."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "pgjobs"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m pgjobs "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "PGJOBS_DSN": pgjobs_dsn, "PYTHONUNBUFFERED": "1",
    }
    started: list[subprocess.Popen[str]] = []

    def run(arguments: Sequence[str], **more: str) -> "subprocess.Popen[str]":
        started.append(subprocess.Popen(
            arguments, cwd=tmp_path, env={**environment, **more}, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        ))
        return started[-1]

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def wait_until(is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def statuses(dsn: str) -> dict[str, tuple[str, int]]:
    """Status and retries spent of the jobs, by their type."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select job_type, status, retry_count from jobs").fetchall()
    return {job_type: (status, retries) for job_type, status, retries in rows}


def enqueue(dsn: str, *job_types: str) -> None:
    with psycopg.connect(dsn) as connection:
        for job_type in job_types:
            connection.execute("select from jobs_enqueue(%s, 'null')", [job_type])


def drains(process: "subprocess.Popen[str]", dsn: str, stop: Callable[[], None]) -> None:
    """A short job ends within the grace; a long one is given back, without a retry."""
    enqueue(dsn, "short", "long")
    # Each may be claimed by a process of its own.
    wait_until(lambda: not {"pending"} & {status for status, _ in statuses(dsn).values()})
    stop()
    assert process.wait(LIMIT_S) == 0
    assert statuses(dsn) == {"short": ("completed", 0), "long": ("pending", 0)}


def grace_s(arguments: Sequence[str]) -> float:
    return duration(arguments[arguments.index("--grace") + 1]).total_seconds()


def with_grace(arguments: Sequence[str], grace: str) -> list[str]:
    place = arguments.index("--grace") + 1
    return [*arguments[:place], grace, *arguments[place + 1 :]]


@pytest.mark.parametrize("path", [UNIT, FOLDER / "Dockerfile"], ids=lambda path: path.name)
def test_the_lines_that_the_guide_shows_are_those_of_the_file(path: Path) -> None:
    page = ROOT / "docs" / "guides" / "deployment.md"
    shown = {"service": "Type=", "": "USER "}[path.suffix[1:]]
    (code,) = [block.code for block in blocks(page) if block.code.startswith(shown)]
    lines = path.read_text().splitlines()
    assert [line for line in code.splitlines() if line not in lines] == []


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser["Service"]


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze, of Debian's package systemd")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    assert ANALYZE is not None
    copy = tmp_path / UNIT.name
    program = unit()["ExecStart"].split()[0]
    # The program of the unit is not on this machine.
    copy.write_text(UNIT.read_text().replace(program, "/bin/true"))
    done = subprocess.run(
        [ANALYZE, "verify", str(copy)], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_waits_longer_than_the_grace() -> None:
    arguments = shlex.split(unit()["ExecStart"])
    assert float(unit()["TimeoutStopSec"]) >= grace_s(arguments) + MARGIN_S


@pytest.mark.parametrize("more", [[], ["--processes", "2"]])
def test_the_worker_of_the_unit_drains_at_its_signal(
    start: Start, pgjobs_dsn: str, more: list[str]
) -> None:
    service = unit()
    _, *arguments = with_grace(shlex.split(service["ExecStart"]), "3s")
    process = start(["pgjobs", *arguments, *more])
    # By default systemd signals the programs too that handlers have started.
    send = os.kill if service["KillMode"] == "mixed" else os.killpg
    drains(process, pgjobs_dsn, lambda: send(process.pid, signal.Signals[service["KillSignal"]]))


def test_the_worker_of_the_unit_fails_without_a_database_and_is_started_again(
    start: Start,
) -> None:
    service = unit()
    _, *arguments = shlex.split(service["ExecStart"])
    process = start(["pgjobs", *arguments], PGJOBS_DSN="postgresql://127.0.0.1:1/shop")
    assert process.wait(LIMIT_S) == 1
    assert service["Restart"] == "on-failure"
    # Five starts within ten seconds would be the last.
    assert float(service["RestartSec"]) >= 3


def instructions() -> dict[str, str]:
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    return dict(re.findall(r"^([A-Z]+) +(.*)$", text, re.MULTILINE))


def test_the_command_of_the_image_is_healthy_and_drains(
    start: Start, pgjobs_dsn: str, tmp_path: Path
) -> None:
    found = instructions()
    file = "/tmp/pgjobs-worker"
    arguments = json.loads(found["CMD"])
    probe = json.loads(found["HEALTHCHECK"].partition("CMD")[2])
    assert file in arguments
    arguments, probe = (
        [word.replace(file, str(tmp_path / "health")) for word in words]
        for words in (arguments, probe)
    )

    def is_healthy() -> bool:
        return subprocess.run(probe, check=False, capture_output=True).returncode == 0

    assert not is_healthy()
    process = start(with_grace(arguments, "3s"))
    wait_until(is_healthy)
    drains(process, pgjobs_dsn, process.terminate)
    assert not is_healthy()
    # What a worker that was killed leaves behind is old soon.
    (tmp_path / "health").touch()
    assert is_healthy()
    two_minutes_ago = time.time() - 120
    os.utime(tmp_path / "health", (two_minutes_ago, two_minutes_ago))
    assert not is_healthy()


def test_the_image_runs_as_a_user_that_kubernetes_knows_not_to_be_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions()["USER"])
    assert float(re.findall(r"--time (\d+)", (FOLDER / "Dockerfile").read_text())[0]) >= (
        grace_s(json.loads(instructions()["CMD"])) + MARGIN_S
    )


def manifests() -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found[document["metadata"]["name"]] = document
    return found


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests()[name]["spec"]["template"]["spec"]
    return found


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    assert isinstance(found, dict)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def asked(port: int, path: str) -> tuple[int, str] | None:
    """Status and text of the answer; null while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None


def is_well(port: int, path: str) -> bool:
    answer = asked(port, path)
    return answer is not None and answer[0] == 200


def test_the_probes_of_kubernetes_are_answered_and_its_worker_drains(
    start: Start, pgjobs_dsn: str
) -> None:
    found = container("pgjobs-worker")
    (opened,) = found["ports"]
    port = free_port()
    assert f":{opened['containerPort']}" in found["command"]
    arguments = [word.replace(f":{opened['containerPort']}", f":{port}")
                 for word in found["command"]]
    process = start(with_grace(arguments, "3s"))
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asks = found[probe]["httpGet"]
        assert asks["port"] == opened["name"]
        wait_until(partial(is_well, port, asks["path"]))
    drains(process, pgjobs_dsn, process.terminate)


def test_kubernetes_waits_longer_than_the_grace() -> None:
    grace = grace_s(container("pgjobs-worker")["command"])
    assert pod("pgjobs-worker")["terminationGracePeriodSeconds"] >= grace + MARGIN_S


def test_the_metrics_of_kubernetes_are_where_prometheus_looks_until_sigterm(start: Start) -> None:
    found = container("pgjobs-metrics")
    labels = manifests()["pgjobs-metrics"]["spec"]["template"]["metadata"]["annotations"]
    (opened,) = found["ports"]
    assert labels["prometheus.io/port"] == str(opened["containerPort"])
    port = free_port()
    process = start(
        [word.replace(str(opened["containerPort"]), str(port)) for word in found["command"]]
    )
    path = labels["prometheus.io/path"]
    wait_until(lambda: asked(port, path))
    status, text = asked(port, path) or (0, "")
    assert status == 200
    assert "pgjobs_workers" in text
    # Not by the default of the signal, which the first process of a container does not have.
    process.terminate()
    assert process.wait(LIMIT_S) == 0


async def test_the_migrating_job_of_kubernetes_may_run_twice(
    start: Start, empty_dsn: str
) -> None:
    command = container("pgjobs-migrate")["command"]
    roles = sorted(set(re.findall(r"pgjobs grant (\w+)", command[-1])))
    conn = await asyncpg.connect(empty_dsn)
    try:
        for role in roles:
            await conn.execute(f"create role {role}")
        for _ in range(2):
            assert start(command, PGJOBS_DSN=empty_dsn).wait(2 * LIMIT_S) == 0
        assert await conn.fetchval("select name from jobs_schedules") == "short"
        for role in roles:
            assert await conn.fetchval("select has_schema_privilege($1, 'public', 'usage')", role)
        may_look = "select has_function_privilege('shop_observer', 'jobs_doctor()', 'execute')"
        assert await conn.fetchval(may_look)
    finally:
        for role in roles:
            await conn.execute(f"drop owned by {role}; drop role {role}")
        await conn.close()


@pytest.mark.parametrize("name", ["pgjobs-migrate", "pgjobs-worker", "pgjobs-metrics"])
def test_no_pod_of_kubernetes_runs_as_root_or_holds_a_password(name: str) -> None:
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    security = container(name)["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    (variable,) = container(name)["env"]
    assert variable["name"] == "PGJOBS_DSN"
    assert set(variable["valueFrom"]) == {"secretKeyRef"}


def test_the_autoscaler_scales_the_workers_and_reads_with_the_role_of_the_metrics() -> None:
    scaled, role = yaml.safe_load_all((ROOT / "grafana" / "keda.yaml").read_text())
    assert scaled["spec"]["scaleTargetRef"]["name"] == "pgjobs-worker"
    # Else each deploy would set the number of workers back.
    assert "replicas" not in manifests()["pgjobs-worker"]["spec"]
    (secret,) = role["spec"]["secretTargetRef"]
    (variable,) = container("pgjobs-metrics")["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": secret["name"], "key": secret["key"]}


def test_a_worker_finds_the_primary_among_several_hosts(start: Start, pgjobs_dsn: str) -> None:
    given = conninfo_to_dict(pgjobs_dsn)
    hosts = urllib.parse.urlencode({
        "host": f"127.0.0.1,{given['host']}", "port": f"1,{given['port']}", "user": given["user"],
        "target_session_attrs": "read-write",
    })
    dsn = f"postgresql:///{given['dbname']}?{hosts}"
    process = start(["pgjobs", "worker", "shop:app", "--grace", "3s"], PGJOBS_DSN=dsn)
    drains(process, pgjobs_dsn, process.terminate)


async def test_the_timeouts_of_a_database_fail_handlers_and_not_the_worker(
    conn: asyncpg.Connection, pgjobs_dsn: str
) -> None:
    name = await conn.fetchval("select current_database()")
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
        await conn.execute(f"alter database {name} set {setting} = '300ms'")
    app = App(dsn=pgjobs_dsn)

    @app.job("statement", max_retries=0)
    async def statement(job: Job[None]) -> None:
        async with job.transaction() as transaction:
            await transaction.execute("select pg_sleep(1)")

    @app.job("idle", max_retries=0)
    async def idle(job: Job[None]) -> None:
        async with job.transaction():
            await asyncio.sleep(1)

    @app.job("neither")
    async def neither(job: Job[None]) -> None:
        await asyncio.sleep(1)

    for task in (statement, idle, neither):
        await task.enqueue(None)
    async with app:
        await app.worker().run(until_empty=True)
    assert statuses(pgjobs_dsn) == {
        "statement": ("failed", 0), "idle": ("failed", 0), "neither": ("completed", 0)
    }
