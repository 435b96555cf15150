"""Who acts: told to the database by the calls that manage jobs, which note it in ``jobs_audit``."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from pgjobs.errors import InvalidArgument

_actor: ContextVar[str | None] = ContextVar("pgjobs actor", default=None)


@contextmanager
def acting(actor: str | None) -> Iterator[None]:
    """Lets ``jobs_audit`` name this user for the calls in the block; None: no user.

    For a program whose users share its database role. The calls are those that manage: ``cancel``,
    ``retry``, ``edit``, ``copy`` and their kin for many jobs. With ``conn`` the database knows the
    user until the end of that transaction, also behind the block. The name is what the program
    says, and at most 200 characters of it are kept.
    """
    if actor is not None and (not isinstance(actor, str) or not actor):
        raise InvalidArgument(f"actor must be the name of a user, or None, not {actor!r:.100}")
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def with_actor(query: str, args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The statement and its arguments so that it tells who acts, if somebody does."""
    actor = _actor.get()
    return (query, args) if actor is None else (_telling(query, len(args) + 1), (*args, actor))


@cache
def _telling(query: str, place: int) -> str:
    # In the statement itself, so that a connection of a pool keeps nothing: the setting ends with
    # the transaction. `query` needs a value of `told`, so PostgreSQL sets the actor before.
    return f"""select done.* from (
        select set_config('pgjobs.actor', ${place}::text, true) as actor) told
    cross join lateral (
        select managed.* from ({query}) managed where told.actor is not null offset 0) done"""
