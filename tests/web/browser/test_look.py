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
ADDRESSES = [page.path.replace("{job_id}", "{failed}") for page in PAGES] + [
    "/jobs?status=failed", "/jobs?q=order+4711", "/jobs?q=absent", "/jobs/{blocked}",
    "/jobs/{running}", "/jobs/{retrying}", "/nothing",
]
Connection = asyncpg.Connection


@pytest.fixture
async def ids(conn: Connection) -> dict[str, int]:
    return await furnish(conn)


async def findings(page: Page) -> list[str]:
    """What axe-core finds wrong, if it is serious."""
    await page.evaluate(AXE)
    found: dict[str, Any] = await page.evaluate("axe.run()")
    return [
        f"{each['id']}: {node['html']} {json.dumps(node['any'])[:300]}"
        for each in found["violations"] if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_has_no_serious_finding_of_axe_in_light_and_dark(
    ids: dict[str, int], open_page: Open, address: str
) -> None:
    page = await open_page(address.format(**ids))
    for details in await page.locator("main details").all():
        await details.evaluate("each => { each.open = true }")
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert await findings(page) == []
