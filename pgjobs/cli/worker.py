"""The command ``pgjobs worker``: runs a worker, or the parent of several worker processes."""

import asyncio
import gc
import importlib
import logging
import os
import sys
import sysconfig
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

# Every LogRecord has these fields; a record gets other fields from `extra=`.
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Level(StrEnum):
    """The lowest level that is logged."""

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
        typer.Option(
            "--queue", "-q", metavar="Q",
            help="In order of preference; else the queues of the app's handlers.",
        ),
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
    plain_concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1,
            help="Plain functions at the same time in each process, of the jobs above; else 20.",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", "-p", metavar="N", min=1, help="Processes; a dead one is restarted."
        ),
    ] = 1,
    name: Annotated[
        str | None,
        typer.Option(metavar="S", help="Must differ from the name of every living worker."),
    ] = None,
    grace: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long running jobs may take to end at shutdown; else 30s.",
        ),
    ] = None,
    lease: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="A worker that hangs for longer loses its jobs; else 1m.",
        ),
    ] = None,
    delete_completed: Annotated[
        bool, typer.Option("--delete-completed", help="Delete each job when it is completed.")
    ] = False,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="End when no job is due and none runs.")
    ] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option(
            "--import", metavar="MODULE", help="Import this module too, for its handlers."
        ),
    ] = None,
    listen_dsn: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="A direct address for LISTEN, if --dsn is a pooler."),
    ] = None,
    log_level: Annotated[Level, typer.Option(help="Level of the log on stderr.")] = Level.INFO,
    dsn: Dsn = None,
    schema: Annotated[
        str | None, typer.Option("--schema", metavar="S", help="Replaces the schema of the app.")
    ] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    slot: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Runs the jobs for which an app has handlers.

    [bold]pgjobs worker myproject.jobs:app[/bold]

    [bold]pgjobs worker myproject.jobs:app -q urgent -q default -c 20 --processes 4[/bold]

    On SIGTERM or Ctrl-C the worker claims no more jobs, gives running jobs --grace to end, and then
    releases every job that has not ended. A second signal ends the worker at once.
    """
    _log_to_stderr(log_level)
    app = load(target)
    for module in modules or ():
        imported(module)
    app.connect_to(dsn, schema)
    if processes > 1 and parent is None:
        from pgjobs.cli.processes import supervise

        raise typer.Exit(supervise(processes, sys.argv[sys.argv.index("worker", 1) + 1 :]))
    options = {
        "queues": queue, "concurrency": concurrency, "plain_concurrency": plain_concurrency,
        "grace": grace, "lease": lease, "listen_dsn": listen_dsn,
        "keep_completed": False if delete_completed else None,
        "name": f"{name}-{slot}" if name and slot else name,
    }
    given = {key: value for key, value in options.items() if value not in (None, "")}
    asyncio.run(_work(app, given, parent, until_empty=until_empty))


def load(target: str) -> "App":
    """Imports the App that ``MODULE:APP`` names; also searches the current folder."""
    from pgjobs.app import App

    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise typer.BadParameter(f"{target!r} is not MODULE:APP: write it like myproject.jobs:app")
    found: Any = imported(module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute) and module_name in sys.stdlib_module_names:
            raise PgjobsError(f"{module_name} is a module of Python's own: rename your module")
        if not hasattr(found, attribute):
            apps = [key for key, value in vars(found).items() if isinstance(value, App)]
            raise PgjobsError(
                f"{module_name} has no {path}: "
                + (f"its apps are {', '.join(apps)}" if apps else "make one: app = pgjobs.App()")
            )
        found = getattr(found, attribute)
    if not isinstance(found, App):
        raise PgjobsError(f"{target} is not a pgjobs.App but of type {type(found).__name__}")
    return found


def _search_current_folder() -> None:
    """Puts the folder behind Python's own modules, none of which may be one of the folder's.

    And before the installed packages: some of them have modules of common names, like tests.
    """
    folder = os.getcwd()
    if sys.path[0] in ("", folder) and not sys.flags.safe_path:
        del sys.path[0]  # `python -m` has put it there
    if folder not in sys.path:
        pythons_own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
        behind = [
            place for place, path in enumerate(sys.path, 1)
            if path in pythons_own or os.path.basename(path) == "lib-dynload"
        ]
        sys.path.insert(max(behind, default=0), folder)


def imported(module_name: str) -> Any:
    """Imports a module; also searches the current folder."""
    _search_current_folder()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _import_failed(module_name, error) from error
        raise PgjobsError(
            f"there is no module {error.name}: looked on Python's path and in {os.getcwd()}"
        ) from error
    except Exception as error:
        raise _import_failed(module_name, error) from error


def _import_failed(module_name: str, error: Exception) -> PgjobsError:
    """Says in one line where the import failed, and why."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = ""
    if traceback is not None:
        where = f" ({traceback.tb_frame.f_code.co_filename}, line {traceback.tb_lineno})"
    return PgjobsError(
        f"importing {module_name} failed with {type(error).__name__}: {error}{where}"
    )


async def _work(
    app: "App", options: dict[str, Any], parent: int | None, *, until_empty: bool
) -> None:
    from pgjobs.cli.deadline import Deadline
    from pgjobs.cli.schema import code_version
    from pgjobs.worker.interrupts import signal_heard

    # A worker retries until the database answers. Here, at the start, an error ends the command.
    async with connected(app.dsn, app.schema) as database:
        if (installed := await database.version()) != code_version():
            log.warning("the database has pgjobs %s, this worker is %s: run pgjobs migrate",
                        installed, code_version())
    running = app.worker(**options)
    deadline = Deadline(signal_heard, running.grace.total_seconds())
    # The modules stay loaded for ever: the garbage collector need not visit them again and again.
    gc.freeze()
    status = 1
    try:
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_stop_if_orphaned(running, parent)) if parent else None
            await running.run(until_empty=until_empty)
            if watch is not None:
                watch.cancel()
        status = 0
    finally:
        deadline.work_is_over(status)


async def _stop_if_orphaned(running: "Worker", parent: int) -> None:
    """Stops the worker when its parent dies: a killed parent sends its workers no signal."""
    from pgjobs.worker.interrupts import signal_heard

    while os.getppid() == parent:  # noqa: ASYNC110 - there is no event for the end of a parent
        await asyncio.sleep(1)
    log.warning("the parent process is gone: stopping")
    signal_heard.set()
    running.stop()


class _Lines(logging.Formatter):
    """Formats a record as one line, with the fields of ``extra`` at the end."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in logging
        line = super().formatMessage(record)
        extra = [
            f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in vars(record).items()
            if name not in _STANDARD_FIELDS
        ]
        return f"{line}  [{' '.join(extra)}]" if extra else line


def _log_to_stderr(level: Level) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
    logging.basicConfig(level=level.value.upper(), handlers=[handler])
    # The debug lines of asyncio are only about its selector.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLogger().level))
