"""How long a call without ``conn`` waits for the database, and what it raises then."""

import asyncio

import asyncpg

from pgjobs.connection.dsn import once_reachable
from pgjobs.connection.link import SLOWEST_CHARACTERS_PER_S
from pgjobs.errors import ConnectionLost

# From the call to its answer: waiting for a connection, making it, and the statement.
PATIENCE_S = 60.0

# After these errors nothing was committed, although the statement was sent.
_REFUSED = (
    asyncpg.ReadOnlySQLTransactionError,  # the statement's own error
    asyncpg.IdleSessionTimeoutError,  # the server had closed the session before it read on
    asyncpg.CannotConnectNowError,  # these two come from a pooler that got no session
    asyncpg.TooManyConnectionsError,
)


def give_up_at(text: str = "") -> float:
    """Returns when a call that sends this text gives up, by the event loop's clock."""
    return asyncio.get_running_loop().time() + PATIENCE_S + sending_s(text)


def sending_s(text: str) -> float:
    """How much more time a call has on a slow line, because it sends this text."""
    return len(text) / SLOWEST_CHARACTERS_PER_S


def lost(
    error: BaseException, *, is_sent: bool, unreached: str | None = None
) -> ConnectionLost:
    """Returns what a call raises that ``error``, one of ``BROKEN``, has ended.

    ``is_sent``: the statement was sent, or its sending at least begun. ``unreached``: the DSN, if
    there was no connection.
    """
    reason = f"{type(error).__name__}: {error}" if str(error) else "no answer in time"
    may_exist = is_sent and not isinstance(error, _REFUSED)
    if may_exist:
        text = (
            f"the connection failed before the answer came ({reason}): the job may have been added:"
            " look for it, or give a unique_key before you try again"
        )
    else:
        text = f"the connection failed ({reason}): the job was not added: try again"
        if unreached is not None and not is_sent and isinstance(error, OSError):
            text += f" {once_reachable(unreached)}"
    found = ConnectionLost(text, may_exist=may_exist)
    found.__cause__ = error
    return found
