"""The account: who one is, what one used, what is left, how the app looks."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson
from tests.browser.tabs import Tabs, accessible

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUESTION = {"model": "mock", "messages": [{"role": "user", "content": "Say something short."}]}
LIMIT = {"nanosPerDay": "2500000000", "requestsPerMinute": "40"}


async def test_a_new_account_has_used_nothing_and_says_so(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada", roles=("ROLE_MODERATOR",))
    page = await tabs.open("/account", person=ada)
    await expect(page.get_by_role("heading", name="Ada")).to_be_visible()
    await expect(page.get_by_text(ada.email).first).to_be_visible()
    await expect(page.get_by_text(ada.user_id)).to_be_visible()
    await expect(page.get_by_text("Moderator", exact=True)).to_be_visible()
    await accessible(page)
    await page.locator("#main").get_by_role("link", name="Usage").click()
    await expect(page.get_by_role("heading", name=re.compile("No calls in "))).to_be_visible()
    await accessible(page)
    await page.goto("/account")

    await page.locator("#main").get_by_role("button", name="Log out", exact=True).first.click()
    await expect(page.get_by_role("heading", name="Feed")).to_be_visible()
    await expect(page.get_by_role("link", name="Register")).to_be_visible()


async def test_usage_and_what_is_left_of_the_limits(tabs: Tabs, new_person: NewPerson, mesh: LocalMesh) -> None:
    ada = await new_person("Ada")
    admin = await asyncio.to_thread(mesh.admin_token)
    path = f"/api/v1/limits/LIMIT_KIND_USER/{ada.user_id}"
    assert (await asyncio.to_thread(mesh.call, "PUT", path, LIMIT, token=admin)).status == 200
    key = await asyncio.to_thread(mesh.api_key, ada.token, "inference:invoke")
    for _ in range(3):
        answer = await asyncio.to_thread(mesh.call, "POST", "/v1/chat/completions", QUESTION, token=key)
        assert answer.status == 200
    async with asyncio.timeout(30):  # calls are written to the ledger in batches
        while not (rows := (await ada.call("GET", "/api/v1/usage"))["rows"]) or rows[0]["requests"] != "3":
            await asyncio.sleep(0.05)

    page = await tabs.open("/usage", person=ada)
    sums = page.locator("dl").filter(has_text="Tokens in")
    await expect(sums).to_contain_text(re.compile(r"Cost\$0\.\d+Calls3Tokens in"))
    table = page.get_by_role("region", name="Usage by model")
    await expect(table.get_by_role("row", name=re.compile(r"^mock \$0\.0\d+ 3 \d+ \d+"))).to_be_visible()
    chart = page.get_by_role("img", name=re.compile(r"Cost by day.*most on day \d+ with \$0\.0"))
    await expect(chart).to_be_visible()
    await page.get_by_role("tab", name="Calls").click()
    await expect(page.get_by_role("img", name=re.compile("3 calls in all"))).to_be_visible()
    await page.get_by_text("The days as a table").click()
    await expect(page.get_by_role("region", name="Usage by day").get_by_role("row")).to_have_count(2)

    limits = page.get_by_role("list", name="Limits")
    await expect(limits.get_by_role("listitem").filter(has_text="Calls a minute")).to_contain_text("of 40 left")
    await expect(limits.get_by_role("listitem").filter(has_text="Money a day")).to_contain_text(
        re.compile(r"\$2\.\d\d of \$2\.50 left")
    )
    await accessible(page)


async def test_the_theme_is_chosen_remembered_and_the_same_in_all_tabs(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    other = await tabs.open("/account")
    await page.get_by_role("radio", name="Dark").check()
    for one in (page, other):
        await expect(one.locator("html")).to_have_attribute("data-theme", "dark")
    await accessible(page)
    await page.reload()
    await expect(page.get_by_role("radio", name="Dark")).to_be_checked()
    await page.get_by_role("radio", name="As the system").check()
    await expect(other.get_by_role("radio", name="As the system")).to_be_checked()
