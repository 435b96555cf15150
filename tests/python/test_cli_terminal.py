"""`pgjobs top` and the tables on a terminal: its keys, its size, and how it is given back."""

import asyncio
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from pgjobs.cli.top_screen import shares
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.schema.migrate import migrate

ROOT = Path(__file__).parents[2]
Connection = asyncpg.Connection
ALT_SCREEN, NORMAL_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
# The terminal belongs to the process, so that Ctrl-C becomes a signal.
WITH_THIS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "pgjobs", *sys.argv[1:]])
"""


class Terminal:
    """A terminal of a given size with one command in it."""

    def __init__(self, dsn: str, *arguments: str, columns: int = 80, lines: int = 24) -> None:
        self._ours, self._its = pty.openpty()
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.settings_before = self.settings
        self._said = bytearray()
        environment = {
            key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", WITH_THIS_TERMINAL, *arguments],
            stdin=self._its, stdout=self._its, stderr=self._its, start_new_session=True,
            env=environment | {"PYTHONPATH": str(ROOT), "PGJOBS_DSN": dsn, "TERM": "xterm"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def settings(self) -> list[object]:
        return termios.tcgetattr(self._its)

    @property
    def said(self) -> str:
        """All that the command has written to the terminal, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self._said.decode(errors="replace"))

    @property
    def screen(self) -> str:
        """What the command has written last to its screen."""
        return self.said.rpartition("\x1b[1;1H")[2]

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def until(self, is_seen: Callable[["Terminal"], object], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not is_seen(self):
            assert time.monotonic() < deadline, self.said[-4000:]
            time.sleep(0.02)

    def status(self) -> int:
        """Waits for the end of the command; the rest of its output has been read then."""
        status = self.process.wait(timeout=30)
        time.sleep(0.2)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._its)
        self._reader.join(5)
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            if not select.select([self._ours], [], [], 1)[0]:
                if self.process.poll() is not None:
                    return
                continue
            try:
                self._said += os.read(self._ours, 65536)
            except OSError:
                return


Open = Callable[..., Terminal]


@pytest.fixture
def terminal() -> Iterator[Open]:
    opened: list[Terminal] = []

    def terminal(dsn: str, *arguments: str, columns: int = 80, lines: int = 24) -> Terminal:
        opened.append(Terminal(dsn, *arguments, columns=columns, lines=lines))
        return opened[-1]

    yield terminal
    for each in opened:
        each.close()


def shows(text: str) -> Callable[[Terminal], bool]:
    return lambda terminal: text in terminal.screen


def assert_given_back(top: Terminal) -> None:
    assert top.settings == top.settings_before
    for taken, given_back in ((ALT_SCREEN, NORMAL_SCREEN), (HIDE_CURSOR, SHOW_CURSOR)):
        assert top.said.rindex(given_back) > top.said.rindex(taken)


@pytest.mark.parametrize("end", ["q", "Q", "\x03", "SIGTERM", "an error"])
def test_top_gives_the_terminal_back_however_it_ends(
    terminal: Open, empty_dsn: str, end: str
) -> None:
    migrate(empty_dsn)
    top = terminal(empty_dsn, "top", "--every", "0.1s")
    top.until(shows("q quit"))
    top.until(shows("schema public"))
    assert top.settings != top.settings_before
    if end == "SIGTERM":
        top.process.send_signal(signal.SIGTERM)
    elif end == "an error":
        migrate(empty_dsn, down=1)
    else:
        top.press(end)
    assert top.status() == {"\x03": 130, "an error": 1}.get(end, 0)
    assert_given_back(top)
    told = top.said.rpartition(NORMAL_SCREEN)[2].strip()
    assert ("pgjobs: run `pgjobs migrate" in told) if end == "an error" else told in ("", "^C")


def test_top_takes_no_screen_where_its_database_cannot_be_reached(terminal: Open) -> None:
    top = terminal("postgresql://127.0.0.1:1/nowhere", "top")
    assert top.status() == 1
    assert top.settings == top.settings_before
    assert "pgjobs: cannot connect to" in top.said.rpartition(NORMAL_SCREEN)[2]


async def test_top_scrolls_and_stays_within_the_screen(
    terminal: Open, pgjobs_dsn: str, conn: Connection
) -> None:
    await conn.execute(
        """select jobs_enqueue('t', queue => 'queue ' || to_char(n, 'FM00'))
        from generate_series(1, 40) n"""
    )
    top = terminal(pgjobs_dsn, "top", "--every", "5m")

    def look() -> None:
        top.until(shows("lines 1-17 of 42"))
        assert "queue 15" in top.screen
        assert "queue 16" not in top.screen
        for keys, lines, seen, unseen in (
            ("\x1b[B", "2-18", "queue 16", "Queues"), ("j", "3-19", "queue 17", "  oldest"),
            ("\x1b[A", "2-18", "queue 16", "queue 17"),
            ("\x1b[6~", "19-35", "queue 33", "queue 16"),
            ("\x1b[F", "26-42", "queue 40", "queue 23"),
            ("\x1bOB", "26-42", "queue 40", "Queues"),
            ("\x1b[H", "1-17", "queue 15", "queue 16"), ("\x1b[A", "1-17", "Queues", "queue 16"),
        ):
            top.press(keys)
            top.until(lambda t, lines=lines: f"lines {lines} of 42" in t.screen)
            assert seen in top.screen
            assert unseen not in top.screen
        top.resize(100, 60)
        top.until(lambda t: "queue 40" in t.screen and "\x1b[60;1H" in t.screen)
        assert " lines " not in top.screen

    await asyncio.to_thread(look)


async def test_top_shows_a_part_of_each_table_until_somebody_scrolls(
    terminal: Open, pgjobs_dsn: str, conn: Connection
) -> None:
    await conn.execute(
        """select jobs_enqueue('t', queue => 'queue ' || to_char(n, 'FM00'))
        from generate_series(1, 15) n;
        select jobs_enqueue('long') from generate_series(1, 12);
        select from jobs_claim('w1', max_jobs => 12);
        select jobs_worker_start('w' || n, '{default}', null, 20) from generate_series(1, 2) n"""
    )
    top = terminal(pgjobs_dsn, "top", "--every", "5m")

    def look() -> None:
        top.until(shows("a part of"))
        for seen in ("Queues (4 of 16 lines", "w1 ", "w2 ", "Running, the longest first (9 more)"):
            assert seen in top.screen
        assert "\x1b[24;1H" in top.screen
        top.press("j")
        top.until(shows("lines 2-"))
        assert "queue 13" in top.screen
        assert "Workers" not in top.screen
        top.press("k")
        top.until(shows("a part of"))
        assert "Running" in top.screen
        top.resize(80, 50)
        top.until(lambda t: "\x1b[50;1H" in t.screen and "Queues" in t.screen)
        assert "a part of" not in top.screen
        assert "queue 01" in top.screen

    await asyncio.to_thread(look)


def test_rows_that_a_table_does_not_need_go_to_the_others() -> None:
    assert shares([15, 2, 12], 9) == [4, 2, 3]
    assert shares([15, 0, 1], 9) == [8, 0, 1]
    assert shares([15, 4, 4], 0) == [1, 1, 1]
    assert shares([2, 3, 4], 100) == [2, 3, 4]


@pytest.mark.parametrize("state", ["open", "paused"])
async def test_the_counts_of_every_state_fit_80_columns(
    terminal: Open, pgjobs_dsn: str, conn: Connection, state: str
) -> None:
    await conn.execute(
        """insert into jobs (queue, job_type, run_at, retry_count)
        select 'default', 'write_invoice', now() + due_in, tries
        from (values (interval '-3 h', 0), ('1 h', 0), ('1 h', 1)) given(due_in, tries),
            generate_series(1, 10001);
        insert into jobs (queue, job_type, status, finished_at)
        select 'default', 'write_invoice', status,
            case when status <> 'processing' then now() end
        from unnest('{processing,completed,failed,cancelled}'::text[]) status"""
    )
    if state == "paused":
        await conn.execute("select from jobs_pause('default')")
    stats = terminal(pgjobs_dsn, "stats")
    await asyncio.to_thread(stats.status)
    lines = stats.said.splitlines()
    assert max(map(len, lines)) <= 80
    headings = lines[0].split()
    for heading in ("due", "oldest", "later", "retrying", "running", "failed"):
        assert heading in headings
    # The least of them have no room, beside the word (paused) even less.
    left_out = ["cancelled"] if state == "open" else ["completed", "cancelled"]
    assert f"no room for: {', '.join(left_out)}" in stats.said
    assert headings[-1] == ("completed" if state == "open" else "failed")


async def test_top_holds_and_goes_on_and_never_echoes_a_key(
    terminal: Open, pgjobs_dsn: str, conn: Connection
) -> None:
    top = terminal(pgjobs_dsn, "top", "--every", "0.1s")

    def hold() -> None:
        top.until(shows("p hold"))
        top.until(shows("0 pending"))
        top.press("p")
        top.until(shows("p go on"))
        time.sleep(0.5)  # a frame that is on its way

    await asyncio.to_thread(hold)
    await conn.execute("select from jobs_enqueue('a')")

    def go_on() -> None:
        top.press("xyz?z\x1b[1;5C\x1b[15~é")  # none of them does anything
        time.sleep(0.5)
        assert "0 pending" in top.screen
        assert "xyz" not in top.said
        assert "^[" not in top.said
        top.press("p")
        top.until(shows("1 pending"))

    await asyncio.to_thread(go_on)


def test_top_gives_the_terminal_back_while_it_is_stopped(
    terminal: Open, pgjobs_dsn: str
) -> None:
    top = terminal(pgjobs_dsn, "top", "--every", "0.1s")
    top.until(shows("q quit"))
    top.process.send_signal(signal.SIGTSTP)  # as Ctrl-Z does
    assert os.WIFSTOPPED(os.waitpid(top.process.pid, os.WUNTRACED)[1])
    time.sleep(0.2)
    assert_given_back(top)
    top.process.send_signal(signal.SIGCONT)
    top.until(lambda t: t.said.rindex(ALT_SCREEN) > t.said.rindex(NORMAL_SCREEN))
    top.until(shows("q quit"))
    assert top.settings != top.settings_before
    top.press("q")
    assert top.status() == 0
    assert_given_back(top)


def test_top_survives_a_restart_of_postgresql_and_says_that_it_connects_again(
    terminal: Open,
) -> None:
    with EmbeddedPostgres() as server:
        migrate(server.dsn)
        top = terminal(server.dsn, "top", "--every", "0.1s")
        top.until(shows("0 pending"))
        server.restart()
        top.until(lambda t: "connecting again: " in t.said)
        top.until(lambda t: "0 pending" in t.screen and "connecting again" not in t.screen)
        assert top.process.poll() is None
        top.press("q")
        assert top.status() == 0
        assert_given_back(top)


async def test_top_shows_the_last_figures_with_their_age_while_the_table_is_locked(
    terminal: Open, conn: asyncpg.Connection, pgjobs_dsn: str
) -> None:
    await conn.execute("select jobs_enqueue('t')")
    top = terminal(pgjobs_dsn, "top", "--every", "0.1s")
    await asyncio.to_thread(top.until, shows("1 pending"))
    async with conn.transaction():
        await conn.execute("lock table jobs")
        await asyncio.to_thread(
            top.until, lambda t: "no answer within 2 s" in t.screen and "s ago" in t.screen
        )
        assert "1 pending" in top.screen
    await conn.execute("select jobs_enqueue('t')")
    await asyncio.to_thread(
        top.until, lambda t: "2 pending" in t.screen and "no answer" not in t.screen
    )
    top.press("q")
    assert top.status() == 0


def test_without_a_keyboard_top_says_how_to_end_it(pgjobs_dsn: str) -> None:
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pgjobs", "top", "--dsn", pgjobs_dsn], stdin=subprocess.DEVNULL,
        stdout=its, stderr=its, env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )

    try:
        said = b""
        while b"Ctrl-C quits" not in said:
            said += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(its)
        os.close(ours)


@pytest.mark.parametrize("columns", [80, 120])
async def test_every_screen_is_as_wide_as_the_terminal_and_folds_no_word(
    terminal: Open, pgjobs_dsn: str, conn: Connection, columns: int
) -> None:
    await conn.execute(
        """select jobs_enqueue('send_receipt', queue => q, max_retries => 5,
            reference_type => 'order', reference_id => 4700)
        from unnest('{default,images,資料の取り込み}'::text[]) q, generate_series(1, 3);
        select from jobs_enqueue('nightly_report', run_at => now() + interval '13 h 29 min');
        select jobs_claim('web-7f9c5d-4711-a83f', max_jobs => 2);
        select from jobs_fail(1, 'SMTPServerDisconnected: Connection unexpectedly closed',
            retry => false);
        select from jobs_worker_start('web-7f9c5d-4711-a83f', '{default,images}', null, 3)"""
    )

    def look() -> None:
        for command in (["list"], ["stats"], ["top", "--once"], ["doctor"]):
            seen = terminal(pgjobs_dsn, *command, columns=columns)
            seen.status()
            lines = seen.said.splitlines()
            assert len(lines) > 3, lines
            assert max(map(len, lines)) <= columns
            types = re.findall(r"send\S*|nigh\S*", seen.said)
            assert all(t in ("send_receipt", "nightly_report") for t in types), types
            statuses = re.findall(r"\b(?:pend|proc|fail)\S*", seen.said)
            assert {*statuses} <= {
                "pending", "pending,", "processing", "failed", "failed,", "failing"
            }
        listed = terminal(pgjobs_dsn, "list", columns=columns)
        listed.status()
        assert len(listed.said.splitlines()) == (12 if columns == 80 else 11)
        assert "SMTPServerDisconnected" in listed.said
        assert " in 13h " in listed.said

    await asyncio.to_thread(look)


async def test_a_list_of_schedules_shows_moments_and_types_whole(
    terminal: Open, pgjobs_dsn: str, conn: Connection
) -> None:
    await conn.execute(
        """select from jobs_schedule('nightly', 'write_report', '0 3 * * *',
            timezone => 'Asia/Tokyo');
        update jobs_schedules set next_at = '2030-01-31 18:00+00', last_at = now(),
            error = 'the ' || repeat('very ', 15) || 'last tick failed'"""
    )
    listed = terminal(pgjobs_dsn, "schedule", "list")
    await asyncio.to_thread(listed.status)
    lines = listed.said.splitlines()
    assert max(map(len, lines)) <= 80
    assert "write_report" in lines[1]
    assert datetime(2030, 1, 31, 18, tzinfo=UTC).astimezone().isoformat(" ") in lines[1]
    assert lines[2].startswith("no room for: ")
    assert lines[2].rstrip().endswith("last")
    assert lines[3].endswith("very")
    assert lines[-1].endswith("last tick failed")


async def test_a_long_line_is_folded_between_words(
    terminal: Open, pgjobs_dsn: str, conn: Connection
) -> None:
    reason = "the mail server moves to another house, which takes until the evening"
    paused = terminal(pgjobs_dsn, "pause", "mail", "--yes", "--for", "2h", "--reason", reason)
    await asyncio.to_thread(paused.status)
    lines = paused.said.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).endswith(reason)


async def test_top_shows_which_slots_are_taken(
    terminal: Open, pgjobs_dsn: str, conn: Connection
) -> None:
    await conn.execute(
        """select jobs_enqueue('t') from generate_series(1, 5);
        select jobs_claim('w', max_jobs => 4);
        select from jobs_worker_start('w', '{default}', null, 3);
        select from jobs_worker_start('idle', '{default}', null, 7)"""
    )
    once = terminal(pgjobs_dsn, "top", "--once")
    assert await asyncio.to_thread(once.status) == 0
    assert re.search(r"worker +queues +taken +free", once.said)
    assert re.search(r"\nidle +default +0 +7 ", once.said)
    assert re.search(r"\nw +default +3 +0 ", once.said)
    said = subprocess.run(
        [sys.executable, "-m", "pgjobs", "top", "--json", "--dsn", pgjobs_dsn],
        check=True, capture_output=True, cwd=ROOT,
    )
    assert [(w["worker"], w["taken"]) for w in json.loads(said.stdout)["workers"]] == [
        ("idle", 0), ("w", 3),
    ]


async def test_a_pause_of_an_unknown_queue_asks_on_a_terminal(
    terminal: Open, pgjobs_dsn: str, conn: Connection
) -> None:
    def answer(text: str) -> int:
        asked = terminal(pgjobs_dsn, "pause", "nope")
        asked.until(lambda t: "no job is in queue nope, and no worker serves it. Go on? " in t.said)
        asked.press(text)
        return asked.status()

    assert await asyncio.to_thread(answer, "n\n") == 1
    assert not await conn.fetch("select from jobs_queues")
    assert await asyncio.to_thread(answer, "y\n") == 0
    assert await conn.fetchval("select queue from jobs_queues") == "nope"
