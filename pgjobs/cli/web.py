"""The command ``pgjobs web``: serves the console."""

import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgjobs.app import App
from pgjobs.cli.endpoint import listening, shown
from pgjobs.cli.loading import imported, load
from pgjobs.cli.log import log_to_stderr
from pgjobs.cli.options import Address, Dsn
from pgjobs.cli.output import print_lines
from pgjobs.cli.session import ask
from pgjobs.database import Database
from pgjobs.errors import PgjobsError

if TYPE_CHECKING:
    from pgjobs.web.access import WhoMay

TOKEN_VARIABLE = "PGJOBS_WEB_TOKEN"
ACTIONS_DSN_VARIABLE = "PGJOBS_WEB_ACTIONS_DSN"


def web(
    target: Annotated[
        str | None,
        typer.Argument(metavar="MODULE:APP", help="Whose database; else that of --dsn."),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="H", help="Where to listen; empty: all addresses.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="N", help="The port; 0: any free one.")
    ] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="F", help=f"Whose first line is the token; else {TOKEN_VARIABLE}."),
    ] = None,
    access: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION", help="Who may do what, instead of a token: see the guide."
        ),
    ] = None,
    dsn: Dsn = None,
    actions_dsn: Annotated[
        str | None,
        typer.Option(
            metavar="DSN", envvar=ACTIONS_DSN_VARIABLE, show_envvar=False,
            help=f"Where changes are made, by another role; else {ACTIONS_DSN_VARIABLE}, or --dsn.",
        ),
    ] = None,
    root_path: Annotated[
        str,
        typer.Option(metavar="PATH", help="The prefix that a proxy takes away, such as /jobs."),
    ] = "",
    schema: Annotated[
        str | None,
        typer.Option(metavar="S", help="The schema in which pgjobs is installed; else public."),
    ] = None,
) -> None:
    """Serves the console, for a browser.

    On this machine alone it prints an address that opens once, in one browser. On any other address
    it wants a token, in a file or in the environment.

    [bold]pgjobs web[/bold]

    [bold]pgjobs web --host 0.0.0.0 --token-file /run/secrets/pgjobs-web[/bold]
    """
    try:
        from pgjobs.web import console
        from pgjobs.web.login import Login
        from pgjobs.web.serving import server_of
    except ImportError as error:
        raise PgjobsError(
            f"the console is an extra: pip install 'pgjobs-queue[web]' ({error})"
        ) from error
    app = App() if target is None else load(target)
    app.connect_to(dsn, schema)
    token = _token(token_file)
    if access is not None and token is not None:
        raise typer.BadParameter(
            f"give --access, or a token by --token-file or {TOKEN_VARIABLE}, but not both"
        )
    who_may: WhoMay = Login(token) if access is None else _function(access)
    # What is wrong is told at once, and not to the first browser.
    for address in (app.dsn, actions_dsn):
        if address is not None:
            ask(address, app.schema, Database.version)
    sockets = _listening(host, port, is_guarded=access is not None or token is not None)
    log_to_stderr("info", "text")
    once = f"?token={who_may.once}" if isinstance(who_may, Login) and who_may.once else ""
    for bound in sockets:
        print_lines(f"open http://{shown(bound)}/{once}" + (" (it opens once)" if once else ""))
    asgi = console(app, access=who_may, actions_dsn=actions_dsn)
    server_of(asgi, root_path=_prefix(root_path)).run(sockets)


def _listening(host: str, port: int, *, is_guarded: bool) -> list[socket.socket]:
    """Listens; without a token or a function, only where no other machine reaches."""
    sockets = listening("--host", Address(host, port))
    if not is_guarded and not all(map(_is_loopback, sockets)):
        for bound in sockets:
            bound.close()
        raise typer.BadParameter(
            f"{host or 'all addresses'} can be reached from other machines: give a token by"
            f" --token-file or {TOKEN_VARIABLE}, or --access"
        )
    return sockets


def _prefix(path: str) -> str:
    stripped = path.strip("/")
    return f"/{stripped}" if stripped else ""


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text().partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--token-file {file} cannot be read: {error}") from error
    if not token:
        raise typer.BadParameter(f"--token-file {file} is empty: write a token into its first line")
    return token


def _function(target: str) -> Any:
    """The function that ``--access MODULE:FUNCTION`` names."""
    module_name, _, name = target.partition(":")
    if not (module_name and name):
        raise typer.BadParameter(
            f"--access: {target!r} is not MODULE:FUNCTION: write it like myproject.web:who_may"
        )
    found = getattr(imported(module_name), name, None)
    if not callable(found):
        raise PgjobsError(f"--access: {module_name} has no function {name}")
    return found


def _is_loopback(bound: socket.socket) -> bool:
    return ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback
