"""What admins do with accounts, and the trail of it."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, accessible, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")

REASON = "<script>alert(1)</script> Spam, three times"


@pytest_asyncio.fixture(loop_scope="session")
async def admin(mesh: LocalMesh) -> Person:
    """The mesh's own admin."""
    return await asyncio.to_thread(Person.admin, mesh)


def row(page: Page, email: str) -> Locator:
    return page.get_by_role("list", name="Users").get_by_role("listitem").filter(has_text=email)


async def act(page: Page, person: Person, label: str, reason: str = REASON) -> Locator:
    """Opens an act of a person's menu and gives the reason; answers the dialog."""
    await row(page, person.email).get_by_role("button", name="More for").click()
    await page.get_by_role("button", name=label).click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Reason").fill(reason)
    return dialog


async def test_somebody_is_suspended_told_why_and_restored(
    tabs: Tabs, new_person: NewPerson, admin: Person, mesh: LocalMesh
) -> None:
    bob = await new_person("Bob the spammer")
    page = await tabs.open(f"/admin/users?q={bob.email}", person=admin)
    await row(page, bob.email).get_by_role("button", name="More for").click()
    await accessible(page)
    await page.get_by_role("button", name="Suspend").click()
    dialog = page.get_by_role("dialog", name="Suspend Bob the spammer?")
    await dialog.get_by_role("button", name="Suspend").click()
    await expect(dialog.get_by_text("Say why: it stands in the audit trail.")).to_be_visible()
    await dialog.get_by_label("Reason").fill(REASON)
    await dialog.get_by_label("How long").select_option(label="For 30 days")
    await accessible(page)
    await dialog.get_by_role("button", name="Suspend").click()
    await expect(row(page, bob.email)).to_contain_text(f"Suspended: “{REASON}”. It ends in 30 days.")
    answer = await asyncio.to_thread(
        mesh.call, "POST", "/api/v1/sessions", {"email": bob.email, "password": bob.password}
    )
    assert answer.status == 403
    dialog = await act(page, bob, "End the suspension", "It was somebody else")
    await dialog.get_by_role("button", name="End the suspension").click()
    await expect(row(page, bob.email)).not_to_contain_text("Suspended")
    assert await asyncio.to_thread(mesh.log_in, bob.email, bob.password)


async def test_sessions_keys_and_the_plan_of_somebody(tabs: Tabs, new_person: NewPerson, admin: Person) -> None:
    bob = await new_person("Bob")
    await bob.call("POST", "/api/v1/apiKeys", {"displayName": "One"})
    page = await tabs.open(f"/admin/users?q={bob.email}", person=admin)
    dialog = await act(page, bob, "Revoke all API keys")
    await dialog.get_by_role("button", name="Revoke all keys").click()
    await expect(page.get_by_text("1 key revoked.")).to_be_visible()
    plans = (await admin.call("GET", "/api/v1/plans"))["plans"]
    dialog = await act(page, bob, "Set the plan")
    await dialog.get_by_label("Plan", exact=True).select_option(value=plans[-1]["name"])
    await accessible(page)
    await dialog.get_by_role("button", name="Set the plan").click()
    await expect(row(page, bob.email)).to_contain_text(f"plan {plans[-1]['name']}")
    dialog = await act(page, bob, "Log out everywhere")
    await dialog.get_by_role("button", name="Log out everywhere").click()
    await expect(page.get_by_text("1 session ended.")).to_be_visible()


async def test_the_trail_is_searched_verified_and_exported(tabs: Tabs, new_person: NewPerson, admin: Person) -> None:
    bob = await new_person("Bob")
    await admin.call("POST", f"/api/v1/users/{bob.user_id}:endSessions", {"reason": REASON})
    page = await tabs.open("/admin/audit", person=admin)
    records = page.get_by_role("list", name="Records").locator("> li")
    await accessible(page)
    await page.get_by_label("Action").fill("Not an action")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_text("Write an action such as user.suspend")).to_be_visible()
    await page.get_by_label("Action").fill("user.*")
    await page.get_by_label("On", exact=True).fill(bob.user_id)

    await page.get_by_role("button", name="Search").click()
    await expect(page).to_have_url(re.compile(r"action=user\.\*"))
    ended = page.get_by_text(re.compile(r"^user\.\w*session\w*$"))
    async with asyncio.timeout(60):  # acts come to the trail by events
        while True:  # a page that is read anew shows what was searched for, and nothing of before
            await page.reload()
            await settled(page)
            if await ended.count():
                break
    await records.filter(has_text="session").locator("summary").click()
    await expect(records.filter(has_text=REASON)).to_be_visible()
    await expect(page.locator("#main script")).to_have_count(0)
    await accessible(page)

    await page.get_by_role("button", name="Verify").click()
    dialog = page.get_by_role("dialog", name="Verify the chain")
    await dialog.get_by_role("button", name="Verify").click()
    await expect(dialog.get_by_text("The chain holds")).to_be_visible()
    await accessible(page)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Export").click()
    dialog = page.get_by_role("dialog", name="Export the trail")
    async with page.expect_download() as coming:
        await dialog.get_by_role("button", name="Export").click()
    lines = (await (await coming.value).path()).read_text().strip().split("\n")
    assert "done" in json.loads(lines[-1])
    assert any(bob.user_id in line for line in lines)


async def test_the_trail_is_for_admins_and_auditors(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/admin/audit", person=await new_person("Ada", roles=("ROLE_MODERATOR",)))
    await expect(page.get_by_role("heading", name="This page is for auditors")).to_be_visible()
    await tabs.context.clear_cookies()
    page = await tabs.open("/admin/audit", person=await new_person("Grace", roles=("ROLE_AUDITOR",)))
    await expect(page.get_by_role("heading", name="Audit trail")).to_be_visible()
