"""The console as an ASGI application: routes, access, and what each answer carries."""

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from inspect import isawaitable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from pgjobs.app import App
from pgjobs.database.acting import acting
from pgjobs.job.job import Row
from pgjobs.web import words
from pgjobs.web.access import Access, Rights, WhoMay, rights
from pgjobs.web.forms import form_of
from pgjobs.web.links import Links
from pgjobs.web.lookups import Lookups
from pgjobs.web.options import Options
from pgjobs.web.page import (
    Action,
    Asked,
    GivenBack,
    Page,
    Refused,
    Sent,
    refuse_unless_allowed,
)
from pgjobs.web.refusals import REFUSALS, refusal_of
from pgjobs.web.routing import ACTIONS, PAGES
from pgjobs.web.safety import SAFE_HEADERS, is_from_own_pages

log = logging.getLogger("pgjobs.web")

ANSWERED_WITHIN_S = 2.5
RIGHTS_FRESH_FOR_S = 30.0
_HERE = Path(__file__).parent
_STATIC_FILES = {path.name: path for path in (_HERE / "static").iterdir()}
# Browsers run no script of another type, and what Python tells depends on the machine.
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}


class Console:
    """Answers requests for the pages of one app's database."""

    def __init__(
        self, app: App[Any], access: WhoMay, actions_dsn: Callable[[], str] | None,
        options: Options,
    ) -> None:
        self._access = access
        self._options = options

        def schema() -> str:
            return app.schema

        self._reading = Lookups(lambda: app.dsn, schema)
        self._acting = self._reading if actions_dsn is None else Lookups(actions_dsn, schema)
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True,
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        )
        self._templates.filters |= {
            "duration": words.duration, "moment": words.moment, "name": words.printable,
            "parted": words.parted, "with_jobs": words.with_jobs, "size": words.size,
        }
        self._routes: list[tuple[Route, Page | Action | None]] = [
            (Route("/static/{file}", _no_endpoint, methods=["GET"]), None),
            *((Route(page.path, _no_endpoint, methods=["GET"]), page) for page in PAGES),
            *((Route(action.path, _no_endpoint, methods=["POST"]), action) for action in ACTIONS),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; without access nothing is given but the style sheet."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the console answers http, not {scope['type']}")

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SAFE_HEADERS)
            await send(message)

        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except Refused as refused:
            answer = self._refusal(request, refused)
        except Exception:
            log.exception("the console failed to answer")
            answer = self._refusal(request, Refused(
                HTTPStatus.INTERNAL_SERVER_ERROR, "the console failed: its log says why"
            ))
        await answer(scope, receive, send_safely)

    async def _answer(self, request: Request) -> Response:
        found, path = self._found(request.scope)
        if found is None:
            return _static_file(path["file"])
        if request.method not in ("GET", "HEAD") and not is_from_own_pages(request.headers):
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "the form was not sent by a page of this console: open the page anew, and send it"
                " from there",
            )
        access = await self._access_of(request)
        if isinstance(access, Response):
            return access
        if isinstance(found, Refused):
            raise found
        # From here on, since a login may take longer.
        until = asyncio.get_running_loop().time() + ANSWERED_WITHIN_S
        allowed = await self._rights(access, until)
        links = Links.below(request.scope.get("root_path", ""))
        query = parse_qs(request.url.query, keep_blank_values=True)
        asked = Asked(
            query, path, allowed, links, self._reading, until, self._options,
            is_led_here=is_from_own_pages(request.headers, "referer"),
        )
        if isinstance(found, Action):
            return await self._act(found, request, asked)
        view = await found.view(asked)
        return view if isinstance(view, Response) else self._shown(request, found, asked, view)

    async def _access_of(self, request: Request) -> Access | Response:
        """What the program says of who has sent the request."""
        access = self._access(request)
        if isawaitable(access):
            access = await access
        if access is None:
            raise Refused(HTTPStatus.FORBIDDEN, "you may not look at this console")
        if not isinstance(access, Access | Response):
            raise TypeError(
                f"access must return an Access, a Response or None, not {access!r:.100}"
            )
        return access

    def _found(self, scope: Scope) -> tuple[Page | Action | Refused | None, Mapping[str, str]]:
        """What an address stands for, None for a file; and what the address names."""
        is_known = False
        if scope["path"] == scope.get("root_path", ""):  # a mount without its last slash
            scope = {**scope, "path": f"{scope['path']}/"}
        for route, found in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return found, child["path_params"]
            is_known |= match is Match.PARTIAL
        if is_known:
            return Refused(HTTPStatus.METHOD_NOT_ALLOWED, "this address has no such method"), {}
        return Refused(HTTPStatus.NOT_FOUND, "there is no such page"), {}

    async def _rights(self, access: Access, until: float) -> Rights:
        async def of_role(lookups: Lookups) -> Row | None:
            seen = await lookups.look(
                "rights", lambda database: database.rights(), until, fresh_for_s=RIGHTS_FRESH_FOR_S
            )
            return seen.value

        reading, acts = await asyncio.gather(of_role(self._reading), of_role(self._acting))
        return rights(access, reading, acts)

    async def _act(self, action: Action, request: Request, asked: Asked) -> Response:
        allowed = asked.rights
        refuse_unless_allowed(allowed, action.name)
        sent = Sent(asked.path, await form_of(request, action.max_form_bytes), allowed)
        try:
            with acting(allowed.user):
                then = await self._acting.change(lambda database: action.call(database, sent))
        except GivenBack as refused:
            return await self._given_back(request, action, asked, sent, refused)
        except REFUSALS as error:
            raise refusal_of(error, shows_payloads=allowed.payloads) from error
        if self._acting is not self._reading:
            await self._reading.changed()
        return RedirectResponse(asked.links.to(then.path, **then.query), HTTPStatus.SEE_OTHER)

    async def _given_back(
        self, request: Request, action: Action, asked: Asked, sent: Sent, refused: GivenBack
    ) -> Response:
        """The page with the form that was sent, what was typed into it, and what is wrong."""
        if _wants_json(request):
            raise refused
        (page,) = (page for page in PAGES if page.path == action.path)
        asked = dataclasses.replace(
            asked, given_back=sent.fields, problem=refused.message,
            until=asyncio.get_running_loop().time() + ANSWERED_WITHIN_S,
        )
        return self._shown(request, page, asked, await page.view(asked), refused.status)

    def _shown(
        self, request: Request, page: Page, asked: Asked, view: Any, status: int = HTTPStatus.OK
    ) -> Response:
        if _wants_json(request):
            return _json({
                "page": dataclasses.asdict(view), "troubles": list(asked.troubles),
                "stale_s": asked.stale_s,
            })
        assert page.template is not None  # else its view is a Response
        return HTMLResponse(self._templates.get_template(page.template).render(
            view=view, page=page, pages=PAGES, link=asked.links.to, rights=asked.rights,
            troubles=list(asked.troubles), stale_s=asked.stale_s,
        ), status)

    def _refusal(self, request: Request, refused: Refused) -> Response:
        if _wants_json(request):
            return _json({"error": refused.message}, refused.status)
        links = Links.below(request.scope.get("root_path", ""))
        return HTMLResponse(
            self._templates.get_template("refusal.html").render(
                message=refused.message, link=links.to, page=None, pages=[], rights=None,
                troubles=[], stale_s=0.0,
            ),
            refused.status,
        )

    async def _live(self, receive: Receive, send: Send) -> None:
        """Lives as long as its server, where it is served alone."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._reading.close()
        await self._acting.close()
        await send({"type": "lifespan.shutdown.complete"})


def _no_endpoint() -> None:
    """Stands for what a route would call: the console itself answers."""


def _static_file(name: str) -> Response:
    if name not in _STATIC_FILES:
        raise Refused(HTTPStatus.NOT_FOUND, "there is no such file")
    path = _STATIC_FILES[name]
    return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix])


def _wants_json(request: Request) -> bool:
    wanted = request.headers.get("accept", "")
    return "application/json" in wanted and "text/html" not in wanted


def _json(data: Any, status: int = HTTPStatus.OK) -> Response:
    text = json.dumps(data, default=_as_json, ensure_ascii=True)
    return Response(text, status, media_type="application/json")


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"a view holds a {type(value).__name__}, which JSON has not")
