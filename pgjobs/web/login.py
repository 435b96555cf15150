"""Who may look at a console that is served alone: whoever knows its token."""

import hashlib
import hmac
import secrets
from html import escape
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from pgjobs.errors import InvalidArgument
from pgjobs.web.access import Access
from pgjobs.web.forms import form_of
from pgjobs.web.links import Links

MIN_TOKEN_CHARS = 16
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>pgjobs</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="{style}"><link rel="icon" href="data:,"></head>
<body><main><h1>pgjobs</h1>{body}</main></body></html>
"""
_FORM = """<form method="post"><label>Token
<input name="token" type="password" autocomplete="current-password" required autofocus></label>
<button>Enter</button></form>"""


class Login:
    """Lets in whoever brings the token: in a form, or as ``Authorization: Bearer``.

    Without a token, there is an address that lets in one browser, the first one (``once``). A
    browser then has a cookie that other sites' pages do not send, and that ends with the token.
    """

    def __init__(self, token: str | None) -> None:
        if token is not None and (len(token) < MIN_TOKEN_CHARS or not token.isascii()):
            raise InvalidArgument(
                f"the token must have {MIN_TOKEN_CHARS} characters of ASCII or more: make one by"
                " `openssl rand -hex 16`"
            )
        self._token = token
        self.once = secrets.token_urlsafe(24) if token is None else None
        secret = hmac.digest((token or secrets.token_hex(32)).encode(), b"pgjobs web", "sha256")
        self._cookie = secret.hex()
        # Consoles on other ports of the same host would share the cookie of one name.
        self._cookie_name = f"pgjobs_web_{hashlib.sha256(secret).hexdigest()[:8]}"

    async def __call__(self, request: Request) -> Access | Response:
        """Answers the console's question who may do what."""
        cookie = request.cookies.get(self._cookie_name)
        if _are_same(cookie, self._cookie) or self._is_bearer(request):
            return Access("pgjobs web", "admin", payloads=True)
        if self._token is None:
            is_once = _are_same(request.query_params.get("token"), self.once)
            if is_once and request.method == "GET":
                self.once = None
                return self._entered(request)
        elif request.method == "POST":
            form = await form_of(request)
            if _are_same(form.get("token", [""])[-1], self._token):
                return self._entered(request)
        return self._refused(request)

    def _is_bearer(self, request: Request) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and _are_same(token.strip(), self._token)

    def _entered(self, request: Request) -> Response:
        """Sends the browser to the same page, with the cookie and without the token."""
        parts = parse_qsl(request.url.query, keep_blank_values=True)
        query = urlencode([(name, value) for name, value in parts if name != "token"])
        # Two slashes at the start would name another host.
        path = "/" + quote(request.scope["path"].lstrip("/\\"))
        answer = RedirectResponse(path + (f"?{query}" if query else ""), HTTPStatus.SEE_OTHER)
        answer.set_cookie(
            self._cookie_name, self._cookie, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
            # Other programs behind the same proxy do not get it.
            path=Links.below(request.scope.get("root_path", "")).prefix or "/",
        )
        return answer

    def _refused(self, request: Request) -> Response:
        told = (
            "open the address that pgjobs web printed; it opens once, in one browser"
            if self._token is None else "bring the token of this console"
        )
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"error": told}, HTTPStatus.UNAUTHORIZED)
        body = f"<p>{escape(told.capitalize())}.</p>" + ("" if self._token is None else _FORM)
        style = Links.below(request.scope.get("root_path", "")).to("/static/console.css")
        return HTMLResponse(
            _PAGE.format(style=escape(style), body=body), HTTPStatus.UNAUTHORIZED
        )


def _are_same(given: str | None, secret: str | None) -> bool:
    """Compares in a time that tells nothing of the secret."""
    if given is None or secret is None:
        return False
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())
