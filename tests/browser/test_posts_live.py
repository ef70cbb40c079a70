"""Examples as they are written: streamed in, shared by tabs, and whole after the network was lost."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, Request, expect

from services.local.testing import LocalMesh
from tests.browser.cable import laid_cable
from tests.browser.people import NewPerson
from tests.browser.tabs import Tabs, accessible
from tests.mesh.upstreams import Upstreams
from tests.support.provider import Behaviour

pytestmark = pytest.mark.asyncio(loop_scope="session")

STORY = " ".join(f"The keeper counts ship number {n} and writes it down." for n in range(1, 121))
PACE_S = 0.05  # a minute for all of it, which none waits for: a test ends it when it has seen enough
PATIENCE_MS = 60_000


@pytest_asyncio.fixture(loop_scope="session")
async def slow(upstreams: Upstreams) -> AsyncIterator[Behaviour]:
    """A model that writes so slowly that one can watch; without a pace it says the rest at once."""
    before, upstreams.examples.default = upstreams.examples.default, Behaviour(text=STORY, pace_s=PACE_S)
    yield upstreams.examples.default
    upstreams.examples.default.pace_s = 0
    upstreams.examples.default = before


def watches(tabs: Tabs) -> list[str]:
    seen: list[str] = []

    def see(request: Request) -> None:
        if "WatchPost" in request.url:
            seen.append(request.url)

    tabs.context.on("request", see)
    return seen


async def streams(page: Page) -> None:
    """Some of the example is there, and not all."""
    await expect(page.get_by_text("characters so far")).to_be_visible()
    await expect(page.get_by_role("region", name="Example")).to_contain_text("ship number 1 ")


async def whole(page: Page) -> None:
    example = page.get_by_role("region", name="Example")
    await expect(example.get_by_role("button", name="Copy example")).to_be_visible(timeout=PATIENCE_MS)
    await expect(example.locator("p").first).to_have_text(STORY)


async def test_an_example_streams_into_two_tabs_over_one_watch(
    tabs: Tabs, new_person: NewPerson, slow: Behaviour
) -> None:
    ada = await new_person("Ada")
    seen = watches(tabs)
    post = await ada.publish("A story")
    first = await tabs.open(f"/p/{post['postId']}")
    second = await tabs.open(f"/p/{post['postId']}")
    for page in (first, second):
        await streams(page)
    await accessible(first)
    assert len(seen) == 1
    slow.pace_s = 0
    for page in (first, second):
        await whole(page)
    assert len(seen) == 1

    # The tab that read the stream is closed; the other goes on.
    await first.close()
    await ada.call("DELETE", f"/api/v1/posts/{post['postId']}")
    await expect(second.get_by_role("heading", name="This post is no longer here")).to_be_visible()
    assert len(seen) == 2


async def test_a_tab_that_takes_over_in_the_middle_misses_nothing(
    tabs: Tabs, new_person: NewPerson, slow: Behaviour
) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("A story")
    first = await tabs.open(f"/p/{post['postId']}")
    second = await tabs.open(f"/p/{post['postId']}")
    for page in (first, second):
        await streams(page)
    await first.close()
    slow.pace_s = 0
    await whole(second)


async def test_a_hidden_tab_watches_nothing_and_catches_up_when_it_is_seen(
    tabs: Tabs, new_person: NewPerson, slow: Behaviour
) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("A story")
    seen = watches(tabs)
    page = await tabs.open(f"/p/{post['postId']}")
    await streams(page)
    async with page.expect_event("requestfailed", lambda request: "WatchPost" in request.url):
        await turn(page, "hidden")
    slow.pace_s = 0
    await turn(page, "visible")
    await whole(page)
    assert len(seen) == 2


async def turn(page: Page, visibility: str) -> None:
    """Hides a tab or shows it, as far as its page can tell."""
    await page.evaluate(
        "(now) => { Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => now });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        visibility,
    )


async def test_a_cut_connection_is_shown_and_the_example_goes_on_without_loss(
    tabs: Tabs, new_person: NewPerson, slow: Behaviour, mesh: LocalMesh
) -> None:
    tabs.allow("ERR_")
    ada = await new_person("Ada")
    post = await ada.publish("A story")
    seen = watches(tabs)
    async with laid_cable(mesh.edge_port) as cable:
        page = await tabs.open(f"http://127.0.0.1:{cable.port}/p/{post['postId']}")
        await streams(page)
        await cable.cut()
        await expect(page.get_by_text("The connection was lost. Reconnecting")).to_be_visible()
        await expect(page.get_by_role("region", name="Example")).to_contain_text("ship number 1 ")
        await accessible(page)
        await cable.mend()
        await expect(page.get_by_text("Connected again.")).to_be_visible(timeout=PATIENCE_MS)
        await streams(page)
        assert len(seen) >= 2
        slow.pace_s = 0
        await whole(page)
        await page.close()


async def test_being_offline_is_shown_and_passes(tabs: Tabs, new_person: NewPerson, slow: Behaviour) -> None:
    tabs.allow("ERR_INTERNET_DISCONNECTED")
    ada = await new_person("Ada")
    post = await ada.publish("A story")
    page = await tabs.open(f"/p/{post['postId']}")
    await streams(page)
    await tabs.context.set_offline(True)
    await expect(page.get_by_text("You are offline")).to_be_visible()
    await page.get_by_role("button", name=re.compile("^Like ")).click()
    await expect(page.get_by_role("log")).to_contain_text("could not be reached")
    await expect(page.get_by_role("button", name=re.compile("^Like "))).to_have_text("0")
    await tabs.context.set_offline(False)
    await expect(page.get_by_text("You are offline")).to_have_count(0)
    slow.pace_s = 0
    await whole(page)


async def test_a_page_that_is_reloaded_in_the_middle_goes_on(
    tabs: Tabs, new_person: NewPerson, slow: Behaviour
) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("A story")
    page = await tabs.open(f"/p/{post['postId']}")
    await streams(page)
    await page.reload()
    await streams(page)
    slow.pace_s = 0
    await whole(page)


async def test_a_server_that_cannot_be_reached_is_told_and_the_page_comes_by_itself(
    tabs: Tabs, new_person: NewPerson
) -> None:
    tabs.allow("ERR_")
    ada = await new_person("Ada")
    await ada.publish("Comes late")
    page = await tabs.open("/")
    calls = re.compile("PostService/(WatchPost|GetPost)$")
    await page.route(calls, lambda route: route.abort("connectionrefused"))
    await page.get_by_role("link", name="Comes late").first.click()
    await expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    await expect(page.get_by_text("Reconnecting")).to_be_visible()
    await page.unroute(calls)
    await expect(page.get_by_role("heading", level=1, name="Comes late")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)
