"""`pgjobs worker`: one process that works, or a parent of several."""

import asyncio
import gc
import importlib
import logging
import os
import sys
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgjobs.cli.options import Dsn, duration
from pgjobs.cli.session import connected
from pgjobs.errors import PgjobsError

if TYPE_CHECKING:
    from pgjobs.app import App
    from pgjobs.worker.worker import Worker

log = logging.getLogger("pgjobs.cli")

# What a LogRecord has by itself; all else came by `extra=`.
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Level(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def worker(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="Where the App is: myproject.jobs:app.")
    ],
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", "-q", metavar="Q", help="In order of preference; else default."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            metavar="N",
            min=1,
            help="Jobs at the same time in each process; else 100.",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", "-p", metavar="N", min=1, help="One that dies is started again."
        ),
    ] = 1,
    name: Annotated[
        str | None,
        typer.Option(metavar="S", help="Unlike any other living worker's."),
    ] = None,
    grace: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="What running jobs have to end at shutdown; else 30s.",
        ),
    ] = None,
    listen_dsn: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="A direct address for LISTEN, if --dsn is a pooler."),
    ] = None,
    log_level: Annotated[Level, typer.Option(help="Of the log, on stderr.")] = Level.INFO,
    dsn: Dsn = None,
    schema: Annotated[
        str | None, typer.Option("--schema", metavar="S", help="Instead of the app's own.")
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the jobs that an app has handlers for.

    [bold]pgjobs worker myproject.jobs:app[/bold]

    [bold]pgjobs worker myproject.jobs:app -q urgent -q default -c 20 --processes 4[/bold]

    SIGTERM or Ctrl-C ends it well: no more jobs are taken, running ones have --grace to end, and
    the rest is given back. A second one ends it at once.
    """
    _log_to_stderr(log_level)
    app = load(target)
    app.connect_to(dsn, schema)
    if processes > 1:
        from pgjobs.cli.processes import supervise

        raise typer.Exit(supervise(processes, name, _arguments(
            target, queue, concurrency, grace, listen_dsn, log_level, dsn, schema)))
    options: dict[str, Any] = {
        "queues": queue, "concurrency": concurrency, "name": name, "grace": grace,
        "listen_dsn": listen_dsn,
    }
    given = {key: value for key, value in options.items() if value}
    if grace is not None:
        given["grace"] = grace
    asyncio.run(_work(app, given, parent))


def load(target: str) -> "App":
    """The App that ``MODULE:APP`` names; modules beside the caller are found too."""
    from pgjobs.app import App

    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise typer.BadParameter(f"{target!r} is not MODULE:APP: write it like myproject.jobs:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_failed(module_name, error) from error
        raise PgjobsError(
            f"there is no module {error.name}: looked on Python's path and in {os.getcwd()}"
        ) from error
    except Exception as error:
        raise _import_failed(module_name, error) from error
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            apps = [key for key, value in vars(found).items() if isinstance(value, App)]
            raise PgjobsError(
                f"{module_name} has no {path}: "
                + (f"its apps are {', '.join(apps)}" if apps else "make one, app = pgjobs.App()")
            )
        found = getattr(found, attribute)
    if not isinstance(found, App):
        raise PgjobsError(f"{target} is not a pgjobs.App but of type {type(found).__name__}")
    return found


def _import_failed(module_name: str, error: Exception) -> PgjobsError:
    """Where in the module it failed, and why, in one line."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = ""
    if traceback is not None:
        where = f" ({traceback.tb_frame.f_code.co_filename}, line {traceback.tb_lineno})"
    return PgjobsError(
        f"importing {module_name} failed with {type(error).__name__}: {error}{where}"
    )


async def _work(app: "App", options: dict[str, Any], parent: int | None) -> None:
    from pgjobs.cli.schema import code_version

    # Asked first: what is wrong now is not going to heal, and is told in one line.
    async with connected(app.dsn, app.schema) as database:
        if (installed := await database.version()) != code_version():
            log.warning("the database has pgjobs %s, this is %s: pgjobs migrate", installed,
                        code_version())
    running = app.worker(**options)
    # What is loaded now stays: the collector need not walk it again and again beside the jobs.
    gc.freeze()
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(_stop_if_orphaned(running, parent)) if parent else None
        await running.run()
        if watch is not None:
            watch.cancel()


async def _stop_if_orphaned(running: "Worker", parent: int) -> None:
    """A parent that was killed cannot tell its children to stop."""
    while os.getppid() == parent:  # noqa: ASYNC110 - the system has no event for it
        await asyncio.sleep(1)
    log.warning("the parent process is gone")
    running.stop()


def _arguments(
    target: str,
    queues: list[str] | None,
    concurrency: int | None,
    grace: timedelta | None,
    listen_dsn: str | None,
    log_level: Level,
    dsn: str | None,
    schema: str | None,
) -> list[str]:
    """The same command for one process."""
    options = {
        "--concurrency": concurrency, "--listen-dsn": listen_dsn, "--dsn": dsn,
        "--schema": schema, "--log-level": log_level.value,
        "--grace": None if grace is None else f"{grace.total_seconds():f}",
    }
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    return [*given, *(f"--queue={queue}" for queue in queues or ()), "--", target]


class _Lines(logging.Formatter):
    """One line per record, with what was given as ``extra`` at its end."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        line = super().formatMessage(record)
        extra = [
            f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in vars(record).items()
            if name not in _OWN_FIELDS
        ]
        return f"{line}  [{' '.join(extra)}]" if extra else line


def _log_to_stderr(level: Level) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
    logging.basicConfig(level=level.value.upper(), handlers=[handler])
    # asyncio's debug lines are about its selector.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLogger().level))
