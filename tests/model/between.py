"""A moment of which only the bounds are known."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Between:
    """Any moment from low to high."""

    low: datetime
    high: datetime

    def __eq__(self, other: object) -> bool:
        return isinstance(other, datetime) and self.low <= other <= self.high

    def __hash__(self) -> int:
        return 0

    def later(self, least: timedelta, most: timedelta | None = None) -> "Between":
        return Between(self.low + least, self.high + (least if most is None else most))
