"""The demo, run as by somebody who has just cloned the project."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "pgjobs", "demo"]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False, capture_output=True, text=True, timeout=120,
        cwd=ROOT, stdin=subprocess.DEVNULL,
    )


def test_the_demo_ingests_the_documentation_and_ends_by_itself() -> None:
    done = demo()
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(\w+)\s+(\d+)\s*(\d*)\s*$", done.stdout, re.MULTILINE)
    ended = {job_type: (completed, failed) for job_type, completed, failed in rows}
    assert ended["file_ingestion"][1] == "1"
    assert ended["embedding_generation"] == ended["vector_storage"]
    assert int(ended["vector_storage"][0]) > 0
    # Storage that takes longer than a second enqueues another clean-up, after the first has run.
    assert int(ended["cleanup"][0]) > 0
    assert ended["cleanup"][1] == ""
    assert "failed after 2 retries: UnicodeDecodeError" in done.stdout
    assert done.stdout.rstrip().endswith("demo --web")
    # The server has ended, so there is nothing to look at.
    assert "PGJOBS_DSN" not in done.stdout


def test_make_demo_installs_only_what_the_demo_needs() -> None:
    command = ["make", "--dry-run", "--what-if=pyproject.toml", "demo"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert re.findall(r"pip install .*'(.+)'", done.stdout) == [".[embedded,web]"]


def test_the_demo_takes_a_folder_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("One paragraph.\n\nAnother one.\n")
    done = demo(str(tmp_path), "--once")
    assert done.returncode == 0, done.stderr
    assert "Ingesting files: 1" in done.stdout


def test_a_folder_without_text_is_a_readable_error(tmp_path: Path) -> None:
    done = demo(str(tmp_path))
    assert done.returncode != 0
    assert "there are no .md, .txt or .rst files in" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_serves_its_console_until_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("One paragraph.")
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path), "--web"], cwd=ROOT, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        found = (re.search(r"open (http://127\.0\.0\.1:\d+/)\?token=\S+", line) for line in lines)
        (once,) = [next(match for match in found if match)]
        page, address = once[0].removeprefix("open "), once[1]
        with httpx.Client(follow_redirects=True, headers={"accept": "text/html"}) as client:
            assert client.get(address).status_code == 401
            assert "What is wrong" in client.get(page).text
            assert "UnicodeDecodeError" in client.get(f"{address}jobs?status=failed").text
            states = {"retrying", "later", "blocked", "completed", "failed", "cancelled"}
            deadline = time.monotonic() + 60
            while missing := states - _states(client, address):
                assert time.monotonic() < deadline, missing
                time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "KeyboardInterrupt" not in errors
        with pytest.raises(httpx.ConnectError):
            httpx.get(address)
    finally:
        process.kill()
        process.communicate()


def _states(client: httpx.Client, address: str) -> set[str]:
    page = client.get(address, headers={"accept": "application/json"}).json()["page"]
    return {depth["state"] for depth in page["depths"] or [] if depth["jobs"]}


# Makes standard input the terminal of the new session, so that Ctrl-C reaches it.
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """The demo on a terminal: reads its output, and presses keys."""

    def __init__(self, folder: Path) -> None:
        self._end, its_end = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *COMMAND, str(folder)],
            stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True,
            cwd=ROOT, env={**os.environ, "COLUMNS": "120"},
        )
        os.close(its_end)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            self.shown += os.read(self._end, 65536).decode(errors="replace")

    def press(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def end(self) -> int:
        """Waits until the demo ends by itself; returns its exit status."""
        with suppress(OSError):  # Linux raises it at the end of a terminal
            while read := os.read(self._end, 65536):
                self.shown += read.decode(errors="replace")
        return self._process.wait(60)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
        os.close(self._end)


@pytest.fixture
def terminal() -> Iterator[Callable[[Path], Terminal]]:
    opened: list[Terminal] = []

    def open_one(folder: Path) -> Terminal:
        opened.append(Terminal(folder))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def printed_lines(demo: Terminal) -> list[str]:
    """The lines that the demo asks to paste into another terminal."""
    shown = demo.shown.replace("\r", "").partition("paste these lines")[2]
    return re.findall(r"^  (.+)$", shown, re.MULTILINE)


def test_on_a_terminal_the_server_runs_on_until_enter_and_each_printed_line_works(
    tmp_path: Path, terminal: Callable[[Path], Terminal]
) -> None:
    (tmp_path / "note.txt").write_text("One paragraph.")
    demo = terminal(tmp_path)
    demo.wait_for("Press Enter")
    # No colours: the broken file's name has none, nor the number of files.
    assert "\x1b[1;36m" not in demo.shown
    export, *lines = printed_lines(demo)
    assert [line.split()[-1] for line in lines[::2]] == ["top", "doctor"]
    answers = {
        line: subprocess.run(
            f"{export}\n{line}{' --once' if line.endswith('top') else ''}", shell=True, check=True,
            capture_output=True, text=True,
        ).stdout
        for line in lines
    }
    assert "vector_storage" in answers[lines[0]]
    assert "UnicodeDecodeError" in answers[lines[1]]
    assert "verdict" in answers[lines[2]]
    assert "vector_storage" in answers[lines[3]]
    demo.press(b"\n")
    assert demo.end() == 0
    assert subprocess.run(
        f"{export}\n{lines[0]}", shell=True, check=False, capture_output=True
    ).returncode != 0


def test_ctrl_c_ends_the_demo_and_its_server(
    tmp_path: Path, terminal: Callable[[Path], Terminal]
) -> None:
    for number in range(3000):
        (tmp_path / f"{number}.txt").write_text("word " * 500)
    demo = terminal(tmp_path)
    demo.wait_for("file_ingestion")  # the live table
    demo.press(b"\x03")
    demo.wait_for("Press Enter")
    export, *lines = printed_lines(demo)
    line = f"{export}\n{lines[-1]}"
    answer = subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
    assert "pending" in answer
    assert "processing" not in answer
    demo.press(b"\x03")
    assert demo.end() == 0
    assert subprocess.run(line, shell=True, check=False, capture_output=True).returncode != 0
