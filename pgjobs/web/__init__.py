"""The console: what is wrong, what became of a job, and why a job does not run, in a browser.

    api.mount("/jobs", console(app, access=who_may))

The program says by ``access`` who may do what. No one may do more than the database's role may.
"""

from collections.abc import Mapping
from typing import Any

try:
    import jinja2 as _jinja2  # noqa: F401
    from starlette.types import ASGIApp
except ImportError as error:
    raise ImportError(
        "pgjobs.web needs Starlette and Jinja2: pip install 'pgjobs-queue[web]'"
    ) from error

from pgjobs.app import App
from pgjobs.connection.dsn import resolve
from pgjobs.errors import InvalidArgument
from pgjobs.web.access import Access, WhoMay
from pgjobs.web.console import Console
from pgjobs.web.options import Options, Redact

__all__ = ["Access", "console"]


def console(
    app: App[Any],
    *,
    access: WhoMay,
    actions_dsn: str | None = None,
    links: Mapping[str, str] | None = None,
    redact: Redact | None = None,
) -> ASGIApp:
    """Makes the console of an app's database, to be mounted or served alone.

    ``access``: ``def who_may(request) -> Access | Response | None``, async or not, is asked for
    each request. A Response is sent as it is, for example a redirect to a login. None refuses.
    ``actions_dsn``: the address at which another role makes the changes; else ``app.dsn``.
    ``links``: ``{"order": "https://shop.example/orders/{id}"}`` shows on the page of a job about an
    order a link to that address.
    ``redact``: ``def redact(job_type: str, name: str, text: str) -> str`` returns what is shown of
    a payload, result, error, progress or headers.
    """
    if not isinstance(app, App):
        raise InvalidArgument(f"console takes an app, not {app!r:.100}")
    if not callable(access):
        raise InvalidArgument(
            f"access must be a function of the request that returns an Access, not {access!r:.100}"
        )
    return Console(
        app, access, None if actions_dsn is None else lambda: resolve(actions_dsn),
        Options({} if links is None else links, redact),
    )
