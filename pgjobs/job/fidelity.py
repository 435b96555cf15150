"""What is written reads back as it was: otherwise it is refused.

A class decides once, by its schema (see ``certainty``). Where the schema leaves doubt, each value
is written, read and compared. Plain data is JSON: tuples and sets are read as lists, keys, moments
and other scalars as text.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, get_args

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from pgjobs.job.certainty import holds_untyped, is_certain
from pgjobs.job.plain import ATOMS, ReadsDifferently, is_plain

_KEPT_CLASSES = 1_000  # a program may make classes without end
_JSON = ATOMS - {bytes} | {dict, list}
_MOST_DIMENSIONS = 2  # of which `all()` takes one at a time
_MISSING = object()


class PayloadType:
    """A type that payloads are written as and read as. Raises as ``TypeAdapter`` does."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self._adapter = TypeAdapter[Any](annotation)

    @property
    def name(self) -> str:
        """The type as a person writes it."""
        kind = self._annotation
        return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)

    def is_other_class(self, value: object) -> bool:
        """Whether the value is a model or dataclass of another class than this one."""
        kind: Any = type(value)
        wanted = self._annotation
        return (
            isinstance(wanted, type) and _is_object(wanted) and _is_object(kind)
            and not issubclass(kind, _origin(wanted))
        )

    def read(self, text: str | bytes) -> Any:
        """The value that the JSON text stands for; raises pydantic's ``ValidationError``.

        ``{}`` is also what a payload is that was left out. So a type that does not read ``{}``, and
        reads null, reads ``{}`` as null.
        """
        try:
            return self._adapter.validate_json(text)
        except ValidationError:
            if text in ("{}", b"{}"):
                with suppress(ValidationError):
                    return self._adapter.validate_json("null")
            raise

    def write(self, value: object) -> bytes:
        """JSON text of a value of this type, or of plain data that this type reads.

        Raises ``ValidationError`` if the type does not read it, else ``ReadsDifferently``.
        """
        try:
            data = self._adapter.serializer.to_json(value, by_alias=True, warnings="error")
            is_of_type = True
        except PydanticSerializationError:
            kind: Any = type(value)
            data, is_of_type = to_json(value), _is_object(kind)
        read = self.read(data)
        if is_of_type:
            self.compare(value, read, data)
        elif not is_plain(value):
            _compare_objects(value, read, self._holds_untyped)
        return data

    def compare(self, written: object, read: object, data: bytes) -> None:
        """Raises ``ReadsDifferently`` unless the two are the same; ``data``: the text between."""
        if self.is_certain and type(written) is self._annotation:
            return
        if type(written) in _JSON and is_plain(written) and written == from_json(data):
            # The text has lost nothing, whatever the type makes of plain data.
            return
        _compare(written, read, self._holds_untyped)

    @cached_property
    def is_certain(self) -> bool:
        """Whether all values of this class read back as they were written."""
        return is_certain(self._adapter.core_schema)

    @cached_property
    def _holds_untyped(self) -> bool:
        return holds_untyped(self._adapter.core_schema)


@lru_cache(_KEPT_CLASSES)
def _is_certain(kind: Any) -> bool:
    """Whether all objects of a class read back as they were written."""
    if kind in ATOMS:
        return True
    own = _type_of(kind) if _is_object(kind) else None
    return own is not None and own.is_certain


def check(value: Any, data: bytes | None = None) -> None:
    """Raises ``ReadsDifferently`` if a part of the value does not read back by its own class.

    ``data`` is the value's JSON text, if it is known.
    """
    kind: Any = type(value)
    if _is_certain(kind):
        return
    if _is_object(kind):
        _check_object(value, data)
    elif isinstance(value, Mapping):
        for item in value.values():
            check(item)
    elif isinstance(value, list | tuple | set | frozenset | deque):
        for item in value:
            check(item)
    elif _is_secret(value):
        raise ReadsDifferently(
            "it holds a secret, which is written as asterisks: store a reference to the secret"
        )


def _check_object(value: Any, data: bytes | None) -> None:
    kind: Any = type(value)
    own = _type_of(kind)
    if own is None:
        for field in dataclasses.fields(value):
            check(getattr(value, field.name, None))
    else:
        data = to_json(value) if data is None else data
        try:
            read = own.read(data)
        except ValidationError as error:
            raise ReadsDifferently(f"its own class does not read it: {error}") from error
        own.compare(value, read, data)


@lru_cache(_KEPT_CLASSES)
def _type_of(kind: Any) -> PayloadType | None:
    """None for a dataclass that pydantic cannot read: it is written as plain data."""
    try:
        made = PayloadType(kind)
        _ = made.is_certain  # needs the whole schema
    except (PydanticUserError, NameError, TypeError, AttributeError):
        if issubclass(kind, BaseModel):
            raise
        return None
    return made


@lru_cache(_KEPT_CLASSES)
def _is_object(kind: Any) -> bool:
    """Whether it is a class of models or a dataclass."""
    return issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)


def _is_secret(value: object) -> bool:
    return hasattr(value, "get_secret_value")


def _compare(written: Any, read: Any, untyped: bool, path: str = "") -> None:
    """Raises ``ReadsDifferently`` at the first difference; ``path``: where it stands.

    ``untyped``: the type has parts without a type, which are read as plain JSON.
    """
    if written is read:
        return
    kind: Any = type(written)
    if _origin(kind) is _origin(type(read)):
        is_same = _are_same(written, read, untyped, path)
    elif isinstance(written, Mapping) and isinstance(read, Mapping):
        is_same = _are_same_mappings(written, read, untyped, path)
    elif isinstance(written, list | tuple | deque) and isinstance(read, list | tuple | deque):
        is_same = _are_same_lists(written, read, untyped, path)
    elif untyped and type(read) in _JSON:
        check(written)
        is_same = from_json(to_json(written)) == read
    elif kind in _JSON and type(read) not in _JSON and is_plain(written):
        # A default that pydantic has not checked, as in `path: Path = "/tmp"`. The text has lost
        # nothing, and the class says what it makes of the text.
        is_same = True
    else:
        is_same = not _is_object(kind) and bool(written == read)
    if not is_same:
        where = path or "it"
        if _is_secret(written):
            raise ReadsDifferently(
                f"{where} is a secret, which is written as asterisks: store a reference to the"
                " secret, or give the field a serializer"
            )
        raise ReadsDifferently(f"{where} is {_shown(written)}, and would be read as {_shown(read)}")


def _compare_objects(written: Any, read: Any, untyped: bool) -> None:
    """Compares the objects in plain data, which a type has read, with what it has made of them."""
    kind: Any = type(written)
    if _is_object(kind):
        _compare(written, read, untyped)
    elif isinstance(written, Mapping):
        for key, item in written.items():
            found = read.get(key, _MISSING) if isinstance(read, Mapping) else _field_of(read, key)
            if found is _MISSING:
                check(item)
            else:
                _compare_objects(item, found, untyped)
    elif isinstance(written, list | tuple | deque) and isinstance(read, list | tuple | deque):
        for item, found in zip(written, read, strict=False):
            _compare_objects(item, found, untyped)
    else:
        check(written)


def _field_of(read: Any, key: Any) -> Any:
    """The field of a model or dataclass that was read from this key."""
    kind: Any = type(read)
    if not _is_object(kind) or not isinstance(key, str):
        return _MISSING
    if issubclass(kind, BaseModel):
        aliases = (name for name, f in kind.model_fields.items() if f.validation_alias == key)
        key = next(aliases, key)
    return _field(read, key)


def _are_same(written: Any, read: Any, untyped: bool, path: str) -> bool:
    """Compares two of one class, object by object: their own ``==`` may leave out a field."""
    kind: Any = type(written)
    has_no_equality = kind.__eq__ is object.__eq__
    if kind in ATOMS:
        return bool(written == read or (written != written and read != read))  # NaN
    if isinstance(written, datetime) and written.tzinfo and read.tzinfo:
        # In UTC: Python calls a moment within the hour that the clocks repeat unequal to the same
        # moment of any other time zone.
        return bool(written.astimezone(UTC) == read.astimezone(UTC))
    if _is_object(kind):
        for name in _field_names(written):
            _compare(_field(written, name), _field(read, name), untyped, _within(path, name))
        return True
    if isinstance(written, Mapping):
        return _are_same_mappings(written, read, untyped, path)
    if isinstance(written, list | tuple | deque):
        return _are_same_lists(written, read, untyped, path)
    if has_no_equality and hasattr(written, "__dict__"):
        return _are_same_mappings(vars(written), vars(read), untyped, path)
    return _are_equal(written, read) or not (
        _are_equal(written, written) or _are_equal(read, read)  # NaN
    )


def _are_equal(written: Any, read: Any) -> bool:
    answer: Any = written == read
    # An array answers for each item, and a table for each item of each column.
    for _ in range(_MOST_DIMENSIONS):
        try:
            return bool(answer)
        except (ValueError, RuntimeError):
            answer = answer.all()
    return bool(answer)


def _are_same_mappings(written: Any, read: Any, untyped: bool, path: str) -> bool:
    if len(written) != len(read):
        return False
    for key, value in written.items():
        found = read.get(key, _MISSING)
        if found is _MISSING and untyped:
            [text] = from_json(to_json({key: None}))
            found = read.get(text, _MISSING)
        if found is _MISSING:
            return False
        _compare(value, found, untyped, _within(path, key))
    return True


def _are_same_lists(written: Any, read: Any, untyped: bool, path: str) -> bool:
    if len(written) != len(read):
        return False
    for place, (one, other) in enumerate(zip(written, read, strict=True)):
        _compare(one, other, untyped, _within(path, place))
    return True


def _field_names(value: Any) -> Iterable[str]:
    if isinstance(value, BaseModel):
        return (*type(value).model_fields, *(value.__pydantic_extra__ or ()))
    return (field.name for field in dataclasses.fields(value))


def _field(value: Any, name: str) -> Any:
    if isinstance(value, BaseModel):
        extra = value.__pydantic_extra__ or {}
        return value.__dict__.get(name, extra.get(name, _MISSING))
    return getattr(value, name, _MISSING)


def _origin(kind: Any) -> Any:
    """The class without its parameters: a ``Box[int]`` may be read as a ``Box``."""
    if not issubclass(kind, BaseModel):
        return kind
    return kind.__pydantic_generic_metadata__["origin"] or kind


def _shown(value: object) -> str:
    try:
        return f"{value!r:.100}"
    except Exception:  # noqa: BLE001 - of the user's class
        return f"an object of {type(value).__name__}"


def _within(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)
