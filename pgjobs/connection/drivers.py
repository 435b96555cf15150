"""Other drivers than asyncpg: how they take a statement, and which of our errors theirs are."""

import re
from collections.abc import Sequence
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


@lru_cache
def by_name(query: str) -> str:
    """The statement with its arguments as ``%(p1)s``: psycopg, psycopg2, Django."""
    return _PLACE.sub(r"%(p\1)s", query.replace("%", "%%"))


def named(args: Sequence[Any]) -> dict[str, Any]:
    """The arguments of a statement that ``by_name`` has made."""
    return {f"p{place}": value for place, value in enumerate(args, 1)}


def in_style(style: str, query: str, args: Sequence[Any]) -> tuple[str, Any]:
    """The statement and its arguments in a ``paramstyle`` of SQLAlchemy's dialects."""
    if style == "numeric_dollar":  # asyncpg's own
        return query, tuple(args)
    if style == "pyformat":
        return by_name(query), named(args)
    # One argument after the other, as pg8000 takes them. What cannot be encoded would leave its
    # connection in the middle of a message.
    for text in args:
        if isinstance(text, str):
            text.encode()
    places = [int(place) for place in _PLACE.findall(query)]
    return _PLACE.sub("%s", query.replace("%", "%%")), tuple(args[place - 1] for place in places)


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
