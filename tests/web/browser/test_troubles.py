"""Twelve troubles, as they are seen: all at once, and each with a way on."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from playwright.async_api import Locator, expect
from troubles.plant import ON_THE_OVERVIEW, Troubles, let_snapshots_age_at_once, planted
from web.browser.conftest import Open

JOBS = 1_000
WIDTH, HEIGHT = 1400, 900


@pytest.fixture
async def troubles(conn: asyncpg.Connection, pgjobs_dsn: str) -> AsyncIterator[Troubles]:
    await let_snapshots_age_at_once(conn)
    async with planted(pgjobs_dsn, JOBS) as all_planted:
        yield all_planted


async def test_the_verdicts_of_twelve_troubles_are_seen_without_scrolling_and_lead_further(
    open_page: Open, troubles: Troubles
) -> None:
    page = await open_page("/", viewport={"width": WIDTH, "height": HEIGHT})
    for check in ON_THE_OVERVIEW:
        verdict = page.locator(".verdicts li", has=page.get_by_text(check, exact=True))
        await expect(verdict).to_have_count(1)
        assert await _is_seen_whole(verdict), check
    for verdict in await page.locator(".verdicts li").all():
        assert await _is_seen_whole(verdict), await verdict.inner_text()
    held = next(held for held in troubles.held if held.trouble == "key held")
    await page.locator(".verdicts a", has_text=str(held.job_id)).click()
    await expect(page.locator("h1")).to_contain_text(f"Job {held.job_id}")
    await expect(page.get_by_role("heading", name="Why it cannot be retried")).to_be_visible()
    await page.go_back()
    await page.get_by_role("link", name="failing types").click()
    await expect(page.locator("h1")).to_have_text("Failures")


async def _is_seen_whole(verdict: Locator) -> bool:
    """Whether all of it lies within the window, and none of its text is cut off."""
    box = await verdict.bounding_box()
    assert box is not None
    is_within = (
        box["x"] >= 0 and box["y"] >= 0
        and box["x"] + box["width"] <= WIDTH and box["y"] + box["height"] <= HEIGHT
    )
    is_cut_off: bool = await verdict.evaluate(
        "e => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight"
    )
    return is_within and not is_cut_off
