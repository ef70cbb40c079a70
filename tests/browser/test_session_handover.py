"""A tab that somebody else takes over, or that its person leaves: nothing of theirs goes on in another's name."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, settled
from tests.browser.wire import UNAUTHENTICATED, refuse
from tests.mesh.upstreams import Upstreams
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEPT = "JSON.stringify({...sessionStorage})"
REFRESH = re.compile("AuthService/RefreshSession$")


async def _ends(page: Page, method: str) -> re.Pattern[str]:
    """From now on calls of the method find the session ended; answers what ends that."""
    calls = re.compile(f"Service/({method}|RefreshSession)$")
    await page.route(calls, lambda route: refuse(route, UNAUTHENTICATED, "TOKEN_EXPIRED", "The token has expired."))
    return calls


async def _typed(page: Page) -> None:
    await page.get_by_label("Title").fill("Typed by Ada")
    await page.get_by_label("Prompt").fill("Write a short poem about a door that closes.")


async def _logs_in(page: Page, person: Person) -> None:
    dialog = page.get_by_role("dialog", name="Log in")
    await dialog.get_by_label("E-mail").fill(person.email)
    await dialog.get_by_label("Password", exact=True).fill(person.password)
    await page.keyboard.press("Enter")


async def test_somebody_else_who_logs_in_again_takes_nothing_over(tabs: Tabs, new_person: NewPerson) -> None:
    ada, eve = await new_person("Ada"), await new_person("Eve")
    page = await tabs.open("/write", person=ada)
    await _typed(page)
    ended = await _ends(page, "CreatePost")
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_role("dialog", name="Log in")).to_contain_text("nothing you typed is lost")
    assert "Typed by Ada" in await page.evaluate(KEPT)
    await page.unroute(ended)
    await _logs_in(page, eve)

    await expect(page.get_by_role("button", name="Account of Eve")).to_be_visible()
    await expect(page.get_by_role("heading", level=1, name="Write a post")).to_be_visible()
    await expect(page.get_by_label("Title")).to_have_value("")
    assert "Typed by Ada" not in await page.evaluate(KEPT)
    for person in (ada, eve):
        assert not (await person.call("GET", f"/api/v1/posts?authorId={person.user_id}")).get("posts")


async def test_nor_do_they_after_a_reload(tabs: Tabs, new_person: NewPerson) -> None:
    ada, eve = await new_person("Ada"), await new_person("Eve")
    page = await tabs.open("/write", person=ada)
    await _typed(page)
    await tabs.context.clear_cookies()
    page.on("dialog", lambda dialog: dialog.accept())
    await page.reload()
    await expect(page.get_by_role("heading", name="Log in first")).to_be_visible()
    await page.locator("#main").get_by_role("link", name="Log in").click()
    await page.get_by_label("E-mail").fill(eve.email)
    await page.get_by_label("Password", exact=True).fill(eve.password)
    await page.locator("#main").get_by_role("button", name="Log in", exact=True).click()
    await expect(page.get_by_role("heading", level=1, name="Write a post")).to_be_visible()
    await expect(page.get_by_label("Title")).to_have_value("")
    assert "Typed by Ada" not in await page.evaluate(KEPT)


async def test_a_tab_of_one_person_becomes_that_of_who_logs_in_in_another(tabs: Tabs, new_person: NewPerson) -> None:
    ada, eve = await new_person("Ada"), await new_person("Eve")
    first = await tabs.open("/write", person=ada)
    await _typed(first)
    second = await tabs.open("/keys")
    await expect(second.get_by_role("button", name="Account of Ada")).to_be_visible()
    ended = await _ends(second, "ListApiKeys")
    await second.reload()
    await expect(second.get_by_role("heading", name="Log in first")).to_be_visible()
    await second.unroute(ended)
    await second.locator("#main").get_by_role("link", name="Log in").click()
    await second.get_by_label("E-mail").fill(eve.email)
    await second.get_by_label("Password", exact=True).fill(eve.password)
    await second.locator("#main").get_by_role("button", name="Log in", exact=True).click()
    for page in (first, second):
        await expect(page.get_by_role("button", name="Account of Eve")).to_be_visible()
    await expect(first.get_by_label("Title")).to_have_value("")
    assert "Typed by Ada" not in await first.evaluate(KEPT)


@pytest.fixture
def provider(upstreams: Upstreams) -> Iterator[MisbehavingProvider]:
    yield upstreams.calls
    upstreams.calls.default = Behaviour()
    upstreams.calls.recover()


async def test_logging_out_while_an_answer_comes_keeps_nothing_of_it(
    tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider
) -> None:
    page = await tabs.open("/playground", person=await new_person("Ada"))
    provider.then(Behaviour(text="Once upon a time.", fault=Fault.STALL))
    await page.get_by_role("textbox", name="Message", exact=True).fill("Something private.")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("article").last).to_contain_text("Once upon")
    assert "Something private." in await page.evaluate(KEPT)
    await page.get_by_role("button", name="Account of Ada").click()
    async with page.expect_event("requestfailed", lambda request: "Generate" in request.url):
        await page.get_by_role("button", name="Log out", exact=True).click()
    await expect(page.get_by_role("link", name="Register")).to_be_visible()
    await expect(page.get_by_role("heading", name="Feed")).to_be_visible()
    await settled(page)
    assert "Something private." not in await page.evaluate(KEPT)


async def test_a_session_that_cannot_be_ended_is_told(tabs: Tabs, new_person: NewPerson) -> None:
    tabs.allow("ERR_")
    page = await tabs.open("/account", person=await new_person("Ada"))
    delete = re.compile("AuthService/DeleteSession$")
    await page.route(delete, lambda route: refuse(route, UNAUTHENTICATED, "TOKEN_EXPIRED", "The token has expired."))
    await page.route(REFRESH, lambda route: route.abort("connectionrefused"))
    await page.locator("#main").get_by_role("button", name="Log out", exact=True).click()
    await expect(page.get_by_role("log")).to_contain_text(
        "You are logged out here, but the server could not be reached"
    )
    await expect(page.get_by_role("log")).to_contain_text(re.compile(r"stays open until .*\d\d"))
    await expect(page.get_by_role("link", name="Register")).to_be_visible()


async def test_a_log_out_that_is_refused_renews_and_ends_the_session(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/account", person=await new_person("Ada"))
    delete = re.compile("AuthService/DeleteSession$")
    await page.route(
        delete, lambda route: refuse(route, UNAUTHENTICATED, "TOKEN_EXPIRED", "The token has expired."), times=1
    )
    await page.locator("#main").get_by_role("button", name="Log out", exact=True).click()
    await expect(page.get_by_role("log")).to_contain_text("You are logged out.")
    assert await tabs.context.cookies() == []
