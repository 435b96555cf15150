"""Plain data reads back as it was written, because no class of its own takes part.

This file loads none of pydantic's models, so that neither does a program that only has plain data.
"""

import gc
import marshal
from typing import Any

ATOMS = frozenset({str, int, float, bool, type(None), bytes})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})


class ReadsDifferently(ValueError):
    """A value would not be read back as it was written."""


def is_plain(value: Any) -> bool:
    """Whether nothing within is of a class of its own, at the speed of C."""
    kind = type(value)
    if kind not in _CONTAINERS:
        return kind in ATOMS
    # CPython tracks no dict that holds only numbers and text.
    if kind is dict and not gc.is_tracked(value):
        return True
    if kind is list and not any(map(gc.is_tracked, value)):
        return True
    try:
        # It refuses the first object that is not a builtin. The bytes are not used.
        marshal.dumps(value)
    except ValueError:
        return False
    return True
