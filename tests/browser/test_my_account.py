"""One's own account: name, password, devices, what is kept of one, and leaving."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Browser, expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson
from tests.browser.tabs import Tabs, accessible, log_in, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW_PASSWORD = "another quite long password"


async def test_name_and_password_are_changed(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    name = page.get_by_role("form", name="Name", exact=True)
    await name.get_by_label("Name").fill("Ada Lovelace <b>the first</b>")
    await name.get_by_role("button", name="Change the name").click()
    await expect(page.get_by_role("heading", name="Ada Lovelace <b>the first</b>")).to_be_visible()

    form = page.get_by_role("form", name="Password", exact=True)
    await form.get_by_label("Present password", exact=True).fill("not the password")
    await form.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    await form.get_by_role("button", name="Change the password").click()
    await expect(form.get_by_role("alert")).to_be_visible()
    await expect(form.get_by_label("New password", exact=True)).to_have_value(NEW_PASSWORD)
    await form.get_by_label("Present password", exact=True).fill(ada.password)
    await form.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_text("Your password is changed.")).to_be_visible()
    await expect(form.get_by_label("New password", exact=True)).to_have_value("")
    await accessible(page)
    await page.reload()
    await expect(page.get_by_role("heading", name="Ada Lovelace <b>the first</b>")).to_be_visible()
    assert NEW_PASSWORD not in await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")


async def test_another_device_is_seen_and_logged_out(
    tabs: Tabs, new_person: NewPerson, browser: Browser, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")  # whose registration left a session of a program
    elsewhere = await browser.new_context(base_url=mesh.url)
    try:
        other = await elsewhere.new_page()
        await log_in(other, ada)
        page = await tabs.open("/account", person=ada)
        devices = page.get_by_role("list", name="Devices")
        await expect(devices.get_by_role("listitem")).to_have_count(3)
        await expect(devices.get_by_text("This device")).to_have_count(1)
        await devices.get_by_role("button", name="Log out Chrome on Linux").click()
        question = page.get_by_role("dialog", name="Log this device out?")
        await accessible(page)
        await question.get_by_role("button", name="Log out").click()
        await expect(devices.get_by_role("listitem")).to_have_count(2)
        await other.goto("/keys")
        await expect(other.get_by_role("heading", name="Log in first")).to_be_visible()

        await page.get_by_role("button", name="Log out all others").click()
        await page.get_by_role("dialog").get_by_role("button", name="Log out all others").click()
        await expect(page.get_by_text("1 device is logged out.")).to_be_visible()
        await expect(devices.get_by_role("listitem")).to_have_count(1)
    finally:
        await elsewhere.close()


async def test_one_takes_what_is_kept_and_leaves_for_good(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    async with page.expect_download() as coming:
        await page.get_by_role("button", name="Export my data").click()
    kept = json.loads((await (await coming.value).path()).read_text())
    assert ada.email in json.dumps(kept)

    await page.get_by_role("button", name="Delete my account").click()
    dialog = page.get_by_role("dialog", name="Delete your account?")
    await accessible(page)
    await dialog.get_by_label("To confirm").fill("somebody@example.com")
    await dialog.get_by_role("button", name="Delete my account for ever").click()
    await expect(dialog.get_by_text(f"Type {ada.email} to confirm.")).to_be_visible()
    await dialog.get_by_label("To confirm").fill(ada.email)
    await dialog.get_by_role("button", name="Delete my account for ever").click()
    await expect(page.get_by_role("link", name="Register")).to_be_visible()
    await expect(page.get_by_role("heading", name="Feed")).to_be_visible()

    await page.goto("/log-in")
    await settled(page)
    await page.get_by_label("E-mail").fill(ada.email)
    await page.get_by_label("Password", exact=True).fill(ada.password)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text(re.compile("wrong"))
