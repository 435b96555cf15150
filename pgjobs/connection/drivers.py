"""Other drivers than asyncpg: how they take a statement, and which of our errors theirs are."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import asyncpg
from asyncpg.exceptions import PostgresError

from pgjobs.errors import InvalidArgument, PgjobsError

# What a statement of pgjobs raises where pgjobs is not installed, or in another version.
NOT_INSTALLED = (
    asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError,
    asyncpg.InvalidSchemaNameError,
)
_PLACE = re.compile(r"\$(\d+)")


# By statement: the names of its columns, which psycopg and Django would make anew for each answer.
_columns: dict[str, tuple[str, ...]] = {}


@lru_cache
def _by_place(query: str) -> tuple[str, list[int]]:
    places = [int(place) - 1 for place in _PLACE.findall(query)]
    return _PLACE.sub("%s", query.replace("%", "%%")), places


def by_place(query: str, args: Sequence[Any]) -> tuple[str, list[Any]]:
    """The statement with its arguments as ``%s``, as all drivers but asyncpg take them."""
    text, places = _by_place(query)
    return text, [args[place] for place in places]


def in_style(style: str, query: str, args: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The statement and its arguments in a ``paramstyle`` of SQLAlchemy's dialects."""
    if style == "numeric_dollar":  # asyncpg's own
        return query, tuple(args)
    if style == "format":
        # What cannot be encoded would leave a connection of pg8000 in the middle of a message.
        for text in args:
            if isinstance(text, str):
                text.encode()
    text, ordered = by_place(query, args)
    return text, tuple(ordered)


def as_rows(query: str, described: Any, rows: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of a statement by column; ``described``: the ``description`` of its cursor."""
    columns = _columns.get(query)
    if columns is None:
        columns = _columns[query] = tuple(column[0] for column in described)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def translated(error: BaseException) -> BaseException:
    """Returns the error of pgjobs that a driver's error stands for, else the driver's error."""
    own = as_asyncpg(error)
    if isinstance(own, asyncpg.DataError):
        return InvalidArgument(str(own))
    return own if isinstance(own, (PgjobsError, *NOT_INSTALLED)) else error


def as_asyncpg(error: BaseException) -> BaseException | None:
    """Returns what asyncpg would have raised, or what was raised in pgjobs; None: no SQLSTATE."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PgjobsError):
            return seen
        state, message = _told(seen)
        if state is not None:
            own: BaseException = PostgresError.new({"C": state, "M": message, "S": "ERROR"})
            return own
        seen = getattr(seen, "orig", None) or seen.__cause__
    return None


def _told(error: BaseException) -> tuple[str | None, str]:
    """The SQLSTATE and the message of a driver's error."""
    if error.args and isinstance(error.args[0], dict):  # pg8000's
        fields = error.args[0]
        return fields.get("C"), str(fields.get("M"))
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)  # psycopg2's
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return state if isinstance(state, str) else None, str(primary or error)
