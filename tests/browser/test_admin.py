"""What admins see: people and their roles, the mesh, its configuration and the way back."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, Route, expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, accessible

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVICES = ("auth", "prompts", "moderation", "inference")
LONGER_THAN_A_POLL_MS = 6_000
LOGGED_IN = re.compile(r"Logged in (just now|\d+ \w+ ago)")
ASK = "fetch('/healthz').then(() => true)"  # what the page had asked before would be counted before this


@pytest_asyncio.fixture(loop_scope="session")
async def admin(mesh: LocalMesh) -> Person:
    """The mesh's own admin."""
    return await asyncio.to_thread(Person.admin, mesh)


def row(page: Page, words: str) -> Locator:
    return page.get_by_role("list", name="Users").get_by_role("listitem").filter(has_text=words)


async def test_pages_for_admins_are_for_nobody_else(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/admin/users", person=await new_person("Ada", roles=("ROLE_MODERATOR",)))
    for path in ("/admin/users", "/admin/status"):
        await page.goto(path)
        await expect(page.get_by_role("heading", name="This page is for admins")).to_be_visible()
    await accessible(page)


async def test_one_is_found_and_gets_a_role(tabs: Tabs, new_person: NewPerson, admin: Person) -> None:
    rare = uuid.uuid4().hex[:8]
    name = f"<img src=x onerror=alert(1)> Rare {rare}"
    bob = await new_person(name)
    await new_person("Somebody else")
    page = await tabs.open("/admin/users", person=admin)
    await accessible(page)
    await page.get_by_role("searchbox", name="Search").fill(f"rare {rare}")
    await expect(page.get_by_role("list", name="Users").get_by_role("listitem")).to_have_count(1)
    await expect(page).to_have_url(re.compile(rf"\?q=rare\+{rare}$"))
    await expect(page.locator("#main img")).to_have_count(0)
    await expect(row(page, bob.email)).to_contain_text(LOGGED_IN)

    await page.get_by_role("button", name=f"Roles of {name}").click()
    await expect(page.get_by_role("button", name="Continue")).to_be_disabled()
    await page.get_by_role("checkbox", name="Moderator").check()
    await accessible(page)
    await page.get_by_role("button", name="Continue").click()
    question = page.get_by_role("dialog", name="Change these roles?")
    await expect(question).to_contain_text("becomes moderator")
    await accessible(page)
    assert (await bob.call("GET", "/api/v1/users/me"))["roles"] == ["ROLE_USER"]
    await question.get_by_role("button", name="Change roles").click()
    await expect(question).to_have_count(0)
    await expect(row(page, bob.email)).to_contain_text("Moderator")
    await expect(row(page, bob.email)).to_contain_text(LOGGED_IN)
    assert (await bob.call("GET", "/api/v1/users/me"))["roles"] == ["ROLE_USER", "ROLE_MODERATOR"]

    await page.get_by_role("searchbox", name="Search").fill(f"nobody-{uuid.uuid4().hex}")
    await expect(page.get_by_role("heading", name="Nobody is found")).to_be_visible()
    await accessible(page)
    await page.get_by_role("button", name="Show everyone").click()
    await expect(row(page, bob.email)).to_be_visible()
    await expect(page.get_by_role("searchbox", name="Search")).to_have_value("")


async def test_the_last_admin_keeps_the_role_and_is_told_why(tabs: Tabs, admin: Person) -> None:
    for one in (await admin.call("GET", "/api/v1/users?pageSize=100"))["users"]:
        if "ROLE_ADMIN" in one["roles"] and one["userId"] != admin.user_id:
            await admin.call("POST", f"/api/v1/users/{one['userId']}:setRoles", {"roles": []})
    page = await tabs.open(f"/admin/users?q={admin.email}", person=admin)
    await page.get_by_role("button", name=f"Roles of {admin.name}").click()
    await page.get_by_role("checkbox", name="Admin").uncheck()
    await page.get_by_role("button", name="Continue").click()
    question = page.get_by_role("dialog", name="Change these roles?")
    await expect(question).to_contain_text("is no longer admin")
    await expect(question).to_contain_text("You lose the pages for admins")
    await question.get_by_role("button", name="Change roles").click()
    await expect(question.get_by_role("alert")).to_contain_text("This is the last administrator")
    await accessible(page)
    await page.keyboard.press("Escape")
    await expect(row(page, admin.email)).to_contain_text("Admin")


async def test_status_tells_of_services_models_and_policy(tabs: Tabs, admin: Person) -> None:
    page = await tabs.open("/admin/status", person=admin)
    services = page.get_by_role("list", name="Services").get_by_role("listitem")
    await expect(services).to_have_count(len(SERVICES))
    await expect(page.get_by_text("All services serve.")).to_be_visible()
    models = page.get_by_role("region", name="Models")
    await expect(
        models.get_by_role("row", name="mock Default calls mock-small 8,192 1,024 $1.00 / $2.00")
    ).to_be_visible()
    await expect(
        page.get_by_role("region", name="Routes").get_by_role("row", name=re.compile("^cached"))
    ).to_be_visible()
    await expect(page.get_by_text(re.compile("applied .* with the release"))).to_be_visible()
    await accessible(page)
    await page.get_by_role("button", name="Show the policy").click()
    await expect(page.get_by_role("region", name="policy.yaml")).to_contain_text("rules:")
    await accessible(page)


async def test_health_is_asked_again_tells_of_a_fault_and_rests_while_hidden(tabs: Tabs, admin: Person) -> None:
    tabs.allow("503")
    tabs.allow("ERR_FAILED")
    asked: list[str] = []
    state: dict[str, Any] = {"down": "moderation"}

    async def answer(route: Route) -> None:
        asked.append(route.request.url)
        if state["down"] == "edge":
            await route.abort()
            return
        services = {one: "NOT_SERVING" if one == state["down"] else "SERVING" for one in SERVICES}
        status = 503 if state["down"] else 200
        await route.fulfill(status=status, body=json.dumps({"services": services}), content_type="application/json")

    await tabs.context.route("**/healthz", answer)
    page = await tabs.open("/", person=admin)
    await page.clock.install()
    await page.goto("/admin/status")
    await expect(page.get_by_text("Not serving: moderation.")).to_be_visible()
    await accessible(page)
    state["down"] = "edge"
    await page.clock.fast_forward(LONGER_THAN_A_POLL_MS)
    await expect(page.get_by_text("The edge does not answer")).to_be_visible()

    await _hide(page, hidden=True)
    state["down"] = ""
    before = len(asked)
    await page.clock.fast_forward(10 * LONGER_THAN_A_POLL_MS)
    await page.evaluate(ASK)
    assert len(asked) == before + 1
    await expect(page.get_by_text("The edge does not answer")).to_be_visible()
    await _hide(page, hidden=False)
    await expect(page.get_by_text("All services serve.")).to_be_visible()

    await page.get_by_role("link", name="Feed").click()
    await expect(page.get_by_role("heading", name="Feed")).to_be_visible()
    before = len(asked)
    await page.clock.fast_forward(10 * LONGER_THAN_A_POLL_MS)
    await page.evaluate(ASK)
    assert len(asked) == before + 1


async def _hide(page: Page, *, hidden: bool) -> None:
    """Headless Chromium shows every tab; the page is told otherwise."""
    await page.evaluate(
        """(hidden) => {
             Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
             document.dispatchEvent(new Event("visibilitychange"));
           }""",
        hidden,
    )


async def test_a_version_is_looked_at_and_gone_back_to(tabs: Tabs, admin: Person) -> None:
    first = await admin.call("GET", "/api/v1/config")
    changed = first["yaml"] + f"\n# changed {uuid.uuid4().hex}\n"
    second = await admin.call("POST", "/api/v1/config:apply", {"yaml": changed})
    page = await tabs.open("/admin/status", person=admin)
    versions = page.get_by_role("list", name="Versions of the configuration").get_by_role("listitem")
    await expect(versions.first).to_contain_text(f"Version {second['version']}")
    await expect(versions.first).to_contain_text("In force")
    await expect(versions.first).to_contain_text("by you")
    await page.get_by_role("button", name=f"Show version {second['version']}").click()
    await expect(page.get_by_role("region", name="models.yaml")).to_contain_text("# changed")
    await page.keyboard.press("Escape")

    await page.get_by_role("button", name=f"Go back to version {first['version']}", exact=True).click()
    question = page.get_by_role("dialog", name=f"Go back to version {first['version']}?")
    await expect(question.get_by_role("region", name="What changes")).to_contain_text("- # changed")
    await accessible(page)
    await question.get_by_role("button", name="Go back").click()
    await expect(versions.first).to_contain_text(f"repeats version {first['version']}")
    assert (await admin.call("GET", "/api/v1/config"))["yaml"] == first["yaml"]
