"""Payloads and results as the JSON text that PostgreSQL can store."""

import json

from pydantic_core import PydanticSerializationError, to_json

from pgjobs.errors import InvalidArgument

# The most that jsonb holds. Checked here, because the server closes the connection on a message
# of 1 GB, and a slow message looks like a lost connection.
MAX_BYTES = 268_435_455


def encode(value: object, what: str) -> str:
    """JSON text of a payload or result (``what``): models, dataclasses and plain data.

    Raises ``InvalidArgument`` for what PostgreSQL's jsonb cannot hold: other types, NaN and
    infinities, NUL characters and lone surrogates.
    """
    try:
        data = to_json(value)
        if len(data) > MAX_BYTES:
            raise ValueError(f"it has {len(data):,} bytes, more than {MAX_BYTES:,}")
        if b"NaN" in data or b"Infinity" in data or b"\\u0000" in data:
            _refuse_unstorable(json.loads(data, parse_constant=_refuse_constant))
        return data.decode()
    except (PydanticSerializationError, RecursionError, ValueError) as error:
        raise InvalidArgument(f"{what} is not JSON that can be stored: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _refuse_unstorable(value: object) -> None:
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("text must not hold NUL characters")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable(key)
            _refuse_unstorable(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_unstorable(item)
