"""The fields of a log record: any object, as data that JSON and other processes can read."""

import json
import logging
import math
from typing import Any

# Every LogRecord has these fields; a record gets other fields from `extra=`.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
MAX_INT = 10**300  # Python refuses to write a number of over 4,300 digits


def extra_fields(record: logging.LogRecord) -> dict[Any, Any]:
    """What ``extra=`` and filters have given to a record."""
    return {name: v for name, v in vars(record).items() if name not in _STANDARD_FIELDS}


def plain(value: object) -> Any:
    """The value of a field as plain data; what is no JSON is text."""
    if type(value) in (str, bool, type(None)):
        return value
    if type(value) is int and -MAX_INT < value < MAX_INT:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else repr(value)
    try:
        return json.loads(json.dumps(value, default=_text, allow_nan=False))
    except Exception:  # noqa: BLE001 - a cycle, a key that is no text, a number that is no JSON
        return _text(value)


def _text(value: object) -> str:
    try:
        return f"{value!r}"
    except Exception as odd:  # noqa: BLE001
        return f"<its __repr__ raised {type(odd).__name__}>"
