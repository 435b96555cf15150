"""Each page, as it is seen: contrast, names and roles, 400 px, dark, grey, without JavaScript."""

import json
from importlib.resources import files
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Page
from web.browser.conftest import Open
from web.scene import furnish

from pgjobs.web.routing import PAGES

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
SERIOUS = ("serious", "critical")
# The pages, and what else looks like none of them. An id stands for the job of that kind.
NAMED = {"/jobs/many": "?action=retry&status=failed", "/queue": "?name=default",
         "/schedule": "?name=nightly"}
ADDRESSES = [
    page.path.replace("{job_id}", "{failed}") + NAMED.get(page.path, "")
    for page in PAGES if page.template
] + ["/jobs?q=absent", "/jobs/{blocked}", "/queue?name=imports", "/nothing"]
PAGE_NAMES = [page.name for page in PAGES if page.name]
NARROW = {"width": 400, "height": 800}
Connection = asyncpg.Connection

# What is wider than the window, and does not scroll within something that does.
TOO_WIDE = """() => [...document.querySelectorAll("body *")].filter(each => {
    const { right, width } = each.getBoundingClientRect();
    return width && right > innerWidth + 1 && !each.closest(".wide, pre, svg");
}).map(each => each.outerHTML.slice(0, 200))"""


@pytest.fixture
async def ids(conn: Connection) -> dict[str, int]:
    return await furnish(conn)


async def findings(page: Page, *rules: str) -> list[str]:
    """What axe-core finds wrong, by these rules or by all, if it is serious."""
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found: dict[str, Any] = await page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{each['id']}: {node['html']} {json.dumps(node['any'])[:300]}"
        for each in found["violations"] if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


async def open_details(page: Page) -> None:
    await page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")


async def test_axe_finds_nothing_serious_on_any_page_in_light_and_dark(
    ids: dict[str, int], open_page: Open
) -> None:
    page = await open_page()
    found = []
    for address in ADDRESSES:
        await page.emulate_media(color_scheme="light")
        await page.goto(address.format(**ids))
        await open_details(page)
        await page.evaluate(AXE)
        wrong = await findings(page)
        await page.emulate_media(color_scheme="dark")  # which changes the colours alone
        wrong += await findings(page, "color-contrast", "link-in-text-block")
        found += [f"{address}: {each}" for each in wrong]
    assert found == []


async def test_axe_finds_nothing_serious_in_the_dialog_and_the_notices(
    ids: dict[str, int], open_page: Open
) -> None:
    page = await open_page("/")
    await page.evaluate(AXE)
    await page.get_by_role("button", name="Keys").click()
    assert await findings(page) == []
    await page.evaluate("document.querySelector('#stale').textContent = 'No answer.'")
    await page.keyboard.press("Escape")
    assert await findings(page) == []


async def test_no_page_is_wider_than_400_px_and_nothing_is_outside(
    ids: dict[str, int], open_page: Open
) -> None:
    page = await open_page(viewport=NARROW)
    for address in ADDRESSES:
        await page.goto(address.format(**ids))
        await open_details(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400, address
        assert await page.evaluate(TOO_WIDE) == [], address


async def test_each_page_is_whole_without_javascript(
    ids: dict[str, int], open_page: Open
) -> None:
    page = await open_page(java_script_enabled=False)
    for address in ADDRESSES:
        await page.goto(address.format(**ids))
        assert await page.locator("h1").count() == 1, address
        for needy in await page.locator(".needs-script").all():
            assert await needy.is_hidden(), address
        assert "not read yet" not in await page.locator("main").inner_text(), address
        if address != "/nothing":
            assert await page.locator("header nav a").all_inner_texts() == PAGE_NAMES


async def test_each_status_is_told_by_a_word_and_a_shape_of_its_own(
    ids: dict[str, int], open_page: Open
) -> None:
    page = await open_page("/jobs", color_scheme="light")
    told = {
        tuple(text.split(maxsplit=1)) for text in await page.locator(".mark").all_inner_texts()
    }
    words = [word for _, word in told]
    assert {"pending", "processing", "completed", "failed", "cancelled", "blocked"} <= set(words)
    assert len({shape for shape, _ in told}) == len(set(words)) == len(told)
    # What a screen reader is told is the word alone.
    assert await page.locator(".mark > [aria-hidden=true]").count() == await page.locator(
        ".mark"
    ).count()


async def test_in_grey_the_parts_of_the_chart_differ_and_the_words_can_be_read(
    ids: dict[str, int], open_page: Open
) -> None:
    for scheme in ("light", "dark"):
        page = await open_page("/", color_scheme=scheme)
        greys: list[float] = await page.evaluate(
            """() => ["completed", "retried", "failed"].map(kind => {
                const [r, g, b] = getComputedStyle(document.querySelector(`rect.${kind}`)).fill
                    .match(/\\d+/g).map(Number);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            })"""
        )
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert abs(greys[one] - greys[other]) > 12, (scheme, greys)


async def test_dark_is_dark_and_light_is_light(ids: dict[str, int], open_page: Open) -> None:
    page = await open_page("/")
    grounds = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        grounds.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(21, 23, 26)"]
