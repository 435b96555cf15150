"""What a handler raises to end its job otherwise than by returning or failing."""

from datetime import timedelta


class Signal(Exception):
    """Ends a job in a way of its own; not an error."""


class Retry(Signal):
    """A failure that is to be retried after this delay; None: after the job's backoff."""

    def __init__(self, after: timedelta | None = None, reason: str = "asked to be retried") -> None:
        super().__init__(reason)
        self.after = after


class Snooze(Signal):
    """Not now: back to pending for this long, no retry spent."""

    def __init__(self, after: timedelta) -> None:
        super().__init__(f"snoozed for {after}")
        self.after = after


class Fail(Signal):
    """A failure that no retry would mend."""


class Cancel(Signal):
    """The job is no longer wanted: cancelled, with this reason."""
