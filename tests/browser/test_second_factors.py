"""Second factors: set up, asked for at the log-in and before what is sensitive, lost and replaced."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest
from playwright.async_api import Page, expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson, Person
from tests.browser.proofs import App, virtual_authenticator
from tests.browser.tabs import Tabs, accessible, copied, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")

WRONG = "000000"


async def set_up_app(page: Page) -> tuple[App, list[str]]:
    """Sets an app up on /account; answers it and the recovery codes."""
    await page.get_by_role("button", name="Set up an app").click()
    dialog = page.get_by_role("dialog", name="Set up an authenticator app")
    await expect(dialog.get_by_role("img", name="QR code")).to_be_visible()
    await accessible(page)
    app = App(await dialog.locator("[data-secret]").inner_text())
    await dialog.get_by_label("Code that the app shows").fill("12")
    await dialog.get_by_role("button", name="Turn it on").click()
    await expect(dialog.get_by_text("Enter the six digits")).to_be_visible()
    await dialog.get_by_label("Code that the app shows").fill(await app.code())
    await dialog.get_by_label("Name").fill("Phone")
    await dialog.get_by_role("button", name="Turn it on").click()
    codes = page.get_by_role("dialog", name="Store your recovery codes")
    await expect(codes.get_by_role("listitem")).to_have_count(10)
    await accessible(page)
    texts = await codes.get_by_role("listitem").all_inner_texts()
    await page.keyboard.press("Escape")
    await expect(codes.get_by_role("alert")).to_contain_text("Store them first")
    await codes.get_by_role("button", name="I have stored them").click()
    await expect(codes).to_have_count(0)
    await expect(page.get_by_role("list", name="Second factors")).to_contain_text("Phone")
    return app, texts


async def password(page: Page, person: Person) -> None:
    await page.get_by_label("E-mail").fill(person.email)
    await page.get_by_label("Password", exact=True).fill(person.password)
    await page.locator("#main").get_by_role("button", name="Log in", exact=True).click()


async def age_sessions(mesh: LocalMesh, person: Person) -> None:
    """As if they had proved who they are an hour ago; it holds from the next access token on."""
    connection = await asyncpg.connect(await asyncio.to_thread(mesh.database_url))
    try:
        await connection.execute(
            "UPDATE auth.sessions SET auth_time = auth_time - interval '1 hour' WHERE user_id = $1", person.user_id
        )
    finally:
        await connection.close()


async def log_out(page: Page) -> None:
    await page.goto("/account")
    await page.locator("#main").get_by_role("button", name="Log out", exact=True).first.click()
    await expect(page.get_by_role("link", name="Register")).to_be_visible()


async def test_an_app_is_set_up_and_a_log_in_asks_for_its_code(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    await expect(page.get_by_text("Only the password guards your account.")).to_be_visible()
    await accessible(page)
    app, recovery = await set_up_app(page)
    await log_out(page)

    await page.goto("/log-in?then=/keys")
    await password(page, ada)
    await expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    await expect(page.get_by_label("Code of your app")).to_be_focused()
    await accessible(page)
    await page.get_by_label("Code of your app").fill(WRONG)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Code of your app")).to_have_value("")
    await page.get_by_label("Code of your app").fill(await app.code())
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"\d/keys$"))

    await log_out(page)
    await page.goto("/log-in")
    await password(page, ada)
    await page.get_by_role("button", name="Use a recovery code").click()
    await page.get_by_label("Recovery code").fill(recovery[0])
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="Write", exact=True)).to_be_visible()
    await page.goto("/account")
    await expect(page.get_by_role("list", name="Second factors")).to_contain_text("9 of 10 left")


async def test_too_many_wrong_codes_lead_back_to_the_password(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    await set_up_app(page)
    await log_out(page)
    await page.goto("/log-in")
    await password(page, ada)
    await expect(page.get_by_label("Code of your app")).to_be_focused()
    for _ in range(6):
        if await page.get_by_label("Password", exact=True).count():
            break
        await page.get_by_label("Code of your app").fill(WRONG)
        async with page.expect_response("**/CompleteSession"):
            await page.keyboard.press("Enter")
        await expect(
            page.get_by_label("Code of your app").or_(page.get_by_label("Password", exact=True))
        ).to_have_value("")
    await expect(page.get_by_text("Enter your password once more to begin anew.")).to_be_visible()
    await expect(page.get_by_label("E-mail")).to_have_value(ada.email)
    await accessible(page)


async def test_what_is_sensitive_asks_once_more_and_loses_nothing(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/keys", person=ada)
    await age_sessions(mesh, ada)
    await page.reload()
    await settled(page)
    await page.get_by_role("button", name="Make a key").click()
    making = page.get_by_role("dialog", name="Make an API key")
    await making.get_by_label("Name").fill("Build server")
    await making.get_by_role("button", name="Make the key").click()

    asking = page.get_by_role("dialog", name="Confirm that it is you")
    await expect(asking.get_by_label("Password", exact=True)).to_be_focused()
    await accessible(page)
    await page.keyboard.press("Escape")
    await expect(asking).to_have_count(0)
    await expect(making.get_by_role("alert")).to_contain_text("You did not confirm that it is you")
    await expect(making.get_by_label("Name")).to_have_value("Build server")

    await making.get_by_role("button", name="Make the key").click()
    await asking.get_by_label("Password", exact=True).fill("not the password")
    await asking.get_by_role("button", name="Confirm").click()
    await expect(asking.get_by_role("alert")).to_be_visible()
    await asking.get_by_label("Password", exact=True).fill(ada.password)
    await asking.get_by_role("button", name="Confirm").click()
    await expect(asking).to_have_count(0)
    await expect(page.get_by_role("heading", name="Store the secret of “Build server” now")).to_be_visible()


async def test_with_a_second_factor_the_password_alone_confirms_nothing(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    app, _ = await set_up_app(page)
    await age_sessions(mesh, ada)
    await page.reload()
    await settled(page)
    await page.get_by_role("button", name="Delete Phone").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    asking = page.get_by_role("dialog", name="Confirm that it is you")
    await expect(asking.get_by_label("Code of your app")).to_be_focused()
    await expect(asking.get_by_role("button", name="Use your password")).to_have_count(0)
    await asking.get_by_label("Code of your app").fill(await app.code())
    await asking.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_text("Only the password guards your account.")).to_be_visible()


async def test_a_passkey_is_added_and_logs_in_without_a_password(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    # Passkeys belong to names: the mesh of one machine has them under this one.
    at = f"http://localhost:{mesh.edge_port}"
    page = await tabs.open(f"{at}/log-in?then=/account")
    await accessible(page)
    await password(page, ada)
    await page.get_by_role("button", name="Add a passkey").click()
    dialog = page.get_by_role("dialog", name="Add a passkey")
    await dialog.get_by_label("Name").fill("Laptop")
    await accessible(page)
    await virtual_authenticator(page)  # from here on: the end of axe's session would take it away
    await dialog.get_by_role("button", name="Continue in the browser").click()
    codes = page.get_by_role("dialog", name="Store your recovery codes")
    await expect(codes.get_by_role("listitem")).to_have_count(10)
    await tabs.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=at)
    text = await copied(page, codes.get_by_role("button", name="Copy all"))
    assert len(text.split("\n")) == 10
    async with page.expect_download() as coming:
        await codes.get_by_role("button", name="Download as a file").click()
    assert text in (await (await coming.value).path()).read_text()
    await codes.get_by_role("button", name="I have stored them").click()
    await expect(page.get_by_role("list", name="Second factors")).to_contain_text("Laptop")

    for alone in (True, False):
        await page.locator("#main").get_by_role("button", name="Log out", exact=True).first.click()
        await expect(page.get_by_role("link", name="Register")).to_be_visible()
        await page.goto(f"{at}/log-in?then=/account")
        if alone:
            await page.get_by_role("button", name="Log in with a passkey").click()
        else:
            await password(page, ada)
            await expect(page.get_by_role("heading", name="One more step")).to_be_visible()
            await page.get_by_role("button", name="Log in with a passkey").click()
        await expect(page.get_by_role("list", name="Second factors")).to_contain_text("Laptop")
