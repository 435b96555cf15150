"""Writes docs/images/console-*.png: the console of a shop in a bad night, in Debian's Chromium."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import asyncpg
from PIL import Image
from playwright.async_api import Browser, async_playwright
from web.scene import furnish
from web.site import ARGUMENTS, CHROMIUM, Site

from pgjobs import App, RunningJob
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.schema import migrate
from pgjobs.web import Access

IMAGES = Path(__file__).parents[1] / "docs/images"
MAX_IMAGE_BYTES = 150_000
COLOURS = 256
WIDE = {"width": 1400, "height": 900}
NARROW = {"width": 400, "height": 800}


async def main() -> None:
    """Serves the console of a furnished database, and looks at it."""
    IMAGES.mkdir(exist_ok=True)
    with EmbeddedPostgres() as server:
        migrate.migrate(server.dsn)
        conn = await asyncpg.connect(server.dsn)
        ids = await furnish(conn)
        await conn.close()
        site = Site(server.dsn, Access("anna", "admin", payloads=True))
        await site.start()
        async with _worker(server.dsn), async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM, args=[*ARGUMENTS, "--hide-scrollbars"]
            )
            pages = {"overview": "/", "jobs": "/jobs", "job": f"/jobs/{ids['failed']}"}
            for name, path in pages.items():
                for kind, scheme, size in (
                    ("light", "light", WIDE), ("dark", "dark", WIDE), ("narrow", "light", NARROW),
                ):
                    await _look(
                        browser, f"{site.address}{path}", IMAGES / f"console-{name}-{kind}.png",
                        color_scheme=scheme, viewport=size,
                    )
            await browser.close()
        await site.stop()


@contextlib.asynccontextmanager
async def _worker(dsn: str) -> Any:
    """A worker that runs one job for as long as anybody looks."""
    app = App(dsn)

    @app.job("make_report", queue="reports")
    async def report(job: RunningJob[dict[str, Any]]) -> None:
        await asyncio.Event().wait()

    await report.enqueue({"month": "2026-10"})
    async with app:
        worker = app.worker(concurrency=4)
        running = asyncio.create_task(worker.run())
        yield
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _look(browser: Browser, address: str, image: Path, **options: Any) -> None:
    page = await browser.new_page(**options)
    await page.goto(address)
    await page.screenshot(path=image)
    await page.context.close()
    _make_small(image)


def _make_small(image: Path) -> None:
    with Image.open(image) as seen:
        seen.convert("RGB").quantize(COLOURS).save(image, optimize=True)
    size = image.stat().st_size
    if size > MAX_IMAGE_BYTES:
        raise SystemExit(f"{image} has {size:,} bytes, and may have {MAX_IMAGE_BYTES:,}")
    print(f"{image.relative_to(IMAGES.parents[1])}: {size:,} bytes")


if __name__ == "__main__":
    asyncio.run(main())
