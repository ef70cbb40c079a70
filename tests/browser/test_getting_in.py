"""Registering, logging in and out, and staying in."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.async_api import expect

from tests.browser.people import PASSWORD, NewPerson
from tests.browser.tabs import Tabs, accessible
from tests.browser.wire import UNAUTHENTICATED, refuse

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_one_registers_and_is_in_after_a_reload(tabs: Tabs) -> None:
    page = await tabs.open("/")
    await page.get_by_role("link", name="Register").click()
    await accessible(page)
    await page.get_by_label("Name").fill("Grace")
    await page.get_by_label("E-mail").fill("grace-registers@example.com")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Register").click()

    await expect(page.get_by_role("link", name="Write", exact=True)).to_be_visible()
    await expect(page).to_have_url(re.compile("[0-9]/$"))

    await page.reload()
    await expect(page.get_by_role("link", name="Write", exact=True)).to_be_visible()


async def test_a_wrong_password_is_told_and_what_was_typed_stays(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/log-in?then=/account")
    await accessible(page)
    await page.get_by_label("E-mail").fill(ada.email)
    await page.get_by_label("Password", exact=True).fill("not the password")
    await page.locator("#main").get_by_role("button", name="Log in", exact=True).click()

    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_role("alert")).not_to_contain_text("Request")  # one's own mistake: nothing for an operator
    await expect(page.get_by_label("E-mail")).to_have_value(ada.email)

    await page.reload()
    await expect(page.get_by_label("E-mail")).to_have_value(ada.email)
    await expect(page.get_by_label("Password", exact=True)).to_have_value("")
    await page.get_by_label("Password", exact=True).fill(ada.password)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/account$"))


async def test_where_an_address_must_be_proved_first_registering_says_where_to_look(tabs: Tabs) -> None:
    page = await tabs.open("/register")
    # A mesh with PROMPTMESH_EMAIL_VERIFICATION=required takes the registration, and refuses the log-in until then.
    await page.route("**/CreateSession", lambda route: refuse(route, UNAUTHENTICATED, "LOGIN_FAILED", "It is wrong."))
    await page.get_by_label("Name").fill("Ada")
    await page.get_by_label("E-mail").fill(f"proving-{uuid.uuid4().hex[:8]}@example.com")
    await page.get_by_label("Password", exact=True).fill("a long enough password")
    await page.locator("#main").get_by_role("button", name="Register").click()
    await expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    await expect(page.get_by_text("enter the password that you chose")).to_be_visible()
    await accessible(page)


async def test_fields_that_the_server_refuses_say_so_beside_them(tabs: Tabs) -> None:
    page = await tabs.open("/register")
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_label("Name")).to_be_focused()
    await expect(page.get_by_text("Use at least 10 characters.")).to_be_visible()

    await page.get_by_label("Name").fill("Eve\u202egnp")
    await page.get_by_label("E-mail").fill("eve@example")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_text("turn the direction of text")).to_be_visible()


async def test_logging_out_in_one_tab_holds_in_all(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    first = await tabs.open("/", person=ada)
    second = await tabs.open("/keys")
    await expect(second.get_by_role("link", name="Write", exact=True)).to_be_visible()

    await first.get_by_role("button", name="Account of Ada").click()
    await first.get_by_role("button", name="Log out").click()

    await expect(first.get_by_role("link", name="Register")).to_be_visible()
    await expect(second.get_by_role("heading", name="Log in first")).to_be_visible()


async def test_a_link_cannot_send_one_elsewhere_after_logging_in(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    for then in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        page = await tabs.open(f"/log-in?then={then}")
        await page.get_by_label("E-mail").fill(ada.email)
        await page.get_by_label("Password", exact=True).fill(ada.password)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Feed")).to_be_visible()
        await page.close()
        await tabs.context.clear_cookies()
