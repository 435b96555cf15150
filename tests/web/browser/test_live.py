"""What the script does while a page is looked at: refreshing, times, keys, changes in steps."""

from collections.abc import Awaitable, Callable
from itertools import pairwise

import asyncpg
import pytest
from playwright.async_api import Page, Route, expect
from starlette.requests import Request
from starlette.responses import RedirectResponse
from web.browser.conftest import Open
from web.conftest import ADMIN, OBSERVER
from web.scene import Scene
from web.site import Site

from pgjobs.web.safety import SAFE_HEADERS

Connection = asyncpg.Connection
Refresh = Callable[[Page], Awaitable[None]]
PERIOD_MS = 5_000
SET_HIDDEN = """hidden => {
    Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""

# Where the focused field stands in the window, how far the page is scrolled, where the cursor is.
PLACE = """() => {
    const field = document.activeElement;
    return [field.getBoundingClientRect().y, scrollY, field.selectionStart];
}"""


@pytest.fixture
def scene(conn: Connection) -> Scene:
    return Scene(conn)


async def with_clock(page: Page) -> None:
    """The time of the page stands still but for what the test lets pass."""
    await page.clock.install()


async def until_asked(page: Page) -> float:
    """Lets time pass until the script asks for the page; returns the second of its clock."""
    async with page.expect_request(page.url) as asked:
        while not asked.is_done():
            await page.clock.run_for(1_000)
    await (await asked.value).response()
    second: float = await page.evaluate("Date.now() / 1000")
    return second


@pytest.fixture
def refresh(site: Site) -> Refresh:
    """await refresh(page): lets five seconds pass, and waits until the page was refreshed."""

    async def run(page: Page) -> None:
        await site.forget()
        async with page.expect_response(page.url) as answer:
            await page.clock.run_for(PERIOD_MS)
        await (await answer.value).finished()
        # The script goes on in the same turn of its event loop as whoever waits for the text.
        await page.evaluate("fetch('/static/console.css').then(r => r.text())")

    return run


async def test_a_status_is_refreshed_and_nothing_is_taken_from_who_works(
    conn: Connection, scene: Scene, open_page: Open, refresh: Refresh
) -> None:
    job_id = await scene.add(max_retries=3)
    await scene._fail(job_id, "ValueError: the first line\nthe second line")
    page = await open_page(f"/jobs/{job_id}", with_clock, viewport={"width": 1400, "height": 400})
    attempt = page.locator("[data-region=attempts] details")
    await attempt.locator("summary").click()
    reason = page.get_by_label("Reason")
    await reason.fill("wrong addr")
    await reason.press("ArrowLeft")
    await page.evaluate("scrollTo(0, 40)")
    before = await page.evaluate(PLACE)
    assert before[1:] == [40, 9]
    await scene.claimed(job_id)
    await refresh(page)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("processing")
    await expect(page.locator(".sentence")).to_contain_text("on shop-1")
    await expect(page.locator("[data-region=attempts] li")).to_have_count(2)
    assert await attempt.first.evaluate("each => each.open")
    await expect(reason).to_be_focused()
    await expect(reason).to_have_value("wrong addr")
    assert await page.evaluate(PLACE) == before


async def test_what_is_focused_selected_or_ticked_is_left_until_it_is_free(
    conn: Connection, scene: Scene, open_page: Open, refresh: Refresh
) -> None:
    await scene.add()
    page = await open_page("/jobs", with_clock)
    rows = page.locator("table.jobs tbody tr")
    await page.evaluate(
        "document.querySelector('[data-region=jobs]').insertAdjacentHTML('beforeend',"
        " '<input type=checkbox id=tick>')"
    )
    await page.locator("#tick").check()
    await page.evaluate("document.activeElement.blur()")
    await scene.add()
    await refresh(page)
    await expect(rows).to_have_count(1)
    await page.locator("#tick").uncheck()
    await page.evaluate(
        "document.activeElement.blur();"
        "getSelection().selectAllChildren(document.querySelector('table.jobs tbody tr'))"
    )
    await refresh(page)
    await expect(rows).to_have_count(1)
    assert "pending" in await page.evaluate("getSelection().toString()")
    # The tabs above are not held.
    await expect(page.locator(".tabs")).to_contain_text("all 2")
    await page.evaluate("getSelection().removeAllRanges()")
    await rows.first.get_by_role("link").first.focus()
    await refresh(page)
    await expect(rows).to_have_count(1)
    await expect(rows.first.get_by_role("link").first).to_be_focused()
    await page.evaluate("document.activeElement.blur()")
    # What the pointer is about to press does not become another button.
    await page.get_by_role("button", name="Cancel…").last.hover()
    await refresh(page)
    await expect(rows).to_have_count(1)
    await page.mouse.move(0, 0)
    await refresh(page)
    await expect(rows).to_have_count(2)


async def test_nothing_that_is_refreshed_is_read_aloud(scene: Scene, open_page: Open) -> None:
    job_id = await scene.failed()
    page = await open_page()
    for path in ("/", "/jobs", f"/jobs/{job_id}"):
        await page.goto(path)
        assert await page.locator("[data-region]").count() > 1
        loud = "[aria-live], [role=status], [role=alert], [role=log], output"
        for each in ("[data-region]", "[data-region] *"):
            assert await page.locator(each).and_(page.locator(loud)).count() == 0


async def test_how_often_is_kept_and_a_hidden_tab_asks_nothing(
    scene: Scene, open_page: Open
) -> None:
    page = await open_page("/", with_clock)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.evaluate(SET_HIDDEN, True)
    await page.clock.run_for(60_000)
    assert asked == []
    async with page.expect_response(page.url):  # at once, since it is old
        await page.evaluate(SET_HIDDEN, False)
        await page.clock.run_for(1)
    await page.get_by_label("Refresh").select_option("off")
    await page.reload()
    await expect(page.get_by_label("Refresh")).to_have_value("0")
    asked.clear()
    await page.clock.run_for(60_000)
    assert asked == []
    await page.get_by_label("Refresh").select_option("every 2 s")
    async with page.expect_response(page.url):
        await page.clock.run_for(2_000)


async def test_a_page_with_nothing_to_refresh_asks_nothing(
    scene: Scene, open_page: Open
) -> None:
    job_id = await scene.failed()
    page = await open_page("/jobs/many?action=retry&status=failed", with_clock)
    for path in (page.url, f"/jobs/{job_id}/copy", "/nothing"):
        await page.goto(path)
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        await page.clock.run_for(60_000)
        assert asked == []


async def test_a_server_that_goes_away_is_told_of_and_asked_ever_less_until_it_is_back(
    conn: Connection, scene: Scene, site: Site, open_page: Open
) -> None:
    await scene.add()
    page = await open_page("/jobs", with_clock)
    stale = page.locator("#stale")
    await expect(stale).to_be_empty()
    await site.stop()
    asked_at = [await until_asked(page) for _ in range(9)]
    waited = [after - before for before, after in pairwise(asked_at)]
    assert 9 < waited[0] < waited[1] < waited[2] < 60
    assert all(58 < each < 80 for each in waited[3:])
    await expect(stale).to_contain_text("The console gives no answer. What is shown is of ")
    told = await stale.inner_text()
    await scene.add()
    await site.start()
    assert await stale.inner_text() == told
    await until_asked(page)
    await expect(stale).to_be_empty()
    await expect(page.locator("table.jobs tbody tr")).to_have_count(2)
    began = await page.evaluate("Date.now()")
    assert (await until_asked(page)) - began / 1000 < 7


def to_login(request: Request) -> RedirectResponse:
    return RedirectResponse("/login", 303)


@pytest.mark.parametrize("access", [None, to_login], ids=["refused", "login"])
async def test_who_is_no_longer_let_in_is_told_so_and_asks_no_more(
    scene: Scene, site: Site, open_page: Open, access: object
) -> None:
    page = await open_page("/", with_clock)
    site.access = access
    async with page.expect_response(page.url):
        await page.clock.run_for(PERIOD_MS)
    await expect(page.locator("#stale")).to_contain_text("You are no longer let in")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.clock.run_for(600_000)
    assert asked == []


async def test_a_right_that_is_taken_away_takes_the_button_with_it(
    scene: Scene, site: Site, open_page: Open, refresh: Refresh
) -> None:
    job_id = await scene.failed()
    page = await open_page(f"/jobs/{job_id}", with_clock)
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()
    site.access = OBSERVER
    await refresh(page)
    await expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    site.access = ADMIN


async def test_a_deleted_job_ends_the_refresh(
    conn: Connection, scene: Scene, site: Site, open_page: Open
) -> None:
    job_id = await scene.failed()
    page = await open_page(f"/jobs/{job_id}", with_clock)
    await conn.execute("delete from jobs")
    await site.forget()
    await page.clock.run_for(PERIOD_MS)
    await expect(page.locator("#stale")).to_contain_text("This page is no longer there")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(f"Job {job_id}")


async def test_times_are_utc_local_or_relative(
    conn: Connection, scene: Scene, open_page: Open, refresh: Refresh
) -> None:
    job_id = await scene.failed()
    await conn.execute("update jobs set created_at = '2026-07-01 22:30:00+00'")
    page = await open_page(f"/jobs/{job_id}", timezone_id="Europe/Berlin")
    created = page.locator(".facts div", has_text="created").locator("time")
    sentence = page.locator(".sentence time")
    await expect(created).to_have_text("2026-07-01 22:30:00 UTC")
    utc = await sentence.inner_text()
    await page.get_by_label("Times").select_option("local")
    await expect(created).to_contain_text("2026-07-02 00:30:00")
    assert await sentence.inner_text() != utc
    await page.reload()
    await expect(created).to_contain_text("2026-07-02 00:30:00")
    await page.get_by_label("Times").select_option("relative")
    await expect(created).to_contain_text(" days ago")
    await expect(sentence).to_contain_text("ago")
    await page.get_by_label("Times").select_option("UTC")
    await expect(sentence).to_have_text(utc)


async def test_keys_lead_to_places_but_not_while_somebody_types(
    scene: Scene, open_page: Open
) -> None:
    page = await open_page("/")
    title = page.get_by_role("heading", level=1)
    dialog = page.get_by_role("dialog")
    await page.keyboard.press("?")
    await expect(dialog).to_be_visible()
    await expect(dialog).to_contain_text("g j: Jobs")
    await page.keyboard.press("/")  # not in the dialog
    await expect(dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    for key in ("Control+/", "Alt+/", "g", "x", "j"):
        await page.keyboard.press(key)
    await expect(title).to_have_text("Overview")
    await page.keyboard.press("/")
    await expect(page.locator("#q")).to_be_focused()
    await page.keyboard.type("g j/?")
    await expect(page.locator("#q")).to_have_value("g j/?")
    await expect(title).to_have_text("Overview")
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.type("gj")
    await expect(title).to_have_text("Jobs")
    await page.wait_for_load_state()
    await page.keyboard.press("?")
    await dialog.get_by_label("Single keys").select_option("off")
    await page.keyboard.press("Escape")
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.type("go")
    await expect(title).to_have_text("Jobs")


STEP = """<!doctype html><title>step</title><script type="module" src="/static/console.js"></script>
<body><header><nav></nav></header><p id="stale"></p><select id="refresh"><option value="5"></select>
<select id="times"><option value="utc"></select><select id="keys-are"><option value="on"></select>
<ul id="page-keys"></ul><h1>Step {step}</h1>
<form method="post" action="/step?{next}" {continues}><button>Continue</button></form>
<button data-stop>Stop</button>"""


async def test_a_change_in_steps_goes_on_by_itself_until_somebody_stops_it(
    site: Site, open_page: Open
) -> None:
    sent: list[str] = []

    async def answer(route: Route) -> None:
        step = int(route.request.url.partition("?")[2])
        if route.request.method == "POST":
            sent.append(route.request.url)
        continues = "data-continue" if 0 < step < 4 else ""
        page = STEP.format(step=step, next=step + 1, continues=continues)
        await route.fulfill(body=page, content_type="text/html", headers=SAFE_HEADERS)

    async def before(page: Page) -> None:
        await page.route("**/step?*", answer)

    page = await open_page("/step?0", before)
    title = page.get_by_role("heading", level=1)
    await page.get_by_role("button", name="Continue").click()
    await expect(title).to_have_text("Step 4")
    assert len(sent) == 4
    # A link from elsewhere, and a reload, begin nothing.
    await page.clock.install()
    for path in ("/step?2", "/step?2"):
        await page.goto(path)
        await page.clock.run_for(60_000)
        await expect(title).to_have_text("Step 2")
    assert len(sent) == 4
    await page.get_by_role("button", name="Continue").click()
    await expect(title).to_have_text("Step 3")
    await page.get_by_role("button", name="Stop").click()
    await page.clock.run_for(60_000)
    await expect(title).to_have_text("Step 3")
    assert len(sent) == 5
