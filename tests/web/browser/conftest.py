"""A real Chromium before a real server; skipped where Debian's package chromium is absent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from web.conftest import ADMIN
from web.site import ARGUMENTS, CHROMIUM, Site

ENDS_WITHIN_MS = 15_000

expect.set_options(timeout=ENDS_WITHIN_MS)
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
