"""Which classes read back as they were written, by their schema alone.

Only what is known to read back is listed here. Whatever else a schema holds, also what a later
pydantic adds, leaves doubt, and then the value decides.
"""

from collections.abc import Iterator
from typing import Any

_LIMITS = {"ge", "gt", "le", "lt", "max_length", "min_length", "multiple_of", "pattern", "strict"}
# A part of a schema: the entries that it may have, beside its type, metadata and reference.
_KNOWN: dict[str, set[str]] = {
    "model": {"cls", "config", "custom_init", "frozen", "generic_origin", "root_model", "schema"},
    "model-fields": {"computed_fields", "fields", "model_name"},
    "model-field": {"frozen", "schema", "serialization_alias", "validation_alias"},
    "dataclass": {"cls", "config", "fields", "frozen", "post_init", "schema", "slots"},
    "dataclass-args": {"collect_init_only", "computed_fields", "dataclass_name", "fields"},
    "dataclass-field": {"frozen", "init", "kw_only", "name", "schema"},
    "default": {"default", "default_factory", "default_factory_takes_data", "schema"},
    "nullable": {"schema"},
    "list": {"items_schema", *_LIMITS},
    "dict": {"keys_schema", "values_schema", *_LIMITS},
    "literal": {"expected"},
    "str": {"strip_whitespace", "to_lower", "to_upper", *_LIMITS},
    "int": _LIMITS,
    "bool": {"strict"},
    "none": set(),
    "uuid": {"strict", "version"},
    "date": _LIMITS,
    "datetime": {"microseconds_precision", "tz_constraint", *_LIMITS},
}
_KNOWN_CONFIG = {
    "extra_fields_behavior", "from_attributes", "frozen", "populate_by_name", "strict", "title",
    "validate_assignment", "validate_by_name",
}
_ITEMS: dict[str, str] = {
    "dict": "values_schema", "frozenset": "items_schema", "generator": "items_schema",
    "list": "items_schema", "set": "items_schema",
}
_NOT_SCHEMAS = {"cls", "config", "default", "metadata", "serialization"}


def is_certain(schema: Any) -> bool:
    """Whether any value of the class with this core schema reads back as it was written."""
    is_class = schema["type"] in ("model", "dataclass")
    return is_class and _class_is_certain(schema) and _is_known(schema) and _parts_are(schema)


def _class_is_certain(schema: Any) -> bool:
    config = schema.get("config") or {}
    return (
        config.keys() <= _KNOWN_CONFIG
        and config.get("extra_fields_behavior") != "allow"
        and not schema.get("custom_init")
        and not schema.get("post_init")
    )


def _parts_are(schema: Any) -> bool:
    return all(_part_is_certain(part) for part in _parts(schema))


def _part_is_certain(schema: Any) -> bool:
    if not _is_known(schema):
        return False
    match schema["type"]:
        case "model" | "dataclass":
            # The value may be of a subclass, and only the fields of this class are written.
            return False
        case "model-field":
            is_certain_itself = schema.get("serialization_alias") == schema.get("validation_alias")
        case "dataclass-field":
            is_certain_itself = schema.get("init", True)
        case "model-fields" | "dataclass-args":
            is_certain_itself = not schema.get("computed_fields")
        case "literal":
            is_certain_itself = all(type(v) in (str, int, bool) for v in schema["expected"])
        case "list":
            is_certain_itself = "items_schema" in schema
        case "dict":
            # JSON has no other keys than text.
            is_text = (schema.get("keys_schema") or {}).get("type") == "str"
            is_certain_itself = is_text and "values_schema" in schema
        case _:
            is_certain_itself = True
    return bool(is_certain_itself) and _parts_are(schema)


def _is_known(schema: Any) -> bool:
    known = _KNOWN.get(schema["type"])
    return known is not None and schema.keys() <= known | {"type", "metadata", "ref"}


def holds_untyped(schema: Any) -> bool:
    """Whether some part of the schema takes anything, so that it reads plain JSON."""
    config = schema.get("config") or {}
    if schema["type"] == "any" or "allow" in (
        schema.get("extra_behavior"), config.get("extra_fields_behavior")
    ):
        return True
    # A list or a dict without a type for its items takes anything too.
    inner = _ITEMS.get(schema["type"])
    return (inner is not None and inner not in schema) or any(map(holds_untyped, _parts(schema)))


def _parts(schema: Any) -> Iterator[Any]:
    """The schemas directly within this one."""
    for name, inner in schema.items():
        if name not in _NOT_SCHEMAS:
            yield from _schemas(inner)


def _schemas(inner: Any) -> Iterator[Any]:
    if isinstance(inner, dict):
        if isinstance(inner.get("type"), str):
            yield inner
        else:  # fields by name
            for item in inner.values():
                yield from _schemas(item)
    elif isinstance(inner, list | tuple):  # a choice of a union may stand beside its label
        for item in inner:
            yield from _schemas(item)
