"""The command ``pgjobs worker``: runs a worker, or the parent of several worker processes."""

import asyncio
import gc
import logging
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgjobs.cli.loading import folders_of, imported, load
from pgjobs.cli.log import FORMATS, LEVELS, log_to_stderr
from pgjobs.cli.options import Address, Dsn, address, at_least, duration, one_of
from pgjobs.cli.session import connected

if TYPE_CHECKING:
    from pgjobs.app import App
    from pgjobs.cli.health import Probes
    from pgjobs.worker.worker import Worker

log = logging.getLogger("pgjobs.cli")


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
            parser=at_least(1),
            metavar="N",
            help="Jobs at the same time in each process; else 100.",
        ),
    ] = None,
    plain_concurrency: Annotated[
        int | None,
        typer.Option(
            parser=at_least(1), metavar="N",
            help="Plain functions at the same time in each process, of the jobs above; else 20.",
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", "-p", parser=at_least(1), metavar="N",
            help="Processes; a dead one is restarted.",
        ),
    ] = "1",  # type: ignore[assignment]  # typer parses the default as if it were typed
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
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="For development: restart when a Python file of the app changes."
        ),
    ] = False,
    health: Annotated[
        Address | None,
        typer.Option(
            parser=address, metavar="HOST:PORT",
            help="Answer probes there by HTTP: /livez and /readyz; :8080 is any address.",
        ),
    ] = None,
    health_file: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Write this file every 2 s while the worker is live, for probes by a command.",
        ),
    ] = None,
    log_level: Annotated[
        str,
        typer.Option(
            parser=one_of("level", LEVELS), metavar="LEVEL",
            help=f"Of the log on stderr: {', '.join(LEVELS)}.",
        ),
    ] = "info",
    log_format: Annotated[
        str,
        typer.Option(
            parser=one_of("format", FORMATS), metavar="FORMAT",
            help="Of the log: text, or json with one object in each line.",
        ),
    ] = "text",
    dsn: Dsn = None,
    schema: Annotated[
        str | None, typer.Option("--schema", metavar="S", help="Replaces the schema of the app.")
    ] = None,
    # Those of a worker that another pgjobs process has started, see cli/processes.py.
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    slot: Annotated[int | None, typer.Option(hidden=True)] = None,
    health_pipe: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Runs the jobs for which an app has handlers.

    [bold]pgjobs worker myproject.jobs:app[/bold]

    [bold]pgjobs worker myproject.jobs:app -q urgent -q default -c 20 --processes 4[/bold]

    [bold]pgjobs worker myproject.jobs:app --reload[/bold]

    On SIGTERM or Ctrl-C the worker claims no more jobs, gives running jobs --grace to end, and then
    releases every job that has not ended. A second signal ends the worker at once.

    [bold]pgjobs worker myproject.jobs:app --health 127.0.0.1:8080[/bold]

    /livez answers 503 when the event loop has been blocked for longer than the lease, and never
    asks the database. /readyz answers 503 with the reason while the worker starts or stops, and
    while it cannot claim. With --processes the parent answers for all of its workers.
    """
    log_to_stderr(log_level, log_format)
    if reload and parent is None:
        from pgjobs.cli.reload import work_and_reload

        if until_empty:
            raise typer.BadParameter("--reload never ends, and --until-empty does: give one")
        raise typer.Exit(work_and_reload(_arguments(), folders_of(target, modules or ())))
    app = load(target)
    for module in modules or ():
        imported(module)
    app.connect_to(dsn, schema)
    from pgjobs.cli.health import Probes

    if slot is not None:
        probes = Probes(None, None, health_pipe)  # the parent answers for this process
    else:
        probes = Probes(health, health_file, None)
    if processes > 1 and slot is None:
        from pgjobs.cli.processes import supervise

        raise typer.Exit(supervise(processes, _arguments(), parent, probes))
    options = {
        "queues": queue, "concurrency": concurrency, "plain_concurrency": plain_concurrency,
        "grace": grace, "lease": lease, "listen_dsn": listen_dsn,
        "keep_completed": False if delete_completed else None,
        "name": f"{name}-{slot}" if name and slot else name,
    }
    given = {key: value for key, value in options.items() if value not in (None, "")}
    asyncio.run(_work(app, given, parent, probes, until_empty=until_empty))


def _arguments() -> list[str]:
    """Returns the arguments of this command, as they were given."""
    return sys.argv[sys.argv.index("worker", 1) + 1 :]


async def _work(
    app: "App", options: dict[str, Any], parent: int | None, probes: "Probes", *,
    until_empty: bool,
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
    health = running.health(needs_schema=code_version())
    deadline = Deadline(signal_heard, running.grace.total_seconds())
    # The modules stay loaded for ever: the garbage collector need not visit them again and again.
    gc.freeze()
    status = 1
    try:
        with probes.answered(health.report):
            async with asyncio.TaskGroup() as tasks:
                beside = []
                if parent:
                    beside.append(tasks.create_task(_stop_if_orphaned(running, parent)))
                if probes.exist:
                    beside.append(tasks.create_task(health.watch()))
                await running.run(until_empty=until_empty)
                for task in beside:
                    task.cancel()
        status = 0
    finally:
        deadline.work_is_over(status)


async def _stop_if_orphaned(running: "Worker", parent: int) -> None:
    """Stops the worker when its parent dies: a killed parent sends its workers no signal."""
    from pgjobs.cli.processes import orphaned
    from pgjobs.worker.interrupts import signal_heard

    await orphaned(parent)
    signal_heard.set()
    running.stop()
