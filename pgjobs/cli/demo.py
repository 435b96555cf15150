"""The command ``pgjobs demo``."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[PATH]", help="A folder of text files; else the documentation."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End without waiting for Enter.")] = False,
) -> None:
    """Runs real jobs on a PostgreSQL server of its own, and removes the server afterwards.

    [bold]pgjobs demo[/bold]

    [bold]pgjobs demo ~/notes --once[/bold]
    """
    from pgjobs.demo import run

    run(path, once=once or not (sys.stdin.isatty() and sys.stdout.isatty()))
