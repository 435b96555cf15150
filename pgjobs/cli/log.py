"""The log of ``pgjobs worker`` on stderr: as lines of text, or as lines of JSON."""

import logging
import sys
import threading
from typing import Any

from pgjobs.cli.output import print_error
from pgjobs.job.record import extra_fields
from pgjobs.logs import JobFields, JsonFormatter

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

log = logging.getLogger("pgjobs.cli")


class Lines(logging.Formatter):
    """Formats a record as one line, with the fields of ``extra`` at the end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s  %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        line = super().formatMessage(record)
        extra = [
            f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in extra_fields(record).items()
        ]
        return f"{line}  [{' '.join(extra)}]" if extra else line


def log_to_stderr(level: str, kind: str) -> None:
    """Sends the log to stderr; ``kind``: one of ``FORMATS``."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    if kind == "json":
        handler.addFilter(JobFields())
        handler.setFormatter(JsonFormatter())
        _log_what_python_prints()
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # The debug lines of asyncio are only about its selector.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLogger().level))


def tell_error(line: str) -> None:
    """Tells in one line why a command failed: in the log, where that is JSON."""
    if any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers):
        log.critical("%s", line)
    else:
        print_error(line)


def _log_what_python_prints() -> None:
    """Python would print warnings, and errors that nobody handles, as text beside the log."""
    logging.captureWarnings(True)

    def log_uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
        if error is not None:
            log.critical("an error that nobody handles", exc_info=(kind, error, trace))

    sys.excepthook = log_uncaught
    threading.excepthook = lambda of: log_uncaught(of.exc_type, of.exc_value, of.exc_traceback)
