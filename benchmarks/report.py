"""All results of a folder as one Markdown page, with plots."""

from collections.abc import Sequence
from pathlib import Path

from .results import Table
from .scenarios import SCENARIOS

CONCURRENCIES = {"c1": 1, "c10": 10, "c100": 100}


def write_report(folder: Path) -> list[Path]:
    """``README.md`` and the plots, from the JSON files that are there."""
    tables = [
        Table.load(folder / f"{name}.json")
        for name in SCENARIOS
        if (folder / f"{name}.json").exists()
    ]
    if not tables:
        return []
    plots = _plots(folder, tables)
    page = folder / "README.md"
    up = "../" * (1 + (folder.name == "quick"))
    lines = [
        "# Results", "",
        "Written by `python -m benchmarks`; how each system was tuned, and what differs in what",
        f"they promise, is in [benchmarks/README.md]({up}README.md).", "",
    ]
    for plot in plots:
        lines += [f"![{plot.stem}]({plot.name})", ""]
    lines += [table.markdown() for table in tables]
    page.write_text("\n".join(lines))
    return [page, *plots]


def _plots(folder: Path, tables: Sequence[Table]) -> list[Path]:
    try:
        import matplotlib

        matplotlib.use("Agg")
    except ImportError:
        print("no plots: matplotlib is not installed (pip install -r benchmarks/requirements.txt)")
        return []
    made = []
    for table in tables:
        if table.scenario == "drain":
            made.append(_drain(folder, table))
        elif table.scenario == "held-snapshot":
            made.append(_held_snapshot(folder, table))
    return made


def _drain(folder: Path, table: Table) -> Path:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for system in dict.fromkeys(f.system for f in table.figures):
        found = [(n, table.find(system, "drain", c)) for c, n in CONCURRENCIES.items()]
        points = [(n, f) for n, f in found if f is not None and f.values]
        best = table.find(system, "drain", "best")
        if points:
            (line,) = axes.plot(
                [n for n, _ in points], [f.median for _, f in points], marker="o", label=system
            )
            if best is not None:
                axes.axhline(best.median, color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(
        xscale="log", yscale="log", xlabel="concurrency (pgqueuer: batch size)", ylabel="jobs/s",
        title="Drain of no-op jobs, one worker process; dotted: best tuning",
    )
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    return _save(figure, folder / "drain.png")


def _held_snapshot(folder: Path, table: Table) -> Path:
    from matplotlib import pyplot

    settings = ("c50", "c100")
    figure, both = pyplot.subplots(1, len(settings), figsize=(11, 5), sharey=True)
    for axes, setting in zip(both, settings, strict=True):
        for system in dict.fromkeys(f.system for f in table.figures):
            found = table.find(system, "last sixth / first sixth", setting)
            if found is not None and found.points.get("over_time"):
                shares, rates = zip(*found.points["over_time"], strict=True)
                axes.plot([share * 100 for share in shares], rates, label=f"{system}")
        axes.set(yscale="log", xlabel="% of the jobs done", title=f"concurrency {setting[1:]}")
        axes.grid(True, which="both", alpha=0.3)
    both[0].set_ylabel("jobs/s")
    both[0].legend()
    figure.suptitle("Throughput while another session holds an old snapshot")
    return _save(figure, folder / "held-snapshot.png")


def _save(figure: object, path: Path) -> Path:
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
