"""What a handler raises to say how its run ends."""

from datetime import timedelta
from typing import Any

from pgjobs.errors import InvalidArgument


class Signal(Exception):
    """Base class: says how the run ends."""


class Retry(Signal):
    """Fails the job and retries it after this delay; None: after the job's backoff."""

    def __init__(self, after: timedelta | None = None, reason: str = "asked to be retried") -> None:
        super().__init__(reason)
        self.after = None if after is None else checked_delay(after)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.after, str(self))


class Snooze(Signal):
    """Makes the job due after this delay; spends no retry."""

    def __init__(self, after: timedelta) -> None:
        super().__init__(f"snoozed for {after}")
        self.after = checked_delay(after)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.after,)


class Fail(Signal):
    """Fails the job for good, because no retry would help."""


class Cancel(Signal):
    """Cancels the job, with this reason, because its work is no longer wanted."""


def checked_delay(after: timedelta) -> timedelta:
    """The delay, if it is one that a job may have; else raises ``InvalidArgument``."""
    # A negative delay would run the job again and again at once.
    if not isinstance(after, timedelta) or not timedelta(0) <= after <= timedelta(days=36_500):
        raise InvalidArgument(f"a delay must be a timedelta from 0 to 100 years, not {after!r}")
    return after
