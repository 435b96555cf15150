"""A real Chromium before a real server; skipped where Debian's package chromium is absent."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from web.conftest import ADMIN

from pgjobs import App
from pgjobs.web import console

try:
    from playwright.async_api import Browser, BrowserContext, Page, async_playwright
except ImportError:
    pytest.skip("playwright is not installed: pip install playwright", allow_module_level=True)

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]
ENDS_WITHIN_MS = 5_000

Open = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for the tests of a file, which share an event loop, too."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


class _Uvicorn(uvicorn.Server):
    """A server that leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Site:
    """A console that can go away and come back, at the same address."""

    def __init__(self, dsn: str, access: Any) -> None:
        self.access = access  # an Access, or a function; may be changed meanwhile
        self._asgi = console(App(dsn), access=self._who_may)
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _who_may(self, request: Any) -> Any:
        return self.access(request) if callable(self.access) else self.access

    async def start(self) -> None:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self._port))
        self._port = bound.getsockname()[1]
        self._server = _Uvicorn(uvicorn.Config(
            self._asgi, log_config=None, access_log=False, timeout_graceful_shutdown=1
        ))
        bound.listen()  # a request waits until the server takes it
        self._task = asyncio.create_task(self._server.serve([bound]))

    async def stop(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._server = None

    async def forget(self) -> None:
        """Lets the pages ask the database again, as after two seconds."""
        await self._asgi._reading.changed()  # type: ignore[attr-defined]


@pytest.fixture
async def site(pgjobs_dsn: str) -> AsyncIterator[Site]:
    """The console of this test's database, for an admin."""
    made = Site(pgjobs_dsn, ADMIN)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def open_page(chromium: Browser, site: Site) -> AsyncIterator[Open]:
    """await open_page("/jobs", ...): a page in a new browser context with those options.

    Whatever the test does, no script fails, nothing is against the Content-Security-Policy, and
    nothing is asked of another host.
    """
    wrong: list[str] = []

    def watch(context: BrowserContext) -> None:
        context.on("request", lambda request: _note_stranger(request.url, site.address, wrong))
        context.on("weberror", lambda error: wrong.append(f"a script failed: {error.error}"))
        context.on("console", lambda line: _note_error(line.type, line.text, wrong))

    async with AsyncExitStack() as stack:

        async def opened(
            path: str = "/", before: Callable[[Page], Awaitable[Any]] | None = None, **options: Any
        ) -> Page:
            context = await chromium.new_context(
                base_url=site.address, **{"viewport": {"width": 1400, "height": 900}, **options}
            )
            stack.push_async_callback(context.close)
            context.set_default_timeout(ENDS_WITHIN_MS)
            watch(context)
            page = await context.new_page()
            if before is not None:
                await before(page)
            await page.goto(path)
            return page

        yield opened
    assert wrong == []


def _note_stranger(url: str, own: str, wrong: list[str]) -> None:
    if not url.startswith((own, "data:")):
        wrong.append(f"asked of another host: {url}")


def _note_error(kind: str, text: str, wrong: list[str]) -> None:
    # That a request has failed is what some tests are about.
    if kind == "error" and not text.startswith("Failed to load resource"):
        wrong.append(f"console: {text}")
