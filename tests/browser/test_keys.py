"""API keys: made, shown once, used, revoked."""

from __future__ import annotations

import asyncio
import os
import re
import sys

import pytest
from playwright.async_api import Locator, Page, expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, accessible, copied, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTACK = '<img src=x onerror="document.title=1">'


async def make(page: Page, name: str) -> str:
    """Makes a key by the form, with what is chosen in it; answers the secret."""
    await page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog", name="Make an API key")
    await dialog.get_by_label("Name").fill(name)
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(page.get_by_role("heading", name=f"Store the secret of “{name}” now")).to_be_focused()
    return (await page.get_by_role("region", name="Secret", exact=True).inner_text()).strip()


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="API keys").get_by_role("listitem").filter(has_text=name)


async def test_a_key_is_made_its_secret_shown_once_and_revoked(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/keys", person=ada)
    await expect(page.get_by_role("heading", name="No keys yet")).to_be_visible()
    await accessible(page)

    secret = await make(page, "Build server")
    assert re.fullmatch(r"pm_\w{20,}", secret)
    await accessible(page)
    await expect(row(page, "Build server")).to_contain_text("In force")
    await expect(row(page, "Build server")).to_contain_text("Use models")
    await expect(row(page, "Build server")).to_contain_text("ends in 3 months")
    assert (await asyncio.to_thread(mesh.call, "GET", "/v1/models", token=secret)).status == 200

    await page.get_by_role("button", name="I have stored it").click()
    await expect(page.get_by_role("region", name="Secret", exact=True)).to_have_count(0)
    assert secret not in await page.content()
    await page.reload()
    await settled(page)
    assert secret not in await page.content()
    kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, history.state])")
    assert secret not in kept

    await page.get_by_role("button", name="Revoke Build server").click()
    question = page.get_by_role("dialog", name="Revoke this key?")
    await accessible(page)
    await question.get_by_role("button", name="Cancel").click()
    await expect(row(page, "Build server")).to_contain_text("In force")
    await page.get_by_role("button", name="Revoke Build server").click()
    await question.get_by_role("button", name="Revoke").click()
    await expect(question).to_have_count(0)
    await expect(row(page, "Build server")).to_contain_text("Revoked")
    await expect(page.get_by_role("button", name="Revoke Build server")).to_have_count(0)
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(mesh.call, "GET", "/v1/models", token=secret)).status != 401:
            await asyncio.sleep(0.05)


async def test_the_program_beside_the_secret_runs_as_it_stands(tabs: Tabs, new_person: NewPerson) -> None:
    await tabs.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await tabs.open("/keys", person=await new_person("Ada"))
    secret = await make(page, "My program")
    shell = await page.get_by_role("region", name="In your shell").inner_text()
    variables = dict(line.removeprefix("export ").split("=", 1) for line in shell.strip().splitlines())
    assert variables["OPENAI_API_KEY"] == secret
    await expect(page.get_by_role("region", name="Python", exact=True)).to_contain_text('model="mock"')
    program = await page.get_by_role("region", name="Python", exact=True).inner_text()
    assert secret not in program

    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await running.communicate()
    assert running.returncode == 0, errors.decode()
    assert "Hello from the provider" in out.decode()

    block = page.get_by_role("tabpanel", name="Python")
    await copied(page, block.get_by_role("button", name="Copy"))
    await expect(block.get_by_role("button")).to_have_text("Copied")
    await page.get_by_role("tab", name="TypeScript").click()
    await expect(page.get_by_role("region", name="TypeScript")).to_contain_text('import OpenAI from "openai"')
    # Another text than the one that was copied.
    await expect(page.get_by_role("tabpanel", name="TypeScript").get_by_role("button")).to_have_text("Copy")


async def test_what_is_not_allowed_is_said_at_its_field(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/keys", person=await new_person("Ada"))
    await page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog", name="Make an API key")
    await expect(dialog.get_by_text("This is what costs money.")).to_be_visible()
    for scope in ("Read posts", "Write posts", "Read usage", "Screen texts"):
        await expect(dialog.get_by_role("checkbox", name=scope)).not_to_be_checked()
    await dialog.get_by_role("checkbox", name="Use models").uncheck()
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(dialog.get_by_text("Give it a name")).to_be_visible()
    await expect(dialog.get_by_text("Allow one thing at least.")).to_be_visible()
    await accessible(page)

    await dialog.get_by_role("checkbox", name="Read usage").check()
    await dialog.get_by_label("Name").fill("turned\u202eround")
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(dialog.get_by_text("turn the direction of text")).to_be_visible()
    await dialog.get_by_label("Name").fill(ATTACK)
    await dialog.get_by_label("Ends by itself").select_option(label="Never, until it is revoked")
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(row(page, ATTACK)).to_contain_text("never ends by itself")
    await expect(row(page, ATTACK)).to_contain_text("Read usage")
    await expect(page.locator("#main img")).to_have_count(0)
    await expect(page.get_by_text("authorization: Bearer")).to_be_visible()  # it cannot call models: no such program


async def test_many_keys_come_page_by_page_and_a_failed_read_is_tried_again(tabs: Tabs, new_person: NewPerson) -> None:
    tabs.allow("ERR_FAILED")
    ada: Person = await new_person("Ada")
    for number in range(22):
        await ada.call("POST", "/api/v1/apiKeys", {"displayName": f"Key {number}", "scopes": ["posts:read"]})
    page = await tabs.open("/keys", person=ada)
    rows = page.get_by_role("list", name="API keys").locator("> li")
    await expect(rows).to_have_count(20)

    await page.route("**/ListApiKeys", lambda route: route.abort())
    await page.get_by_role("button", name="Show older keys").click()
    await expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    await expect(rows).to_have_count(20)
    await page.unroute("**/ListApiKeys")
    await page.get_by_role("button", name="Try again").click()
    await expect(rows).to_have_count(22)
    await expect(page.get_by_role("button", name="Show older keys")).to_have_count(0)

    await page.route("**/ListApiKeys", lambda route: route.abort())
    await page.reload()
    await expect(page.get_by_role("alert")).to_contain_text("API keys could not be read")
    await accessible(page)


async def test_a_key_is_restricted_and_rotated_with_an_overlap(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    page = await tabs.open("/keys", person=await new_person("Ada"))
    await page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog", name="Make an API key")
    await dialog.get_by_label("Name").fill("Build server")
    await dialog.get_by_text("Restrict it further").click()
    await dialog.get_by_label("Networks").fill("not a network")
    await dialog.get_by_role("checkbox", name="mock", exact=True).check()
    await accessible(page)
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(dialog.get_by_label("Networks")).to_have_attribute("aria-invalid", "true")
    await dialog.get_by_label("Networks").fill("127.0.0.0/8, 2001:db8::/32")
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(row(page, "Build server")).to_contain_text("Only for mock")
    await expect(row(page, "Build server")).to_contain_text("Only from 127.0.0.0/8, 2001:db8::/32")
    await expect(row(page, "Build server")).to_contain_text("never used")
    old = (await page.get_by_role("region", name="Secret", exact=True).inner_text()).strip()
    await page.get_by_role("button", name="I have stored it").click()

    await page.get_by_role("button", name="Rotate Build server").click()
    dialog = page.get_by_role("dialog", name="Rotate this key?")
    await dialog.get_by_label("The present secret").select_option(label="For an hour")
    await accessible(page)
    await dialog.get_by_role("button", name="Make a new secret").click()
    await expect(page.get_by_role("heading", name="Store the secret of “Build server” now")).to_be_visible()
    new = (await page.get_by_role("region", name="Secret", exact=True).inner_text()).strip()
    assert new != old
    await expect(row(page, "Build server")).to_contain_text("the secret before ends")
    for secret in (old, new):
        assert (await asyncio.to_thread(mesh.call, "GET", "/v1/models", token=secret)).status == 200
