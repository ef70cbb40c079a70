"""Teams: made, joined by a mail's link, acted for; their service accounts and the keys of those."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson, Person
from tests.browser.proofs import link_in_mail
from tests.browser.tabs import Tabs, accessible, log_in

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEAM = "<i>Night</i> shift"


async def proved(mesh: LocalMesh, person: Person) -> None:
    """Proves the person's address: an invitation is from and for a proved one alone."""
    await person.call("POST", "/api/v1/users/me:sendVerification", {})
    token = (await link_in_mail(mesh, person.email, "verify-email")).split("token=")[1]
    await person.call("POST", "/api/v1/users:verifyEmail", {"token": token, "password": person.password})


async def test_a_team_is_made_joined_and_left(tabs: Tabs, new_person: NewPerson, mesh: LocalMesh) -> None:
    ada, bob = await new_person("Ada"), await new_person("Bob")
    await proved(mesh, ada)
    await proved(mesh, bob)
    page = await tabs.open("/team", person=ada)
    await expect(page.get_by_role("list", name="Teams").get_by_role("listitem")).to_have_count(1)
    await accessible(page)
    await page.get_by_role("button", name="Make a team").click()
    dialog = page.get_by_role("dialog", name="Make a team")
    await dialog.get_by_label("Name").fill(TEAM)
    await dialog.get_by_role("button", name="Make the team").click()
    await expect(page.get_by_role("heading", name=TEAM, level=1)).to_be_visible()
    members = page.get_by_role("list", name="Members")
    await expect(members.get_by_role("listitem")).to_have_count(1)
    await expect(members).to_contain_text("Owner")
    await accessible(page)
    await page.get_by_role("button", name="Leave").click()
    await page.get_by_role("dialog").get_by_role("button", name="Leave").click()
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text(re.compile("owner", re.I))
    await page.keyboard.press("Escape")

    await page.get_by_role("button", name="Invite").click()
    dialog = page.get_by_role("dialog", name="Invite somebody")
    await dialog.get_by_label("E-mail").fill(bob.email)
    await accessible(page)
    await dialog.get_by_role("button", name="Send the invitation").click()
    await expect(page.get_by_text(f"An invitation is on its way to {bob.email}")).to_be_visible()
    invitations = page.get_by_role("list", name="Invitations")
    await expect(invitations.get_by_role("listitem")).to_have_count(1)
    await expect(invitations).to_contain_text(bob.email)
    await link_in_mail(mesh, bob.email, "invitation")
    await page.get_by_role("button", name=f"Revoke the invitation of {bob.email}").click()
    await accessible(page)
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(page.get_by_text("No invitation is under way.")).to_be_visible()
    await page.get_by_role("button", name="Invite").click()
    await dialog.get_by_label("E-mail").fill(bob.email)
    await dialog.get_by_role("button", name="Send the invitation").click()
    await expect(invitations.get_by_role("listitem")).to_have_count(1)
    link = await link_in_mail(mesh, bob.email, "invitation", after=1)
    await page.get_by_role("button", name="Account of Ada").click()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("link", name="Register")).to_be_visible()

    await log_in(page, bob)
    await page.goto(link)
    await expect(page).to_have_url(re.compile("/invitation$"))
    await accessible(page)
    await page.get_by_role("button", name="Accept the invitation").click()
    await expect(page.get_by_role("heading", name=f"You belong to {TEAM}")).to_be_visible()
    await page.get_by_role("link", name="To your teams").click()
    await expect(page.get_by_role("list", name="Teams").get_by_role("listitem")).to_have_count(2)
    await page.get_by_role("button", name="Account of Bob").click()
    await page.get_by_role("button", name=f"Act for {TEAM}").click()
    await expect(page.get_by_role("listitem").filter(has_text=TEAM)).to_contain_text("You act for it")
    await page.reload()
    await expect(page.get_by_role("listitem").filter(has_text=TEAM)).to_contain_text("You act for it")
    # Where something is made, shown or spent for the team, the page says so, and the header does everywhere.
    for path in ("/keys", "/usage", "/write", "/playground"):
        await page.goto(path)
        await expect(page.locator("#main header").get_by_role("link", name=f"for {TEAM}", exact=True)).to_be_visible()
        await expect(page.get_by_role("banner").get_by_role("link", name=f"You act for {TEAM}")).to_be_visible()
        await accessible(page)
    await page.get_by_role("banner").get_by_role("link", name=f"You act for {TEAM}").click()
    await page.get_by_role("button", name=f"Open {TEAM}").click()
    await expect(members.get_by_role("listitem")).to_have_count(2)
    await expect(page.get_by_role("button", name="Invite")).to_have_count(0)
    await page.get_by_role("button", name="Leave").click()
    await page.get_by_role("dialog").get_by_role("button", name="Leave").click()
    await expect(page.get_by_role("log")).to_contain_text(f"You left {TEAM}.")

    # The session acted for the team and ends with it. The edge knows that a moment later, the cookie's server at once.
    tabs.allow("401")
    await page.reload()
    await expect(page.get_by_role("heading", name="Log in first")).to_be_visible()
    await log_in(page, bob)
    await page.goto("/team")
    await expect(page.get_by_role("list", name="Teams").get_by_role("listitem")).to_have_count(1)
    await expect(page.get_by_role("link", name="You act for")).to_have_count(0)


async def test_a_service_account_gets_a_key(tabs: Tabs, new_person: NewPerson, mesh: LocalMesh) -> None:
    ada = await new_person("Ada")
    made = await ada.call("POST", "/api/v1/organisations", {"displayName": "Robots"})
    page = await tabs.open(f"/team?org={made['orgId']}", person=ada)
    await page.get_by_role("button", name="Make one").click()
    dialog = page.get_by_role("dialog", name="Make a service account")
    await dialog.get_by_label("Name").fill("Nightly reports")
    await dialog.get_by_role("button", name="Make it").click()
    await accessible(page)
    await page.get_by_role("link", name="Keys of Nightly reports").click()
    await expect(page.get_by_label("Keys of")).to_contain_text("Nightly reports, of Robots")
    await page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog", name="Make an API key")
    await expect(dialog).to_contain_text("It acts as Nightly reports, of Robots, not as you.")
    await dialog.get_by_label("Name").fill("Server")
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(page.get_by_role("heading", name="Store the secret of “Server” now")).to_be_visible()
    keys = page.get_by_role("list", name="API keys")
    await expect(keys).to_contain_text("Server")
    await page.get_by_role("button", name="I have stored it").click()
    await page.get_by_label("Keys of").select_option(label="Me")
    await expect(page.get_by_role("heading", name="No keys yet")).to_be_visible()
    await accessible(page)

    await page.goto(f"/team?org={made['orgId']}")
    await page.get_by_role("button", name="Delete the team").click()
    dialog = page.get_by_role("dialog", name="Delete the team?")
    await expect(dialog).to_contain_text("you too, is logged out and logs in again")
    await dialog.get_by_label("To confirm").fill("Robots")
    await dialog.get_by_role("button", name="Delete the team for ever").click()
    await expect(page.get_by_role("list", name="Teams").get_by_role("listitem")).to_have_count(1)
