"""The demo: real files through four kinds of jobs."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[PATH]", help="A folder of text files; else the documentation."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End by itself, without Enter.")] = False,
) -> None:
    """Run real jobs on a PostgreSQL of its own, which is gone afterwards.

    [bold]pgjobs demo[/bold]

    [bold]pgjobs demo ~/notes --once[/bold]
    """
    from pgjobs.demo import run

    run(path, once=once or not (sys.stdin.isatty() and sys.stdout.isatty()))
