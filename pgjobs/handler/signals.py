"""What a handler raises to end its job otherwise than by returning or failing."""

from datetime import timedelta

from pgjobs.errors import InvalidArgument


class Signal(Exception):
    """Ends a job in a way of its own; not an error."""


class Retry(Signal):
    """A failure that is to be retried after this delay; None: after the job's backoff."""

    def __init__(self, after: timedelta | None = None, reason: str = "asked to be retried") -> None:
        super().__init__(reason)
        self.after = None if after is None else _delay(after)


class Snooze(Signal):
    """Not now: back to pending for this long, no retry spent."""

    def __init__(self, after: timedelta) -> None:
        super().__init__(f"snoozed for {after}")
        self.after = _delay(after)


class Fail(Signal):
    """A failure that no retry would mend."""


class Cancel(Signal):
    """The job is no longer wanted: cancelled, with this reason."""


def _delay(after: timedelta) -> timedelta:
    # In the past it would run again and again at once.
    if not isinstance(after, timedelta) or not timedelta(0) <= after <= timedelta(days=36_500):
        raise InvalidArgument(f"a delay must be a timedelta from 0 to 100 years, not {after!r}")
    return after
