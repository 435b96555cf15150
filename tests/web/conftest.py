"""Browsers of a console over the database of the test."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from pgjobs import App
from pgjobs.web import Access, console

HTML = {"accept": "text/html"}
JSON = {"accept": "application/json"}
OWN_FORM = {"sec-fetch-site": "same-origin"}
ADMIN = Access("anna", "admin", payloads=True)
OBSERVER = Access("otto", "observe")

Browse = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def browse(pgjobs_dsn: str) -> AsyncIterator[Browse]:
    """await browse(access): a client of a console of its own for that access."""
    async with AsyncExitStack() as stack:

        async def opened(access: Any = ADMIN, dsn: str | None = None, **options: Any) -> Any:
            who_may = access if callable(access) else lambda _: access
            asgi = console(App(dsn or pgjobs_dsn), access=who_may, **options)
            stack.push_async_callback(asgi._reading.close)  # type: ignore[attr-defined]
            stack.push_async_callback(asgi._acting.close)  # type: ignore[attr-defined]
            return await stack.enter_async_context(httpx.AsyncClient(
                transport=httpx.ASGITransport(asgi), base_url="http://console", headers=HTML
            ))

        yield opened


def as_role(dsn: str, role: str) -> str:
    """The same database, entered by that role."""
    return re.sub(r"user=[^&]*", f"user={quote(role)}", dsn)
