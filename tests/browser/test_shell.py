"""What all pages share: keyboard, theme, small screens, sessions that end, addresses of nothing."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.async_api import Route, ViewportSize, expect

from tests.browser.people import NewPerson
from tests.browser.tabs import Tabs, accessible, answered

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE: ViewportSize = {"width": 360, "height": 740}


async def test_a_keyboard_reaches_the_content_and_a_new_page_is_announced(tabs: Tabs) -> None:
    page = await tabs.open("/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Feed")).to_be_focused()

    await page.get_by_role("link", name="Log in").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_focused()
    await expect(page).to_have_title("Log in · Promptmesh")
    await page.go_back()
    await expect(page.get_by_role("heading", name="Feed")).to_be_focused()
    await expect(page).to_have_title("Feed · Promptmesh")


async def test_menus_work_by_keyboard(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/", person=await new_person("Ada"))
    trigger = page.get_by_role("button", name="Account of Ada")
    await trigger.focus()
    await page.keyboard.press("Enter")
    await accessible(page)
    await expect(page.get_by_role("link", name="My posts")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("link", name="API keys")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(trigger).to_be_focused()
    await expect(page.get_by_role("link", name="API keys")).to_have_count(0)


async def test_a_chosen_theme_holds_from_the_first_paint_and_in_other_tabs(tabs: Tabs) -> None:
    page = await tabs.open("/")
    other = await tabs.open("/")
    await page.get_by_role("button", name="Theme").click()
    await page.get_by_role("button", name="Dark").click()

    for tab in (page, other):
        await expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
    await accessible(page)

    await page.route("**/assets/index-*.js", lambda route: route.abort())
    tabs.allow("ERR_FAILED")
    await page.reload(wait_until="domcontentloaded")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize("path", ["/", "/log-in", "/register", "/tag/none-here", "/nothing/here"])
async def test_pages_fit_a_phone(tabs: Tabs, path: str) -> None:
    tabs.allow("404")  # the last of them is not there
    page = await tabs.open(path)
    await page.set_viewport_size(PHONE)
    await accessible(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def test_the_menu_of_a_phone_has_everything(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/", person=await new_person("Ada"))
    await page.set_viewport_size(PHONE)
    await page.get_by_role("button", name="Menu and account of Ada").click()
    for name in ("Feed", "Playground", "My posts", "API keys", "Account"):
        await expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    await page.get_by_role("button", name="Theme: system").click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "light")


async def test_an_address_of_nothing_says_so_with_its_status(tabs: Tabs) -> None:
    tabs.allow("404")
    page = await tabs.open("/")
    answer = await page.goto("/no/such/page")
    assert answer is not None
    assert answer.status == 404
    await expect(page.get_by_role("heading", name="Not found")).to_be_visible()


async def test_a_page_whose_code_does_not_come_says_what_to_do(tabs: Tabs) -> None:
    tabs.allow("ERR_FAILED")
    page = await tabs.open("/")
    await page.route("**/assets/LogIn-*.js", lambda route: route.abort())
    await page.get_by_role("link", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("Its code did not arrive")
    await accessible(page)

    await page.unroute("**/assets/LogIn-*.js")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_label("E-mail")).to_be_visible()


async def test_who_may_not_see_a_page_is_told_why(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/moderation")
    await expect(page.get_by_role("heading", name="Log in first")).to_be_visible()
    await accessible(page)
    await page.goto("/log-in")

    page = await tabs.open("/moderation", person=await new_person("Ada"))
    await expect(page.get_by_role("heading", name="Not for your account")).to_be_visible()
    await accessible(page)


async def test_a_session_that_ends_is_renewed_over_the_page_and_the_call_repeated(
    tabs: Tabs, new_person: NewPerson
) -> None:
    ada, tag = await new_person("Ada"), f"t-{uuid.uuid4().hex[:12]}"
    await ada.publish("Likeable", tags=(tag,))
    page = await tabs.open(f"/tag/{tag}", person=ada)

    async def ended(route: Route) -> None:
        headers = {"content-type": "application/grpc-web+proto", "grpc-status": "16", "grpc-message": "It has ended."}
        await route.fulfill(status=200, headers=headers)

    for method in ("LikePost", "RefreshSession"):
        await page.route(f"**/{method}", ended)
    heart = page.get_by_role("button", name=re.compile("Like .Likeable."))
    await heart.click()
    dialog = page.get_by_role("dialog", name="Log in")
    await expect(dialog).to_contain_text("Your session has ended")
    await expect(dialog.get_by_label("E-mail")).to_have_value(ada.email)

    for method in ("LikePost", "RefreshSession"):
        await page.unroute(f"**/{method}")
    await dialog.get_by_label("Password", exact=True).fill(ada.password)
    await answered(page, "LikePost", dialog.get_by_role("button", name="Log in", exact=True))
    await expect(dialog).to_have_count(0)
    await expect(heart).to_have_attribute("aria-pressed", "true")
    await page.reload()
    await expect(heart).to_have_attribute("aria-pressed", "true")


async def test_neither_token_is_within_reach_of_a_script(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/", person=await new_person("Ada"))
    (cookie,) = await tabs.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    kept = await page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])")
    assert "eyJ" not in kept
    assert "pmr_" not in kept
