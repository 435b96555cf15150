"""Figures: kept as JSON, shown as Markdown."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self


@dataclass
class Figure:
    """One measure of one system, once per run."""

    system: str
    measure: str
    unit: str
    setting: str = ""
    jobs: int = 0
    values: list[float] = field(default_factory=list)
    points: dict[str, Any] = field(default_factory=dict)  # for a plot

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """Lowest to highest."""
        return f"{number(min(self.values))} – {number(max(self.values))}"


@dataclass
class Table:
    """What one scenario found."""

    scenario: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    server: Mapping[str, str] = field(default_factory=dict)
    taken_at: str = ""

    def add(
        self, system: str, measure: str, value: float, unit: str, *, setting: str = "",
        jobs: int = 0, **points: Any,
    ) -> Figure:
        """Adds one run's value; the points of the last run are kept."""
        found = self.find(system, measure, setting)
        if found is None:
            found = Figure(system, measure, unit, setting, jobs)
            self.figures.append(found)
        found.values.append(value)
        found.points = points
        print(f"  {system} · {measure}{f' ({setting})' if setting else ''}:"
              f" {number(value)} {unit}", flush=True)
        return found

    def find(self, system: str, measure: str, setting: str = "") -> Figure | None:
        key = (system, measure, setting)
        return next((f for f in self.figures if (f.system, f.measure, f.setting) == key), None)

    def ratio(self, measure: str, over: tuple[str, str, str], under: tuple[str, str, str]) -> None:
        """Adds the quotient of two figures, run by run."""
        a, b = self.find(*over), self.find(*under)
        if a is not None and b is not None:
            for x, y in zip(a.values, b.values, strict=False):
                self.add(over[0], measure, x / y if y else float("inf"), "×", jobs=a.jobs)

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        self.taken_at = datetime.now(UTC).isoformat(timespec="seconds")
        path = folder / f"{self.scenario}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        fields = json.loads(path.read_text())
        fields["figures"] = [Figure(**figure) for figure in fields["figures"]]
        return cls(**fields)

    def markdown(self) -> str:
        """The scenario as a section."""
        lines = [
            f"## {self.scenario}: {self.title}", "",
            "| system | measure | tuning | jobs | median | lowest – highest | unit | runs |",
            "| --- | --- | --- | ---: | ---: | ---: | --- | ---: |",
        ]
        lines += [
            f"| {f.system} | {f.measure} | {f.setting} | {f.jobs or ''} |"
            f" {number(f.median)} | {f.spread} | {f.unit} | {len(f.values)} |"
            for f in self.figures
            if f.values
        ]
        lines += ["", *(f"- {note}" for note in self.notes), ""]
        versions = ", ".join(f"{name} {value}" for name, value in self.versions.items())
        server = ", ".join(f"{k} {v}" for k, v in self.server.items() if k != "version")
        lines += [
            f"{self.taken_at} · {self.machine_line()} · PostgreSQL {self.server.get('version')}"
            f" ({server}) · {versions}", "",
        ]
        return "\n".join(lines)

    def machine_line(self) -> str:
        return ", ".join(self.machine.values())


def number(value: float) -> str:
    """Three significant digits; from 100 on, the whole number."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
