"""The command ``pgjobs`` with all its commands; an expected error becomes one readable line."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from pgjobs.cli import (
    apply,
    audit,
    demo,
    edit,
    enqueue,
    jobs,
    limits,
    many,
    metrics,
    queues,
    retention,
    schedules,
    schema,
    show,
    top,
    web,
    why,
    worker,
)
from pgjobs.cli.complaints import complaint, usage_complaint
from pgjobs.cli.log import tell_error
from pgjobs.connection.dsn import without_passwords


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Exits with 1 and one line on stderr if a command failed, with 2 if its input was wrong."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader of the output has closed the pipe, as in `pgjobs list | head`.
        sys.stderr.close()
        raise typer.Exit(1) from None
    except Exception as error:
        found = usage_complaint(error) or complaint(error)
        if found is None:
            raise
        tell_error(without_passwords(found.line))
        raise typer.Exit(found.status) from None


class Command(TyperCommand):
    """One command: its help fills its paragraphs, and names no types of Python."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.help = _filled(self.help)

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))


class Commands(TyperGroup):
    """All commands; tells their errors in one line."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.help = _filled(self.help)

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _errors_in_one_line():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _errors_in_one_line():
            return super().invoke(ctx)


def _filled(text: str | None) -> str:
    """Joins the lines of a paragraph, which the terminal breaks where it needs to."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(text or ""))


def _without_types(parameters: Any) -> Any:
    """Flags take no value, and what an argument is stands in its help."""
    for parameter in parameters:
        if parameter.param_type_name == "argument" or getattr(parameter, "is_flag", False):
            parameter.display_type_rich = lambda ctx: None
    return parameters


cli = typer.Typer(
    cls=Commands,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="rich",
    # A traceback with the values of local variables would show passwords.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@cli.callback(
    epilog="The database is the one of --dsn, else of PGJOBS_DSN, of DATABASE_URL, or of libpq's "
    "PGHOST, PGDATABASE and so on. Put a password in the environment or in ~/.pgpass, because "
    "everybody on the machine can see a command's arguments."
)
def root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version of this command.", is_eager=True)
    ] = False,
) -> None:
    """A job queue inside PostgreSQL.

    Begin with [bold]pgjobs demo[/bold], or in your own database with [bold]pgjobs migrate[/bold].
    When something is stuck, run [bold]pgjobs doctor[/bold].
    """
    if version:
        print(f"pgjobs {schema.code_version()}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
        raise typer.Exit(2)


_PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Install": {
        "migrate": schema.migrate, "sql": schema.sql, "grant": schema.grant, "demo": demo.demo,
    },
    "Work": {"worker": worker.worker, "enqueue": enqueue.enqueue},
    "Inspect": {
        "list": jobs.list_jobs, "show": show.show, "why": why.why, "stats": queues.stats,
        "top": top.top, "doctor": schema.doctor, "metrics": metrics.metrics,
        "audit": audit.audit, "web": web.web,
    },
    "Manage": {
        "retry": jobs.retry, "cancel": jobs.cancel, "edit": edit.edit, "pause": queues.pause,
        "resume": queues.resume, "limit": limits.limit, "cleanup": queues.cleanup,
        "delete": many.delete,
        "apply": apply.apply,
    },
}
for _panel, _commands in _PANELS.items():
    for _name, _command in _commands.items():
        cli.command(_name, cls=Command, rich_help_panel=_panel)(_command)

_GROUPS: dict[str, tuple[str, str, dict[str, Callable[..., None]]]] = {
    "schedule": (
        "Lists, makes and changes schedules: what the clock enqueues.", "pgjobs schedule list",
        schedules.COMMANDS,
    ),
    "retain": (
        "Lists, sets and removes how long ended jobs stay.", "pgjobs retain list",
        retention.COMMANDS,
    ),
}
for _group, (_help, _example, _commands) in _GROUPS.items():
    _typer = typer.Typer(
        cls=Commands, no_args_is_help=True, rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        help=f"{_help}\n\n[bold]{_example}[/bold]",
    )
    for _name, _command in _commands.items():
        _typer.command(_name, cls=Command)(_command)
    cli.add_typer(_typer, name=_group, rich_help_panel="Manage")
