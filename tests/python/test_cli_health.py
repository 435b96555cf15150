"""`pgjobs worker --health` and `--health-file`: what probes are told, and when."""

import asyncio
import errno
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import typer

from pgjobs.cli.children_health import _Child, _judged
from pgjobs.cli.endpoint import MAX_CONNECTIONS, Endpoint
from pgjobs.cli.options import Address, address
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.errors import PgjobsError
from pgjobs.schema import migrate
from pgjobs.testing import FAST_SETTINGS
from pgjobs.worker.health import Report, _release

ROOT = Path(__file__).parents[2]
Connection = asyncpg.Connection
Answer = tuple[int, dict[str, Any]]

APP = """
import asyncio, os, time
import pgjobs

app = pgjobs.App()

@app.job("sleeps")
async def sleeps(job):
    await asyncio.sleep(60)

@app.job("pid")
async def pid(job):
    return os.getpid()

@app.job("computes")
async def computes(job):
    end = time.monotonic() + job.payload
    while time.monotonic() < end:
        pass

@app.job("forks")
async def forks(job):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    return child
"""


class Worker:
    """A process ``pgjobs worker --health``, and its answers."""

    def __init__(self, dsn: str, folder: Path, *arguments: str, port: int = 0) -> None:
        self.log = ""
        self._port: int | None = None
        self._has_port = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pgjobs", "worker", "shop:app", "--dsn", dsn,
             "--health", f"127.0.0.1:{port}", *arguments],
            cwd=folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if found := re.search(r"are answered on 127\.0\.0\.1:(\d+)", line):
                self._port = int(found[1])
                self._has_port.set()
        self._has_port.set()

    @property
    def port(self) -> int:
        assert self._has_port.wait(30)
        assert self._port is not None, self.log
        return self._port

    def ask(self, path: str) -> Answer:
        return ask(self.port, path)

    def is_told(self, path: str, status: int, reason: str | None, seconds: float = 30) -> Answer:
        """Asks until that is the answer."""
        deadline = time.monotonic() + seconds
        while True:
            answer: Any = None
            try:
                answer = self.ask(path)
                found = answer[1]["reason"]
                is_right = found is None if reason is None else re.search(reason, found or "")
                if answer[0] == status and is_right:
                    return answer
            except ConnectionError:  # nobody listens yet, or the process that did has just ended
                pass
            assert time.monotonic() < deadline, (answer, self.log)
            time.sleep(0.05)

    def is_ready(self) -> Answer:
        return self.is_told("/readyz", 200, None)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def ask(port: int, path: str, method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        assert response.getheader("Cache-Control") == "no-store"
        assert response.getheader("Content-Type") == "application/json"
        return response.status, json.loads(body) if body else {}
    finally:
        connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@pytest.fixture
def start(
    folder: Path, pgjobs_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Worker]]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started: list[Worker] = []

    def start(*arguments: str, dsn: str = pgjobs_dsn, port: int = 0) -> Worker:
        started.append(Worker(dsn, folder, *arguments, port=port))
        return started[-1]

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()
        worker.reading.join()
        assert worker.process.stderr is not None
        worker.process.stderr.close()


Start = Callable[..., Worker]


async def until(conn: Connection, query: str, expected: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while (found := await conn.fetchval(query)) != expected:
        assert time.monotonic() < deadline, f"{query} stays {found}"
        await asyncio.sleep(0.05)


def test_a_worker_that_claims_and_ticks_is_live_and_ready(start: Start) -> None:
    worker = start("--lease", "20s")
    status, ready = worker.is_ready()
    assert ready.keys() == {
        "ready", "reason", "claimed_seconds_ago", "ticked_seconds_ago", "schema"
    }
    assert status == 200
    assert 0 <= ready["claimed_seconds_ago"] < 20
    assert 0 <= ready["ticked_seconds_ago"] < 20
    assert ready["schema"]
    status, live = worker.ask("/livez")
    assert (status, live["live"], live["reason"], live["lease_seconds"]) == (200, True, None, 20)
    assert 0 <= live["loop_turned_seconds_ago"] < 5
    assert worker.stop() == 0


def test_a_worker_whose_database_is_gone_is_live_and_not_ready_until_it_is_back(
    start: Start, pytestconfig: pytest.Config
) -> None:
    # In a folder that stays, so that the server comes back on the same port.
    with (
        tempfile.TemporaryDirectory() as data,
        _server_in(data, pytestconfig.getoption("--pg-bin")) as server,
    ):
        migrate.migrate(server.tcp_dsn)
        worker = start("--lease", "3s", dsn=server.tcp_dsn)
        worker.is_ready()
        server.stop("immediate")
        worker.is_told("/readyz", 503, r"^no good answer from the database for \d+ s: the log says")
        time.sleep(4)  # longer than the lease
        assert worker.ask("/livez")[0] == 200
        status, answer = worker.ask("/readyz")
        assert (status, answer["ready"]) == (503, False)
        assert re.search(r"for [4-9] s", answer["reason"])
        server.start()
        worker.is_ready()
        assert worker.stop() == 0


def _server_in(folder: str, programs: str | None) -> EmbeddedPostgres:
    os.chmod(folder, 0o755)  # another user runs the server where root runs the tests
    return EmbeddedPostgres(f"{folder}/server", settings=FAST_SETTINGS, bin=programs)


async def test_a_worker_whose_claims_are_refused_is_not_ready(
    start: Start, conn: Connection, other: Connection
) -> None:
    worker = start()
    await asyncio.to_thread(worker.is_ready)
    async with conn.transaction():
        await conn.execute("lock table jobs")
        signal_ = "select pg_notify(jobs_channel('jobs_signal'), 'somebody 1 1 default')"
        await other.execute(signal_)  # so the worker claims
        reason = r"^no good answer from the database for \d+ s: the log says why$"
        await asyncio.to_thread(worker.is_told, "/readyz", 503, reason)
    await asyncio.to_thread(worker.is_ready)


async def test_a_handler_that_computes_is_no_reason_to_restart_before_the_lease_is_over(
    start: Start, conn: Connection
) -> None:
    worker = start("--lease", "4s")
    await asyncio.to_thread(worker.is_ready)
    await conn.execute("select jobs_enqueue('computes', '9')")
    await until(conn, "select status from jobs", "processing")
    began = time.monotonic()

    def watch() -> list[tuple[float, Answer]]:
        found = []
        while not found or found[-1][1][0] == 200:
            found.append((time.monotonic() - began, worker.ask("/livez")))
            assert found[-1][0] < 8
            time.sleep(0.1)
        return found

    answers = await asyncio.to_thread(watch)
    after_s, (_, dead) = answers[-1]
    assert after_s > 3.2
    assert len(answers) > 10  # the thread answers while the handler computes
    assert dead["live"] is False
    assert dead["loop_turned_seconds_ago"] >= 4
    assert "the event loop has been blocked for 4 s, which is longer than" in dead["reason"]
    status, answer = await asyncio.to_thread(worker.ask, "/readyz")
    assert (status, answer["reason"]) == (503, dead["reason"])
    await asyncio.to_thread(worker.is_told, "/livez", 200, None)


async def test_a_worker_that_drains_is_live_and_not_ready(start: Start, conn: Connection) -> None:
    worker = start("--grace", "3s")
    await asyncio.to_thread(worker.is_ready)
    await conn.execute("select jobs_enqueue('sleeps')")
    await until(conn, "select status from jobs", "processing")
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(worker.is_told, "/readyz", 503, "^stopping: it claims no more jobs$")
    assert (await asyncio.to_thread(worker.ask, "/livez"))[0] == 200
    assert await asyncio.to_thread(worker.process.wait, 20) == 0
    with pytest.raises(ConnectionRefusedError):
        worker.ask("/livez")


async def test_a_worker_whose_schema_is_older_is_not_ready_until_it_is_migrated(
    start: Start, conn: Connection
) -> None:
    current = await conn.fetchval("select pg_get_functiondef('jobs_version()'::regprocedure)")
    version = await conn.fetchval("select jobs_version()")
    await conn.execute(current.replace(version, "0.0.9"))
    worker = start()
    reason = rf"^the schema has version 0.0.9, and this worker needs {version}: run pgjobs migrate$"
    await asyncio.to_thread(worker.is_told, "/readyz", 503, reason)
    # The older worker works on beside a newer schema.
    await conn.execute(current.replace(version, "99.10"))
    assert (await asyncio.to_thread(worker.is_ready))[1]["schema"] == "99.10"


async def test_the_parent_answers_for_all_its_processes_and_for_one_that_was_killed(
    start: Start, conn: Connection
) -> None:
    parent = start("--processes", "2", "--name", "w")
    status, starting = await asyncio.to_thread(parent.ask, "/readyz")
    assert status == 503
    assert re.search("worker process 1:? start", starting["reason"])
    assert (await asyncio.to_thread(parent.ask, "/livez"))[0] == 200
    _, ready = await asyncio.to_thread(parent.is_ready)
    assert ready["schema"]
    assert await conn.fetchval("select count(*) from jobs_workers") == 2
    await conn.execute("select jobs_enqueue('pid')")
    await until(conn, "select status from jobs", "completed")
    os.kill(await conn.fetchval("select (result #>> '{}')::int from jobs"), signal.SIGKILL)
    reason = "^worker process [12] ended with status -9 and is started again$"
    await asyncio.to_thread(parent.is_told, "/readyz", 503, reason)
    assert (await asyncio.to_thread(parent.ask, "/livez"))[0] == 200
    await asyncio.to_thread(parent.is_ready)
    parent.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(parent.process.wait, 20)
    assert parent.process.returncode == 0
    assert "Traceback" not in parent.log


async def test_the_parent_is_not_live_while_one_of_its_processes_is_blocked_or_silent(
    start: Start, conn: Connection
) -> None:
    parent = start("--processes", "2", "--lease", "3s")
    await asyncio.to_thread(parent.is_ready)
    await conn.execute("select jobs_enqueue('computes', '6')")
    reason = "^worker process [12]: the event loop has been blocked for 3 s"
    await asyncio.to_thread(parent.is_told, "/livez", 503, reason)
    await asyncio.to_thread(parent.is_told, "/livez", 200, None)
    await conn.execute("delete from jobs; select jobs_enqueue('pid')")
    await until(conn, "select status from jobs", "completed")
    stopped = await conn.fetchval("select (result #>> '{}')::int from jobs")
    os.kill(stopped, signal.SIGSTOP)
    try:
        reason = r"^worker process [12] has told nothing for \d s, which is longer than the lease"
        await asyncio.to_thread(parent.is_told, "/livez", 503, reason)
    finally:
        os.kill(stopped, signal.SIGCONT)
    await asyncio.to_thread(parent.is_told, "/livez", 200, None)
    await asyncio.to_thread(parent.stop)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_port_is_answered_again_after_each_reload(
    start: Start, folder: Path, processes: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reloader = start("--reload", "--processes", processes, port=port)
    for _ in range(2):
        reloader.is_ready()
        (folder / "shop.py").write_text((folder / "shop.py").read_text() + "\n")
        deadline = time.monotonic() + 20
        while True:  # until the worker that was ready is gone
            try:
                if ask(port, "/readyz")[0] == 503:
                    break
            except ConnectionError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
    reloader.is_ready()
    assert reloader.stop() == 0
    assert "cannot listen" not in reloader.log


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_that_is_taken_ends_the_command(start: Start, processes: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = start("--processes", processes, port=port)
        assert worker.process.wait(30) == 1
        worker.reading.join()
    said = worker.log.splitlines()[-1]
    assert said == (
        f"pgjobs: --health 127.0.0.1:{port}: cannot listen (Address already in use): "
        "another process listens there; end it, or name another port"
    )


@pytest.mark.parametrize("host", ["a..b", ".", "x" * 70])
def test_a_host_that_is_no_name_is_refused_in_words(host: str) -> None:
    with pytest.raises(PgjobsError, match=r"--health .*:80: cannot listen"):
        Endpoint("--health", Address(host, 80), {})


async def test_a_target_with_a_host_is_answered_as_its_path() -> None:
    pages = {"/livez": lambda: (True, {"live": True})}
    endpoint = Endpoint("--health", Address("127.0.0.1", 0), pages)
    for target, status in (
        ("http://h/livez", b"200"), ("/livez?x", b"200"), ("http://h", b"404"),
        ("http://h/x/livez", b"404"),
    ):
        answer = await endpoint._response(f"GET {target} HTTP/1.1\r\n\r\n".encode())
        assert answer.split()[1] == status, target
    endpoint._let_go()


def test_a_process_that_tells_nothing_is_not_ready_long_before_its_lease_is_over() -> None:
    told = Report(None, None, lease_s=300, loop_turned_s=0, claimed_s=0, ticked_s=0)
    for silent_s, unready in ((1, None), (11, "worker process 1 has told nothing for 11 s")):
        report = _judged(1, _Child("", told, 100.0), 100.0 + silent_s)
        assert (report.dead, report.unready) == (None, unready)


@pytest.mark.parametrize(
    ("older", "newer"), [("0.1.0", "0.2.0"), ("0.9", "0.10"), ("0.2.0", "0.2.1rc1"), ("1", "1.0.1")]
)
def test_versions_are_compared_as_releases(older: str, newer: str) -> None:
    assert _release(older) < _release(newer)
    assert _release("0.2.0rc1") == _release("0.2.0")


async def test_a_process_that_a_handler_forks_does_not_keep_the_port(
    start: Start, conn: Connection
) -> None:
    worker = start()
    await asyncio.to_thread(worker.is_ready)
    await conn.execute("select jobs_enqueue('forks')")
    await until(conn, "select status from jobs", "completed")
    child = await conn.fetchval("select (result #>> '{}')::int from jobs")
    try:
        worker.process.kill()
        worker.process.wait()
        Endpoint("--health", Address("127.0.0.1", worker.port), {})._let_go()
    finally:
        os.kill(child, signal.SIGKILL)


async def test_the_health_file_is_young_while_the_worker_lives_and_says_whether_it_is_ready(
    start: Start, conn: Connection, folder: Path
) -> None:
    file = folder / "health"
    worker = start("--health-file", str(file), "--lease", "3s", "--grace", "5s")
    await asyncio.to_thread(worker.is_ready)

    async def says(ready: bool) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while True:
            assert time.monotonic() < deadline
            answer: dict[str, Any] = json.loads(file.read_text())  # never half a file
            if answer["ready"] is ready:
                return answer
            await asyncio.sleep(0.01)

    assert (await says(True))["schema"]
    written_at = file.stat().st_mtime
    while file.stat().st_mtime == written_at:
        await asyncio.sleep(0.05)
    assert file.stat().st_mtime - written_at < 4
    await conn.execute("select jobs_enqueue('computes', '7')")
    deadline = time.monotonic() + 10
    while file.exists():  # it is removed when the loop is blocked for longer than the lease
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    while not file.exists():
        assert time.monotonic() < deadline + 10
        await asyncio.sleep(0.05)
    await conn.execute("select jobs_enqueue('sleeps')")
    await until(conn, "select count(*) from jobs where job_type = 'sleeps' and attempt = 1", 1)
    worker.process.send_signal(signal.SIGTERM)
    assert (await says(False))["reason"] == "stopping: it claims no more jobs"
    await asyncio.to_thread(worker.process.wait, 20)
    assert [name for name in os.listdir(folder) if name.startswith("health")] == []


def test_the_parent_writes_the_health_file_for_all_its_processes(
    start: Start, folder: Path
) -> None:
    file = folder / "health"
    parent = start("--health-file", str(file), "--processes", "2")
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert re.search("worker process [12]:? start", json.loads(file.read_text())["reason"])
    parent.is_ready()
    assert [found.name for found in folder.glob("health*")] == ["health"]
    assert parent.stop() == 0
    assert not list(folder.glob("health*"))


def test_a_health_file_that_cannot_be_written_ends_the_command(start: Start) -> None:
    worker = start("--health-file", "nowhere/health")
    assert worker.process.wait(30) == 1
    worker.reading.join()
    assert worker.log.splitlines()[-1] == (
        "pgjobs: --health-file nowhere/health: cannot write it (No such file or directory): "
        "name a file in a folder that this user may write to"
    )


def test_a_worker_without_probes_has_no_thread_and_no_socket_for_them(
    start: Start, pgjobs_dsn: str, folder: Path
) -> None:
    (folder / "told.py").write_text(APP + """
@app.job("told")
async def told(job):
    import threading
    names = {thread.name for thread in threading.enumerate()}
    tasks = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}
    print(sorted(name for name in names if "endpoint" in name or "health" in name),
          sorted(name for name in tasks if "Health" in name), "asyncio" in names)
""")
    subprocess.run(
        [sys.executable, "-m", "pgjobs", "enqueue", "told", "--dsn", pgjobs_dsn], check=True
    )
    done = subprocess.run(
        [sys.executable, "-m", "pgjobs", "worker", "told:app", "--until-empty", "--dsn",
         pgjobs_dsn],
        cwd=folder, check=True, text=True, capture_output=True, timeout=30,
    )
    assert done.stdout == "[] [] False\n"


# The endpoint alone, whatever it answers.


@pytest.fixture
def endpoint() -> Iterator[int]:
    pages = {"/good": lambda: (True, {"a": 1}), "/bad": lambda: (False, {"why": "ö"})}
    with Endpoint("--health", Address("127.0.0.1", 0), pages) as opened:
        yield int(opened.addresses.rpartition(":")[2])


def test_the_endpoint_answers_get_and_head_of_its_paths(endpoint: int) -> None:
    assert ask(endpoint, "/good") == (200, {"a": 1})
    assert ask(endpoint, "/good?verbose=1") == (200, {"a": 1})
    assert ask(endpoint, "/bad") == (503, {"why": "ö"})
    assert ask(endpoint, "/bad", "HEAD") == (503, {})
    status, answer = ask(endpoint, "/elsewhere")
    assert (status, answer["error"]) == (404, "there is no such path: ask for /good, /bad")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert ask(endpoint, "/good", method)[0] == 405


@pytest.mark.parametrize(
    "request_",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe\x00 \x01 \x02\r\n\r\n", b"GET /good\r\n\r\n",
     b"GET /good HTTP/2\r\n\r\n", b"x" * 20_000, b"\x16\x03\x01\x02\x00\r\n\r\n"],
)
def test_rubbish_is_answered_with_400_and_the_connection_closed(
    endpoint: int, request_: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", endpoint), timeout=5) as client:
        client.sendall(request_)
        try:
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
        except ConnectionResetError:
            assert len(request_) > 8_192  # the rest was not read
    assert ask(endpoint, "/good")[0] == 200


def test_clients_that_never_end_their_requests_hold_up_nobody_and_are_cut_off(
    endpoint: int,
) -> None:
    idle = []
    for number in range(3 * MAX_CONNECTIONS):
        idle.append(socket.create_connection(("127.0.0.1", endpoint), timeout=8))
        if number % 2:
            idle[-1].sendall(b"GET /good HTTP/1.1\r\nHost: ")
    began = time.monotonic()
    for _ in range(20):
        assert ask(endpoint, "/good")[0] == 200
    assert time.monotonic() - began < 2
    with suppress(ConnectionResetError):
        assert idle[0].recv(100) == b""  # it made room for a later one
    assert time.monotonic() - began < 3
    for client in idle:
        with suppress(ConnectionResetError):
            assert client.recv(100) == b""
        client.close()
    assert time.monotonic() - began < 8


def test_a_connection_that_the_client_keeps_open_gets_one_answer(endpoint: int) -> None:
    with socket.create_connection(("127.0.0.1", endpoint), timeout=5) as client:
        client.sendall(b"GET /good HTTP/1.1\r\nConnection: keep-alive\r\n\r\n")
        answer = client.makefile("rb").read()  # until the server closes
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8080", "127.0.0.1", 8080), ("[::1]:8080", "::1", 8080), (":0", "", 0),
     ("localhost:65535", "localhost", 65535)],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    assert address(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["8080", "", "host", "host:", "host:65536", "::1:80", "h:-1", "[]"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not an address: write it like"):
        address(text)


def test_an_empty_host_is_each_address_of_both_families() -> None:
    with Endpoint("--health", Address("", 0), {"/good": lambda: (True, {})}) as opened:
        shown = dict(part.rsplit(":", 1) for part in opened.addresses.split(", "))
        assert ask(int(shown["0.0.0.0"]), "/good")[0] == 200
        if "[::]" in shown:
            with socket.create_connection(("::1", int(shown["[::]"])), timeout=5) as client:
                client.sendall(b"GET /good HTTP/1.1\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(PgjobsError, match=rf"^--health {host}:80: cannot listen .*: name another"):
        Endpoint("--health", Address(host, 80), {})


def test_a_port_that_is_taken_for_one_family_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PgjobsError, match="another process listens there") as refused:
            Endpoint("--health", Address("", port), {})
    assert isinstance(refused.value.__cause__, OSError)
    assert refused.value.__cause__.errno == errno.EADDRINUSE
    # The family that was free is free again.
    with Endpoint("--health", Address("", port), {}):
        pass
