"""The text format of Prometheus, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """One metric, with its values by label set."""

    name: str
    type: Literal["gauge", "counter"]
    help: str
    values: Iterable[tuple[Labels, float]] = ()


@dataclass(frozen=True)
class Histogram:
    """One histogram per label set: upper bounds of the buckets, and how many are in each.

    ``bounds`` leaves out the last bucket, which has no bound. ``values``: labels, the number in
    each bucket, the sum of what was measured.
    """

    name: str
    help: str
    bounds: Sequence[float]
    values: Iterable[tuple[Labels, Sequence[int], float]] = field(default=())


def exposition(metrics: Iterable[Metric | Histogram]) -> str:
    """Returns the metrics as text."""
    return "".join(line + "\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric | Histogram) -> Iterator[str]:
    kind = metric.type if isinstance(metric, Metric) else "histogram"
    yield f"# HELP {metric.name} {_escaped(metric.help)}"
    yield f"# TYPE {metric.name} {kind}"
    if isinstance(metric, Metric):
        for labels, value in metric.values:
            yield f"{metric.name}{_labels(labels)} {_number(value)}"
        return
    for labels, counts, total in metric.values:
        below = 0
        for bound, count in zip((*map(_number, metric.bounds), "+Inf"), counts, strict=True):
            below += count
            yield f"{metric.name}_bucket{_labels({**labels, 'le': bound})} {below}"
        yield f"{metric.name}_sum{_labels(labels)} {_number(total)}"
        yield f"{metric.name}_count{_labels(labels)} {below}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(
        f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"'
        for name, value in labels.items()
    )
    return f"{{{pairs}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
