"""Logging in by a real OpenID Connect provider, in the browser: its pages, our page, the session and the account."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from services.local.testing import LocalMesh, local_mesh
from tests.browser.people import NewPerson
from tests.browser.tabs import Tabs, accessible
from tests.mesh.conftest import EDGE_WIDE_OPEN
from tests.support.oidc_provider import running_provider

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    """A mesh of its own, which knows the provider."""
    with running_provider() as provider:
        file = provider.settings_file(tmp_path_factory.mktemp("oidc"))
        with local_mesh(edge=EDGE_WIDE_OPEN, environment={"PROMPTMESH_OIDC_FILE": str(file)}) as running:
            yield running


async def at_the_provider(page: Page, name: str) -> None:
    """Logs in at the provider and agrees."""
    await page.locator("input[name=login]").fill(name)
    await page.locator("input[name=password]").fill("any")
    await page.locator("button[type=submit]").click()
    await page.get_by_role("button", name="Continue").click()


async def test_one_logs_in_by_it_and_the_account_says_so(tabs: Tabs, new_person: NewPerson) -> None:
    tabs.allow(".*")  # the provider's pages are not ours
    page = await tabs.open("/log-in?then=/account")
    await page.get_by_role("button", name="Log in with Acme").click()
    await at_the_provider(page, "grace")
    await expect(page).to_have_url(re.compile(r"\d/account$"))
    linked = page.get_by_role("list", name="Linked providers")
    await expect(linked).to_contain_text("grace@people.example")
    await accessible(page)
    await linked.get_by_role("button", name="Unlink Acme").click()
    dialog = page.get_by_role("dialog", name="Unlink it?")
    await dialog.get_by_role("button", name="Unlink").click()
    await expect(dialog.get_by_role("alert")).to_be_visible()  # the last way in


async def test_who_is_logged_in_links_it(tabs: Tabs, new_person: NewPerson) -> None:
    tabs.allow(".*")
    page = await tabs.open("/account", person=await new_person("Ada"))
    await page.get_by_role("button", name="Link with Acme").click()
    await at_the_provider(page, "somebody-else")
    await expect(page).to_have_url(re.compile(r"\d/account$"))
    await expect(page.get_by_role("list", name="Linked providers")).to_contain_text("somebody-else@people.example")
