"""Which job a line of the log belongs to, and the log as JSON.

`pgjobs worker --log-format json` uses both. In a program of your own:

    handler = logging.StreamHandler()
    handler.addFilter(pgjobs.logs.JobFields())
    handler.setFormatter(pgjobs.logs.JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from pgjobs.handler.current import current_fields
from pgjobs.job.record import extra_fields, plain

__all__ = ["JobFields", "JsonFormatter", "job_fields"]


def job_fields() -> dict[str, Any]:
    """The fields of the job that the caller is a part of.

    These are ``job_id``, ``job_type``, ``queue``, ``attempt``, ``worker``, and ``reference`` if the
    job has one. Known in the handler, in the tasks and threads that pgjobs or asyncio starts for
    it, and in the middlewares. Elsewhere in a worker this is ``worker`` alone, and ``{}`` in other
    code.
    """
    return current_fields()


class JobFields(logging.Filter):
    """Gives each record the fields of the running job; a filter of handlers or loggers.

    What the record has by ``extra=`` stays. A record whose ``job_id`` is another one gets only
    ``worker``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        fields, own = job_fields(), vars(record)
        own_id = own.get("job_id")
        if own_id is not None and not (type(own_id) is int and own_id == fields.get("job_id")):
            fields = {name: fields[name] for name in fields.keys() & {"worker"}}
        for name, value in fields.items():
            own.setdefault(name, value)
        return True


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object in one line, whatever the record holds.

    ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``message``; then what ``extra=`` and filters
    have given; ``exception`` and ``stack`` as text. An extra field with one of these names is
    written with a ``_`` behind its name.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end. All of it is ASCII, so that every stream can write it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        exception = self._exception(record)
        of_line = {*line, "exception", "stack"}
        for name, value in extra_fields(record).items():
            text = name if type(name) is str else str(plain(name))
            line[f"{text}_" if text in of_line else text] = plain(value)
        if exception:
            line["exception"] = exception
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line)

    def _exception(self, record: logging.LogRecord) -> str | None:
        if record.exc_text or not record.exc_info:
            return record.exc_text and str(plain(record.exc_text))
        try:
            return self.formatException(record.exc_info)
        except Exception:  # noqa: BLE001 - an exception of the user's may answer by raising
            # Not the names of the classes: a metaclass may raise at them.
            return f"an exception of {plain(record.exc_info[0])}: it cannot be formatted"


def _message(record: logging.LogRecord) -> str:
    try:
        return str(record.getMessage())
    except Exception as odd:  # noqa: BLE001 - the arguments do not fit the text, or raise
        return f"{plain(record.msg)} (its arguments cannot be formatted: {type(odd).__name__})"
