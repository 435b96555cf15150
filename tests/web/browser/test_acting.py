"""What somebody does on the pages: by mouse, by keyboard, without JavaScript, with hostile rows."""

import asyncpg
import pytest
from playwright.async_api import Page, expect
from web.browser.conftest import Open
from web.browser.test_look import ADDRESSES
from web.scene import HOSTILE, Scene, furnish

Connection = asyncpg.Connection


@pytest.fixture
def scene(conn: Connection) -> Scene:
    return Scene(conn)


async def status_of(conn: Connection, job_id: int) -> str:
    status: str = await conn.fetchval("select status from jobs where id = $1", job_id)
    return status


async def focused(page: Page) -> str:
    """The element that has the focus, in a word or two."""
    told: str = await page.evaluate(
        "() => { const each = document.activeElement;"
        " return each.id || each.name || each.textContent.trim() || each.tagName }"
    )
    return told


async def test_somebody_goes_from_the_overview_to_a_failed_job_and_back(
    scene: Scene, open_page: Open
) -> None:
    job_id = await scene.failed()
    page = await open_page("/")
    await page.get_by_role("link", name="failed 1").click()
    await expect(page).to_have_url(f"{page.url.partition('/jobs')[0]}/jobs?status=failed")
    await page.get_by_role("link", name=str(job_id), exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Job {job_id} ✕ failed")
    await page.get_by_role("navigation", name="Pages").get_by_role("link", name="Overview").click()
    await expect(page.get_by_role("link", name="Overview")).to_have_attribute(
        "aria-current", "page"
    )


@pytest.mark.parametrize("has_script", [True, False])
async def test_a_failed_job_is_retried(
    conn: Connection, scene: Scene, open_page: Open, has_script: bool
) -> None:
    job_id = await scene.failed()
    page = await open_page(f"/jobs/{job_id}", java_script_enabled=has_script)
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("pending")
    assert await status_of(conn, job_id) == "pending"
    assert await conn.fetchval("select actor from jobs_audit where job_id = $1", job_id) == "anna"


async def test_a_job_is_cancelled_by_the_keyboard_alone(
    conn: Connection, scene: Scene, open_page: Open
) -> None:
    job_id = await scene.add()
    page = await open_page("/")
    await page.keyboard.press("/")
    assert await focused(page) == "q"
    await page.keyboard.type("order 4711")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    await page.goto(f"/jobs/{job_id}")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")  # the link that skips the navigation
    while await focused(page) != "reason":
        await page.keyboard.press("Tab")
    await page.keyboard.type("wrong address")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
    await expect(page.locator(".sentence")).to_contain_text("wrong address")
    assert await status_of(conn, job_id) == "cancelled"


async def test_the_skip_link_is_first_and_the_focus_goes_in_the_order_of_the_page(
    conn: Connection, open_page: Open
) -> None:
    ids = await furnish(conn)
    page = await open_page(f"/jobs/{ids['failed']}")
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    last_y, last_x = -1.0, -1.0
    for _ in range(40):
        place = await page.evaluate(
            """() => {
                const each = document.activeElement, style = getComputedStyle(each);
                const { x, y, height } = each.getBoundingClientRect();
                return each === document.body ? null : {
                    x, y: y + scrollY, height, tag: each.outerHTML.slice(0, 90),
                    outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
                };
            }"""
        )
        if place is None:
            break
        assert place["outline"], f"the focus is not seen on {place['tag']}"
        is_below = place["y"] + place["height"] > last_y
        assert is_below or place["x"] > last_x, f"the focus goes back to {place['tag']}"
        last_y, last_x = place["y"], place["x"]
        await page.keyboard.press("Tab")
    await page.goto(f"/jobs/{ids['failed']}")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    assert await focused(page) == "main"


async def test_an_action_on_a_job_that_has_changed_meanwhile_says_what_is_the_case(
    conn: Connection, scene: Scene, open_page: Open
) -> None:
    job_id = await scene.failed()
    stale = await open_page(f"/jobs/{job_id}")
    await stale.get_by_label("Refresh").select_option("off")
    await conn.execute("select jobs_retry($1)", job_id)
    await stale.get_by_role("button", name="Retry").click()
    await expect(stale.get_by_role("heading", level=1)).to_have_text("Not done")
    await expect(stale.get_by_role("alert")).to_contain_text(f"job {job_id} is pending")
    await stale.go_back()
    await conn.execute("select jobs_cancel($1)", job_id)
    await conn.execute("delete from jobs where id = $1", job_id)
    await stale.get_by_role("button").first.click()
    await expect(stale.get_by_role("alert")).to_contain_text(f"{job_id}")
    assert await conn.fetchval("select count(*) from jobs") == 0


@pytest.mark.parametrize("has_script", [True, False])
async def test_all_failed_jobs_of_a_type_are_retried_step_by_step(
    conn: Connection, scene: Scene, open_page: Open, monkeypatch: pytest.MonkeyPatch,
    has_script: bool,
) -> None:
    monkeypatch.setattr("pgjobs.web.pages.many.STEP_JOBS", 2)
    for _ in range(5):
        await scene.failed()
    page = await open_page(
        "/jobs?status=failed&type=send_mail", java_script_enabled=has_script
    )
    await page.locator("form", has_text="Everything that matches").get_by_role(
        "button", name="Retry"
    ).click()
    await expect(page.locator(".sentence")).to_have_text("5 jobs.")
    await page.get_by_role("button", name="Retry 5 jobs").click()
    if not has_script:  # then each step waits for somebody
        await expect(page.get_by_role("status").last).to_contain_text("3 left")
        for _ in range(2):
            await page.get_by_role("button", name="Continue").click()
    await expect(page.locator(".sentence")).to_contain_text("Done: 5 jobs")
    assert await conn.fetchval("select count(*) from jobs where status = 'pending'") == 5


async def test_ticked_jobs_are_cancelled_by_the_keyboard_and_the_others_left(
    conn: Connection, scene: Scene, open_page: Open
) -> None:
    ids = [await scene.add() for _ in range(3)]
    page = await open_page("/jobs")
    for job_id in ids[:2]:
        await page.get_by_label(f"Tick job {job_id}").press("Space")
    await page.locator("form", has_text="Ticked jobs").get_by_role(
        "button", name="Cancel"
    ).press("Enter")
    await expect(page.locator(".sentence")).to_contain_text("2 jobs")
    word = page.get_by_label("This cannot be undone")
    await word.fill("cancel")
    await word.press("Enter")
    await expect(page.locator(".sentence").first).to_contain_text("Done: 2 jobs")
    assert [await status_of(conn, job_id) for job_id in ids] == [
        "cancelled", "cancelled", "pending"
    ]


async def test_hostile_rows_run_no_script_and_ask_no_other_host(
    conn: Connection, scene: Scene, open_page: Open
) -> None:
    hostile = [*HOSTILE, "<img src=http://evil.example/x onerror=alert(1)>",
               "</script><script>alert(1)</script>", "<details open ontoggle=alert(1)>"]
    ids = {}
    for name in hostile:
        text = name.replace("\\", "").replace('"', "'")
        ids["failed"] = ids["running"] = ids["retrying"] = await scene.failed(
            error=f"{name}\n{name}", job_type=name, queue=name, reference_type=name,
            reference_key=name, payload=f'{{"a": "{text}"}}',
        )
        await scene.add(name, queue=name, group_key=name)
        await conn.execute("select jobs_pause($1, reason => $1)", name)
        await conn.execute("select jobs_schedule($1, $1, every => '1 h', queue => $1)", name)
    ids["blocked"] = await conn.fetchval(
        "select id from jobs_enqueue($1, depends_on => array[$2::bigint])",
        hostile[0], await scene.add(hostile[0]),
    )
    page = await open_page()
    dialogs: list[str] = []

    async def dismiss(dialog: object) -> None:
        dialogs.append(str(dialog))
        await dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", dismiss)
    for address in ADDRESSES:
        await page.goto(address.format(**ids))
        assert await page.locator("main").locator("script, img, [onerror], [style]").count() == 0
    await page.goto("/jobs")
    for name in ("<script>alert(1)</script>", ".."):
        await page.get_by_role("link", name=name, exact=True).first.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
        await page.go_back()
    assert dialogs == []


async def test_a_text_is_copied_also_without_a_clipboard(
    scene: Scene, open_page: Open
) -> None:
    job_id = await scene.failed()
    button = (
        "document.querySelector('main').insertAdjacentHTML('beforeend',"
        " '<button data-copy=\".sentence\">Copy</button><textarea id=into></textarea>')"
    )
    for has_clipboard in (True, False):

        async def before(page: Page, has_clipboard: bool = has_clipboard) -> None:
            if not has_clipboard:
                await page.add_init_script(
                    "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
                )

        page = await open_page(
            f"/jobs/{job_id}", before=before, permissions=["clipboard-write"]
        )
        await page.evaluate(button)
        await page.get_by_role("button", name="Copy", exact=True).click()
        await expect(page.get_by_role("button", name="Copied")).to_be_focused()
        await page.locator("#into").focus()
        await page.keyboard.press("Control+v")
        await expect(page.locator("#into")).to_have_value(
            await page.locator(".sentence").inner_text()
        )
        assert await page.locator("textarea").count() == 1
    await page.evaluate(button.replace(".sentence", ".facts a").replace("Copy", "Copy the link"))
    await page.get_by_role("button", name="Copy the link").click()
    await page.locator("#into").first.fill("")
    await page.locator("#into").first.press("Control+v")
    await expect(page.locator("#into").first).to_have_value(
        f"{page.url.partition('/jobs')[0]}/queue?name=default"
    )
