"""Payloads and results as the JSON text that PostgreSQL can store."""

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from pgjobs.errors import InvalidArgument
from pgjobs.job.plain import ReadsDifferently, is_plain

if TYPE_CHECKING:
    from pgjobs.job.fidelity import PayloadType

# What a job is given whose payload is left out. None is a payload like others: JSON null.
NO_PAYLOAD: Final[Any] = {}

# The most that jsonb holds. Checked here, because the server closes the connection on a message
# of 1 GB, and a slow message looks like a lost connection.
MAX_BYTES = 268_435_455


def encode(value: object, what: str, reader: "PayloadType | None" = None) -> str:
    """JSON text of a payload or result (``what``): models, dataclasses and plain data.

    ``reader``: the type that reads the text; left out: each object's own class. Raises
    ``InvalidArgument`` for what is not read back as it was written, and for what PostgreSQL's jsonb
    cannot hold: other types, NaN and infinities, NUL characters and lone surrogates.
    """
    cause: Exception
    try:
        if reader is not None:
            return _storable(reader.write(value))
        data = to_json(value)
        if not is_plain(value):
            # Here, since pydantic's models take a fifth of the time that importing pgjobs does.
            from pgjobs.job.fidelity import check

            check(value, data)
        return _storable(data)
    except ReadsDifferently as error:
        problem, cause = "would not be read as it was written", error
    except ValidationError as error:
        problem, cause = "is not valid", error
    except (PydanticSerializationError, RecursionError, ValueError) as error:
        problem, cause = "is not JSON that can be stored", error
    except (Exception, BaseExceptionGroup, SystemExit) as error:
        # The user's validators and serializers may raise anything.
        raise InvalidArgument(
            f"{what} cannot be written and read: its class raises {type(error).__name__}"
        ) from error
    raise InvalidArgument(f"{what} {problem}: {cause}") from cause


def _storable(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, more than {MAX_BYTES:,}")
    text = data.decode()
    # To look for a single character first is 90 times as fast, and most data has none of the three.
    if (
        ("N" in text and "NaN" in text)
        or ("I" in text and "Infinity" in text)
        or ("\\" in text and "\\u0000" in text)
    ):
        _refuse_unstorable(json.loads(text, parse_constant=_refuse_constant))
    return text


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
