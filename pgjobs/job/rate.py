"""How many jobs may start in a time."""

from dataclasses import dataclass
from datetime import timedelta

from pgjobs.errors import InvalidArgument


@dataclass(frozen=True)
class Rate:
    """At most ``count`` starts within any time of the length ``per``."""

    count: int
    per: timedelta

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or isinstance(self.count, bool) or self.count < 1:
            raise InvalidArgument(f"the count of a rate must be 1 or more, not {self.count!r}")
        if not isinstance(self.per, timedelta) or self.per <= timedelta(0):
            raise InvalidArgument(f"per must be a timedelta above 0, not {self.per!r}")
