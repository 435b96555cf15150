"""``--health`` and ``--health-file``: who asks for the health of a worker, and how it is told."""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from pgjobs.cli.endpoint import Endpoint
from pgjobs.cli.options import Address
from pgjobs.errors import PgjobsError
from pgjobs.worker.health import Report

log = logging.getLogger("pgjobs.health")

WRITE_FILE_EVERY_S = 2.0
TELL_PARENT_EVERY_S = 0.5
ENDS_WITHIN_S = 1.0

Ask = Callable[[], Report]


@dataclass(frozen=True)
class Probes:
    """Who asks for the health of this process: probes by HTTP, by a file, or its parent."""

    address: Address | None
    file: str | None
    pipe: int | None  # to the parent process

    @property
    def exist(self) -> bool:
        """Whether anybody asks."""
        return not (self.address is None and self.file is None and self.pipe is None)

    @contextmanager
    def answered(self, ask: Ask) -> Iterator[None]:
        """Answers all who ask, from threads, until the block ends."""
        with ExitStack() as stack:
            if self.address is not None:
                pages = {"/livez": lambda: _live(ask()), "/readyz": lambda: _ready(ask())}
                endpoint = Endpoint("--health", self.address, pages)
                log.info("/livez and /readyz are answered on %s", endpoint.addresses)
                stack.enter_context(endpoint)
            if self.file is not None:
                stack.enter_context(_written(self.file, ask))
            if (pipe := self.pipe) is not None:
                stack.enter_context(_repeated(lambda: _tell(pipe, ask()), TELL_PARENT_EVERY_S))
            yield


def _live(report: Report) -> tuple[bool, dict[str, Any]]:
    return report.dead is None, {
        "live": report.dead is None,
        "reason": report.dead,
        "loop_turned_seconds_ago": _rounded(report.loop_turned_s),
        "lease_seconds": report.lease_s,
    }


def _ready(report: Report) -> tuple[bool, dict[str, Any]]:
    return report.unready is None, {
        "ready": report.unready is None,
        "reason": report.unready,
        "claimed_seconds_ago": _rounded(report.claimed_s),
        "ticked_seconds_ago": _rounded(report.ticked_s),
        "schema": report.schema,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


@contextmanager
def _written(path: str, ask: Ask) -> Iterator[None]:
    """Writes the file every two seconds while the worker lives, and removes it at the end."""
    try:
        _write(path, ask())
    except OSError as error:
        raise PgjobsError(
            f"--health-file {path}: cannot write it ({error.strerror}): name a file in a folder"
            " that this user may write to"
        ) from error
    is_failing = False

    def write() -> None:
        nonlocal is_failing
        try:
            _write(path, ask())
            is_failing = False
        except OSError as error:
            if not is_failing:
                log.warning("--health-file %s: cannot write it, trying again: %s", path, error)
            is_failing = True

    try:
        with _repeated(write, WRITE_FILE_EVERY_S):
            yield
    finally:
        with suppress(OSError):
            os.unlink(path)


def _write(path: str, report: Report) -> None:
    if report.dead is not None:
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    # A probe must never read half a file.
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "w", encoding="utf-8") as file:
            file.write(json.dumps(_ready(report)[1]) + "\n")
        os.replace(new, path)
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise


def _tell(pipe: int, report: Report) -> None:
    with suppress(OSError):  # the parent is gone, and this worker stops soon
        os.write(pipe, json.dumps(asdict(report)).encode() + b"\n")


@contextmanager
def _repeated(action: Callable[[], None], every_s: float) -> Iterator[None]:
    """Calls ``action`` from a thread of its own, at once and then again and again."""
    over = threading.Event()

    def repeat() -> None:
        action()
        while not over.wait(every_s):
            action()

    thread = threading.Thread(target=repeat, name="pgjobs health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(ENDS_WITHIN_S)
