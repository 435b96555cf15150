"""The command ``pgjobs demo``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pgjobs.errors import PgjobsError


def demo(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[PATH]", help="A folder of text files; else the documentation."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End without waiting for Enter.")] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Then serve the console, for a browser, until Ctrl-C.")
    ] = False,
) -> None:
    """Runs real jobs on a PostgreSQL server of its own, and removes the server afterwards.

    [bold]pgjobs demo --web[/bold]

    [bold]pgjobs demo ~/notes --once[/bold]
    """
    from pgjobs.demo import run

    if web and once:
        raise typer.BadParameter("give --once or --web, but not both")
    if web:
        try:
            from pgjobs.demo.served import serve
        except ImportError as error:
            raise PgjobsError(
                f"the console is an extra: pip install 'pgjobs-queue[web]' ({error})"
            ) from error
        run(path, then=serve)
    else:
        has_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        run(path, once=once or not has_terminal)
