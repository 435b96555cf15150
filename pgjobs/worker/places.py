"""Places for the runs of some job types, beside the slots that all runs need."""

from collections.abc import Iterable


class Places:
    """How many runs of these types a worker may hold: plain functions, or one type's own limit."""

    __slots__ = ("_count", "taken", "types")

    def __init__(self, types: Iterable[str], count: int) -> None:
        self.types = frozenset(types)
        self._count = count
        self.taken = 0  # by runs that have not ended

    @property
    def room(self) -> int:
        """How many runs may begin."""
        return max(0, self._count - self.taken)

    def leave(self) -> bool:
        """Frees the place of a run; True: all were taken, so the last claim has left them out."""
        self.taken -= 1
        return self.taken == self._count - 1
