"""How long a job waits before each of its retries."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from pgjobs.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before each retry; the last one repeats.

    Its delays have no jitter. Without a backoff, retries wait 5 s, 30 s, 3 min, 18 min, then 1 h,
    each a quarter more or less.
    """

    delays: tuple[timedelta, ...]

    def __post_init__(self) -> None:
        if not self.delays:
            raise InvalidArgument("a backoff needs at least one delay")
        for delay in self.delays:
            if not isinstance(delay, timedelta) or delay < timedelta(0):
                raise InvalidArgument(f"a delay must be a timedelta of 0 or more, not {delay!r}")

    @classmethod
    def fixed(cls, delay: timedelta) -> Self:
        """The same delay before every retry."""
        return cls((delay,))

    @classmethod
    def listed(cls, *delays: timedelta) -> Self:
        """These delays, one after the other; the last one repeats."""
        return cls(delays)

    @classmethod
    def exponential(
        cls, first: timedelta, *, factor: float = 2.0, maximum: timedelta = timedelta(hours=1)
    ) -> Self:
        """``first``, then each ``factor`` times the one before, up to ``maximum``."""
        if first <= timedelta(0) or factor <= 1:
            raise InvalidArgument("an exponential backoff needs first > 0 and factor > 1")
        delays = [min(first, maximum)]
        while delays[-1] < maximum:
            delays.append(min(delays[-1] * factor, maximum))
            if len(delays) > 100:
                raise InvalidArgument("more than 100 delays until the maximum: use a larger factor")
        return cls(tuple(delays))
