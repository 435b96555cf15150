"""``python -m benchmarks SCENARIO…``, ``quick``, ``all``, or ``report``."""

import argparse
import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

from .bench import ROOT, Bench, Options
from .machine import available, machine
from .report import write_report
from .results import Table
from .scenarios import SCENARIOS
from .systems import SYSTEMS

QUICK = ROOT / "benchmarks/results/quick"
FULL = ROOT / "benchmarks/results"


def main() -> None:
    """Runs the scenarios that the command line names, and writes the report."""
    options = _parser().parse_args()
    quick = options.scenarios == ["quick"]
    folder: Path = options.output or (QUICK if quick else FULL)
    if options.scenarios != ["report"]:
        names = [name for name in SCENARIOS if not quick or SCENARIOS[name].quick_jobs]
        if not quick and options.scenarios != ["all"]:
            names = options.scenarios
        runs = options.runs or (1 if quick else 5)
        base = Options(options.systems, runs, options.jobs, options.seconds, folder)
        failed = [name for name in names if not _run(name, base, quick=quick)]
        if failed:
            print(f"failed: {', '.join(failed)}", file=sys.stderr)
    else:
        failed = []
    for path in write_report(folder):
        print(f"written: {path}")
    sys.exit(1 if failed else 0)


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:19} {s.title}" for name, s in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures pgjobs beside its peers on an embedded PostgreSQL.",
        epilog=f"scenarios:\n{listing}\n  {'quick':19} most of them, smaller, once each\n"
        f"  {'all':19} all of them\n  {'report':19} only the report, of the existing results",
    )
    parser.add_argument("scenarios", nargs="+", metavar="SCENARIO",
                        choices=[*SCENARIOS, "quick", "all", "report"])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--runs", type=int, help="5; for quick, 1")
    parser.add_argument("--jobs", type=int, help="of the scenario's largest measure")
    parser.add_argument("--seconds", type=float, help="for producers, promptness, spread, idle")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: benchmarks/results")
    return parser


def _run(name: str, options: Options, *, quick: bool) -> bool:
    scenario = SCENARIOS[name]
    wanted = ["pgjobs"]
    if scenario.peers:
        wanted = [s for s in SYSTEMS if s in options.systems and s in ("pgjobs", *scenario.peers)]
    versions, notes = available(wanted)
    options = replace(
        options, systems=list(versions),
        jobs=options.jobs or (scenario.quick_jobs if quick else scenario.jobs),
        seconds=options.seconds or (scenario.quick_seconds if quick else scenario.seconds),
    )
    print(f"{name}: {scenario.title}", flush=True)
    for note in notes:
        print(f"  {note}", flush=True)
    table = Table(name, scenario.title, notes=notes, machine=machine(), versions=versions)
    began = time.monotonic()

    async def measure() -> None:
        async with Bench(options, table, scenario.settings) as bench:
            await scenario.run(bench)

    try:
        asyncio.run(measure())
    except (Exception, ExceptionGroup) as error:  # noqa: BLE001 - the other scenarios are still run
        table.notes.append(f"ended early: {error!r}")
        print(f"  ended early: {error!r}", file=sys.stderr, flush=True)
        return False
    finally:
        if table.figures:
            table.save(options.folder)
    print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    return True


if __name__ == "__main__":
    main()
