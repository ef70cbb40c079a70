"""Pages that mails lead to: a forgotten password, an address that is confirmed or changed."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson
from tests.browser.proofs import link_in_mail
from tests.browser.tabs import Tabs, accessible

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW_PASSWORD = "another quite long password"


async def test_a_forgotten_password_is_replaced_by_the_link_of_a_mail(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    await ada.call("POST", "/api/v1/apiKeys", {"displayName": "Build server"})
    page = await tabs.open("/log-in")
    await page.get_by_role("link", name="Forgot your password?").click()
    await accessible(page)
    await page.get_by_role("button", name="Send the link").click()
    await expect(page.get_by_text("Enter your e-mail address, such as")).to_be_visible()
    await page.get_by_label("E-mail").fill(ada.email)
    await page.get_by_role("button", name="Send the link").click()
    await expect(page.get_by_role("heading", name="A link is on its way")).to_be_visible()
    await accessible(page)

    link = await link_in_mail(mesh, ada.email, "reset-password")
    await page.goto(link)
    await expect(page).to_have_url(re.compile("/reset-password$"))  # no address bar, no history keeps the secret
    await accessible(page)
    await page.get_by_label("New password", exact=True).fill("short")
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_text("Use at least 10 characters.")).to_be_visible()
    await page.get_by_label("New password", exact=True).fill("password1234")
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_label("New password", exact=True)).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("heading", name="Your password is new")).to_be_visible()
    await expect(page.get_by_text("Removed: 1 API key.")).to_be_visible()  # ada's address had never been confirmed
    await accessible(page)
    await page.get_by_role("link", name="Log in with it").click()
    await page.get_by_label("E-mail").fill(ada.email)
    await page.get_by_label("Password", exact=True).fill(NEW_PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="Write", exact=True)).to_be_visible()

    other = await tabs.open(link)
    await other.get_by_label("New password", exact=True).fill(NEW_PASSWORD + "!")
    await other.get_by_role("button", name="Set the password").click()
    await expect(other.get_by_role("alert")).to_be_visible()
    await expect(other.get_by_role("link", name="Send another link")).to_be_visible()
    await other.reload()
    await expect(other.get_by_role("heading", name="The link is not here any more")).to_be_visible()
    await accessible(other)


async def test_an_address_is_confirmed_then_changed(tabs: Tabs, new_person: NewPerson, mesh: LocalMesh) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    address = page.get_by_role("list", name="E-mail")
    await expect(address).to_contain_text("Not confirmed")
    await page.get_by_role("button", name="Send the link again").click()
    await expect(page.get_by_text("Sent. Nothing came?")).to_be_visible()
    await page.goto(await link_in_mail(mesh, ada.email, "verify-email"))
    await accessible(page)
    await page.get_by_label("Password", exact=True).fill("not the password")
    await page.get_by_role("button", name="Confirm the address").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Password", exact=True).fill(ada.password)
    await page.get_by_role("button", name="Confirm the address").click()
    await expect(page.get_by_role("heading", name="Your address is confirmed")).to_be_visible()
    await page.goto("/account")
    await expect(address).to_contain_text("Confirmed")
    await expect(page.get_by_role("button", name="Send the link again")).to_have_count(0)

    new = f"new-{ada.email}"
    await page.get_by_role("button", name="Change the e-mail address").click()
    await page.get_by_label("New e-mail").fill(new)
    await accessible(page)
    await page.get_by_role("button", name="Send the link").click()
    await expect(page.get_by_text(f"A link is on its way to {new}")).to_be_visible()
    await expect(address).to_contain_text(ada.email)
    await page.goto(await link_in_mail(mesh, new, "confirm-email"))
    await expect(page).to_have_url(re.compile("/confirm-email$"))
    await accessible(page)
    await page.get_by_role("button", name="Use the new address").click()
    await expect(page.get_by_role("heading", name="Your address is changed")).to_be_visible()
    await page.get_by_role("link", name="To your account").click()
    await expect(address).to_contain_text(new)
