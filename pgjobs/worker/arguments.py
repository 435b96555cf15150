"""Checks a worker's arguments and makes its default name."""

import os
import secrets
import socket
from collections.abc import Collection
from datetime import timedelta

from pgjobs.errors import InvalidArgument


def check_worker(
    queues: Collection[str],
    concurrency: int,
    plain_concurrency: int,
    name: str | None,
    lease: timedelta,
    grace: timedelta,
) -> None:
    """Checks a worker's arguments."""
    for what, count in ("concurrency", concurrency), ("plain_concurrency", plain_concurrency):
        if not isinstance(count, int) or count < 1:
            raise InvalidArgument(f"{what} must be 1 or more, not {count!r}")
    if (
        not isinstance(queues, Collection)
        or isinstance(queues, str)
        or not queues
        or not all(isinstance(queue, str) for queue in queues)
    ):
        raise InvalidArgument(f"queues must be a list of one or more names, not {queues!r}")
    if name is not None and not isinstance(name, str):
        raise InvalidArgument(f"name must be a string, not {name!r}")
    if not isinstance(lease, timedelta) or lease < timedelta(seconds=3):
        raise InvalidArgument(f"lease must be at least 3 seconds, not {lease!r}")
    if not isinstance(grace, timedelta) or grace < timedelta(0):
        raise InvalidArgument(f"grace must be a timedelta of 0 or more, not {grace!r}")


def default_name() -> str:
    """Host, process and a random part: no other worker has the same name."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
