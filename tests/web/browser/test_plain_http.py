"""The console by plain http from another machine: a browser then sends no Sec-Fetch-Site."""

from collections.abc import AsyncIterator

import pytest
from asyncpg import Connection
from playwright.async_api import Page, async_playwright
from web.browser.conftest import expect
from web.site import ARGUMENTS, CHROMIUM, Site

from pgjobs.web.login import Login

HOST = "console.test"
TOKEN = "a token of 16 characters or more"


@pytest.fixture
async def from_elsewhere(site: Site) -> AsyncIterator[Page]:
    """A page of a browser that reaches the console under a host's name, not as localhost."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, f"--host-resolver-rules=MAP {HOST} 127.0.0.1"],
        )
        yield await browser.new_page(base_url=site.address.replace("127.0.0.1", HOST))
        await browser.close()


async def test_a_token_lets_in_and_a_form_is_taken_by_plain_http(
    conn: Connection, site: Site, from_elsewhere: Page
) -> None:
    site.access = Login(TOKEN)
    job_id = await conn.fetchval("select id from jobs_enqueue('mail')")
    page = from_elsewhere
    await page.goto(f"/jobs/{job_id}")
    await page.get_by_label("Token").fill(TOKEN)
    await page.get_by_role("button", name="Enter").click()
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await expect(page.locator("h1")).to_contain_text("cancelled")
    assert await conn.fetchval("select status from jobs") == "cancelled"
