"""All commands under one roof, which also turns expected errors into one readable line."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from pgjobs.cli import demo, jobs, queues, schema, top, worker
from pgjobs.cli.complaints import complaint


class Commands(TyperGroup):
    """Exit status 1 and one line on stderr for what failed, 2 for what was asked wrongly."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # Whoever read our output has seen enough (`pgjobs list | head`).
            sys.stderr.close()
            raise typer.Exit(1) from None
        except Exception as error:
            found = complaint(error)
            if found is None:
                raise
            print(f"pgjobs: {found.line}", file=sys.stderr)
            raise typer.Exit(found.status) from None


cli = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # A traceback with the values of local variables would show passwords.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@cli.callback(
    epilog="The database is the one of --dsn, else of PGJOBS_DSN, of DATABASE_URL, or of libpq's "
    "PGHOST, PGDATABASE and so on. A password belongs into the environment or into ~/.pgpass, "
    "since everybody on the machine can see a command's arguments."
)
def root() -> None:
    """A job queue inside PostgreSQL.

    Begin with [bold]pgjobs demo[/bold], or in your own database with [bold]pgjobs migrate[/bold].
    When something is stuck, ask [bold]pgjobs doctor[/bold].
    """


_INSTALL, _WORK, _LOOK, _MANAGE = "Install", "Work", "Look", "Manage"
cli.command("migrate", rich_help_panel=_INSTALL)(schema.migrate)
cli.command("sql", rich_help_panel=_INSTALL)(schema.sql)
cli.command("grant", rich_help_panel=_INSTALL)(schema.grant)
cli.command("demo", rich_help_panel=_INSTALL)(demo.demo)
cli.command("worker", rich_help_panel=_WORK)(worker.worker)
cli.command("enqueue", rich_help_panel=_WORK)(jobs.enqueue)
cli.command("list", rich_help_panel=_LOOK)(jobs.list_jobs)
cli.command("show", rich_help_panel=_LOOK)(jobs.show)
cli.command("stats", rich_help_panel=_LOOK)(queues.stats)
cli.command("top", rich_help_panel=_LOOK)(top.top)
cli.command("doctor", rich_help_panel=_LOOK)(schema.doctor)
cli.command("retry", rich_help_panel=_MANAGE)(jobs.retry)
cli.command("cancel", rich_help_panel=_MANAGE)(jobs.cancel)
cli.command("pause", rich_help_panel=_MANAGE)(queues.pause)
cli.command("resume", rich_help_panel=_MANAGE)(queues.resume)
cli.command("cleanup", rich_help_panel=_MANAGE)(queues.cleanup)
