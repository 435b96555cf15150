"""A chart of bars, one per minute: where each part of a bar stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEIGHT = 80
BAR_WIDTH = 8
GAP = 2


@dataclass(frozen=True)
class Part:
    """A rectangle of the chart, and what its tooltip says."""

    kind: str
    x: int
    y: float
    height: float
    title: str


@dataclass(frozen=True)
class Chart:
    """The parts of all bars, and the size of the whole."""

    parts: list[Part]
    width: int
    top: int  # what the highest bar counts


def stacked(bars: Sequence[tuple[str, Mapping[str, int]]]) -> Chart:
    """Places bars side by side; the parts of each stand on one another, the first one lowest."""
    top = max((sum(counts.values()) for _, counts in bars), default=0)
    parts: list[Part] = []
    for place, (label, counts) in enumerate(bars):
        y = float(HEIGHT)
        title = f"{label}: " + ", ".join(f"{jobs:,} {kind}" for kind, jobs in counts.items())
        for kind, jobs in counts.items():
            if jobs:
                height = max(1.0, round(HEIGHT * jobs / top, 1))
                y -= height
                parts.append(Part(kind, place * (BAR_WIDTH + GAP), round(y, 1), height, title))
    return Chart(parts, len(bars) * (BAR_WIDTH + GAP), top)
