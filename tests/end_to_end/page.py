"""Runs the blocks of a page in their order, in a folder and a database of the page's own."""

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import yaml
from end_to_end.blocks import ROOT, Block

# What only shows something: what a command prints, signatures, diagrams.
SHOWN = {"text", "mermaid"}
SUFFIXES = {"py": "python", "yml": "yaml", "ini": "ini"}
LIMIT_S = 60
# Runs a program that awaits outside of a function, as `python -m asyncio` does.
AWAITING = """
import ast, asyncio, inspect, sys

async def main():
    code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    found = eval(code, {"__name__": "__main__"})
    if inspect.isawaitable(found):
        await found

if __name__ == "__main__":  # a child process of a worker imports this file too
    sys.path.insert(0, "")
    asyncio.run(main())
"""


class Page:
    """``run_all`` raises ``AssertionError`` if a block does not work."""

    def __init__(self, folder: Path, dsn: str, programs: Path) -> None:
        self._folder = folder
        commands = folder / "bin"
        commands.mkdir()
        python = shlex.quote(sys.executable)
        for name, command in {
            "python": python, "python3": python, "pgjobs": f"{python} -P -m pgjobs",
            "pytest": f"{python} -m pytest -p no:cacheprovider",
            "alembic": f"{python} -m alembic", "psql": f"{programs / 'psql'} -X",
            "pg_dump": str(programs / "pg_dump"), "pg_restore": str(programs / "pg_restore"),
        }.items():
            (commands / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (commands / name).chmod(0o755)
        (commands / "awaiting.py").write_text(AWAITING)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1", "PGJOBS_DSN": dsn, "DATABASE_URL": dsn, "COLUMNS": "100",
        }
        self._running: list[tuple[subprocess.Popen[bytes], Path]] = []
        self._tests: list[Block] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process, _output in reversed(self._running):
            self._stop(process)

    def run_all(self, blocks: Iterable[Block]) -> None:
        """Runs the blocks in turn, their tests together, and at last stops what runs on.

        A warning in a test fails it: the reader would wonder what is wrong.
        """
        for block in blocks:
            self._run(block)
        if self._tests:
            names = [str(block.name) for block in self._tests]
            self._do(self._tests[0], ["pytest", "-q", "-W", "error", *names])
        for process, output in reversed(self._running):
            status = self._stop(process)
            assert status in (0, 130, -signal.SIGINT, -signal.SIGKILL), output.read_text()

    def _run(self, block: Block) -> None:
        """Runs a block by its language; a block with a name is also kept as a file."""
        if block.excuse is not None or block.language in SHOWN:
            assert not block.code.startswith("$ "), f"{block.place}: call its language console"
            return
        language = SUFFIXES.get(block.language, block.language)
        if block.name is not None:
            path = self._folder / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.program)
        runner = getattr(self, f"_run_{language}", None)
        assert runner is not None, (
            f"{block.place}: a block of {language or 'no language'} is not run: write above it"
            " <!-- not run: WHY -->"
        )
        if block.name is not None and block.name.startswith("test_"):
            self._tests.append(block)
        elif block.name is None or "/" not in block.name:
            # A file in a folder is a part of what a later block runs.
            runner(block)

    @staticmethod
    def _stop(process: "subprocess.Popen[bytes]") -> int:
        """Stops a command by Ctrl-C, and returns its exit status."""
        with process:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            try:
                return process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise

    def _run_python(self, block: Block) -> None:
        path = self._folder / (block.name or f"line_{block.line}.py")
        path.write_text(block.program)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(block.program, block.place, "exec", flags | ast.PyCF_ONLY_AST)
        try:
            compile(tree, block.place, "exec", dont_inherit=True)
            self._do(block, [sys.executable, path.name])
        except SyntaxError:
            self._do(block, [sys.executable, "bin/awaiting.py", path.name])

    def _run_sh(self, block: Block) -> None:
        if block.runs_on:
            self._start(block, block.program)
        else:
            self._do(block, ["sh", "-ec", self._with_pid(block.program)])

    def _run_sql(self, block: Block) -> None:
        self._do(
            block, ["psql", "-v", "ON_ERROR_STOP=1", "-d", self._environment["PGJOBS_DSN"]],
            block.program,
        )

    def _run_crontab(self, block: Block) -> None:
        for line in block.code.splitlines():
            if line and not line.startswith("#"):
                *moment, command = line.split(maxsplit=5)
                assert len(moment) == 5, block.place
                self._do(block, ["sh", "-ec", command])

    def _run_console(self, block: Block) -> None:
        """Runs what follows each ``$``; each line shown below it must be printed again."""
        if block.before:
            self._do(block, ["sh", "-ec", self._with_pid(block.before)])
        first, *commands = re.split(r"^\$ ", block.code, flags=re.MULTILINE)
        assert commands, f"{block.place}: no line begins with $"
        assert not first, f"{block.place}: the first line does not begin with $"
        for text in commands:
            command, _, shown = text.partition("\n")
            if block.runs_on:
                self._start(block, command, shown)
            else:
                fails = shown.startswith("pgjobs: ") or "\npgjobs: " in shown
                printed = self._do(block, ["sh", "-ec", command], fails=fails)
                missing = _missing(shown, printed)
                assert not missing, f"{block.place}: {command} did not print {missing}:\n{printed}"
        if block.after:
            self._do(block, ["sh", "-ec", self._with_pid(block.after)])

    def _run_toml(self, block: Block) -> None:
        tomllib.loads(block.code)

    def _run_yaml(self, block: Block) -> None:
        yaml.safe_load(block.code)

    def _run_ini(self, block: Block) -> None:
        assert block.name is not None, f"{block.place}: say which file it is, as in `alembic.ini`:"

    def _do(
        self, block: Block, command: list[str], given: str | None = None, *, fails: bool = False
    ) -> str:
        done = subprocess.run(
            command, input=given or "", check=False, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, cwd=self._folder,
            env=self._environment,
        )
        assert (done.returncode != 0) is fails, (
            f"{block.place}: exits with {done.returncode}: {given or command}\n{done.stdout}"
        )
        return done.stdout

    def _start(self, block: Block, program: str, shown: str = "") -> None:
        """Starts what does not end, and waits until it prints what the page shows, or anything."""
        output = self._folder / f"output of line {block.line}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["sh", "-ec", self._with_pid(program)], stdin=subprocess.PIPE, stdout=file,
                stderr=file, cwd=self._folder, env=self._environment, start_new_session=True,
            )
        self._running.append((process, output))
        deadline = time.monotonic() + LIMIT_S
        while not (printed := output.read_text()) or _missing(shown, printed):
            assert process.poll() is None, f"{block.place}: has ended:\n{printed}"
            assert time.monotonic() < deadline, (
                f"{block.place}: did not print {_missing(shown, printed)}:\n{printed}"
            )
            time.sleep(0.05)
        # An error would be the first that is printed, and then the end.
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(0.5)
            raise AssertionError(f"{block.place}: has ended with {status}:\n{output.read_text()}")
        # The reader pastes such a line into the other terminals.
        for name, value in re.findall(r"^export (\w+)=(.*)$", printed, re.MULTILINE):
            self._environment[name] = shlex.split(value)[0]

    def _with_pid(self, program: str) -> str:
        """``%1`` is what runs on, as in the terminal in which it was stopped: a process group."""
        return program.replace("%1", f"-{self._running[-1][0].pid}") if self._running else program


def _missing(shown: str, printed: str) -> list[str]:
    """The lines shown of whose words no printed line has all; numbers and times may differ."""
    lines = [_words(line) for line in printed.splitlines()]
    return [
        line for line in shown.splitlines() if not any(_words(line) <= words for words in lines)
    ]


def _words(line: str) -> set[str]:
    return set(re.findall(r"[^\W\d]{3,}", line))
