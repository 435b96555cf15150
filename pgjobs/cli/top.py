"""The command ``pgjobs top``: shows the queues, the workers and the running jobs."""

import asyncio
import sys
from datetime import timedelta
from typing import Annotated

import typer

from pgjobs.cli.frame import Frame, body, head, read_for_ever, read_frame
from pgjobs.cli.options import AsJson, Dsn, Schema, duration
from pgjobs.cli.output import print_json, print_lines, print_rich
from pgjobs.cli.session import connected


def top(
    once: Annotated[bool, typer.Option("--once", help="Print once, then end.")] = False,
    every: Annotated[
        timedelta,
        typer.Option("--every", parser=duration, metavar="DURATION", help="How often to print."),
    ] = "2s",  # type: ignore[assignment]  # typer parses the default as if it were typed
    dsn: Dsn = None,
    schema: Schema = "public",
    as_json: AsJson = False,
) -> None:
    """Shows queues, workers and running jobs until q or Ctrl-C.

    [bold]pgjobs top[/bold]

    [bold]pgjobs top --once[/bold]            prints once, for watch or a log

    [bold]pgjobs top --once --json[/bold]     prints once, for a program
    """
    if every <= timedelta(0):
        raise typer.BadParameter("--every must be above 0")
    asyncio.run(_watch(dsn, schema, every, once=once or as_json, as_json=as_json))


async def _watch(
    dsn: str | None, schema: str, every: timedelta, *, once: bool, as_json: bool
) -> None:
    if not once and sys.stdout.isatty():
        from pgjobs.cli.top_screen import TopScreen

        await TopScreen(dsn, schema, every).run()
        return
    is_first = True

    def show(frame: Frame | None, trouble: str | None) -> None:
        nonlocal is_first
        if frame is not None:
            parts = [] if is_first else [""]
            print_rich(*parts, head(frame, schema), "", body(frame))
            is_first = False
        elif trouble is not None:
            print_lines(trouble)
        sys.stdout.flush()

    if once:
        async with connected(dsn, schema) as database:
            frame = await read_frame(database)
        if as_json:
            print_json(frame.as_data())
        else:
            show(frame, None)
    else:
        await read_for_ever(dsn, schema, every, show)
