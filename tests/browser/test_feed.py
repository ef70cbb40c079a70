"""The feed: what is in it, what comes, and how it goes on when the network does not."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.async_api import Page, Request, expect

from tests.browser.people import NewPerson
from tests.browser.tabs import Tabs, accessible, answered, place_of, stands_at
from tests.support.provider import Behaviour

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLE = Behaviour().text
EXAMPLES_MS = 60_000  # they are written after the posts are there, few at a time


def a_tag() -> str:
    """A tag that no other test uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


async def first_title(page: Page) -> str:
    return await page.locator("article h2").first.inner_text()


async def test_new_posts_are_announced_and_nothing_jumps(tabs: Tabs, new_person: NewPerson) -> None:
    ada, tag = await new_person("Ada"), a_tag()
    await ada.publish("The first", tags=(tag,))
    page = await tabs.open(f"/tag/{tag}")
    await expect(page.locator("article")).to_have_count(1)
    await accessible(page)

    await ada.publish("The second", tags=(tag,))
    await ada.publish("Elsewhere", tags=(a_tag(),))
    await ada.publish("The third", tags=(tag,))

    button = page.get_by_role("button", name="2 new posts")
    await expect(button).to_be_visible()
    await expect(page.locator("article")).to_have_count(1)
    await accessible(page)
    await button.click()
    await expect(page.locator("article")).to_have_count(3)
    assert await first_title(page) == "The third"
    await expect(button).to_have_count(0)


async def test_one_likes_and_others_see_the_count(tabs: Tabs, new_person: NewPerson) -> None:
    ada, tag = await new_person("Ada"), a_tag()
    await ada.publish("Likeable", tags=(tag,))
    page = await tabs.open(f"/tag/{tag}", person=ada)
    heart = page.get_by_role("button", name=re.compile("Like .Likeable."))
    await answered(page, "LikePost", heart)
    await expect(heart).to_have_attribute("aria-pressed", "true")
    await expect(heart).to_have_text("1")

    await page.reload()
    await expect(heart).to_have_attribute("aria-pressed", "true")
    await heart.click()
    await expect(heart).to_have_text("0")


async def test_liking_without_a_session_asks_to_log_in_and_goes_on(tabs: Tabs, new_person: NewPerson) -> None:
    ada, tag = await new_person("Ada"), a_tag()
    await ada.publish("Likeable", tags=(tag,))
    page = await tabs.open(f"/tag/{tag}")
    await page.get_by_role("button", name=re.compile("Like .Likeable.")).click()

    dialog = page.get_by_role("dialog", name="Log in")
    await expect(dialog).to_be_visible()
    await accessible(page)
    await dialog.get_by_label("E-mail").fill(ada.email)
    await dialog.get_by_label("Password", exact=True).fill(ada.password)
    await page.keyboard.press("Enter")

    await expect(dialog).to_have_count(0)
    heart = page.get_by_role("button", name=re.compile("Like .Likeable."))
    await expect(heart).to_have_attribute("aria-pressed", "true")
    await expect(heart).to_have_text("1")


async def test_several_tabs_share_one_watch_and_it_moves_on_with_its_tab(tabs: Tabs, new_person: NewPerson) -> None:
    ada, tag = await new_person("Ada"), a_tag()
    await ada.publish("The first", tags=(tag,))
    watches: list[str] = []

    def see(request: Request) -> None:
        if "WatchFeed" in request.url:
            watches.append(request.url)

    tabs.context.on("request", see)
    first = await tabs.open(f"/tag/{tag}")
    second = await tabs.open(f"/tag/{tag}")
    await ada.publish("The second", tags=(tag,))
    for page in (first, second):
        await expect(page.get_by_role("button", name="1 new post")).to_be_visible()
    assert len(watches) == 1

    await first.close()
    await ada.publish("The third", tags=(tag,))
    await expect(second.get_by_role("button", name="2 new posts")).to_be_visible()
    assert len(watches) == 2


async def test_a_lost_network_is_shown_and_what_came_meanwhile_arrives(tabs: Tabs, new_person: NewPerson) -> None:
    tabs.allow("ERR_INTERNET_DISCONNECTED")
    ada, tag = await new_person("Ada"), a_tag()
    await ada.publish("The first", tags=(tag,))
    page = await tabs.open(f"/tag/{tag}")
    await expect(page.locator("article")).to_have_count(1)

    await tabs.context.set_offline(True)
    await expect(page.get_by_text("You are offline")).to_be_visible()
    await accessible(page)
    await ada.publish("Written meanwhile", tags=(tag,))
    await tabs.context.set_offline(False)

    await expect(page.get_by_role("button", name="1 new post")).to_be_visible()
    await expect(page.get_by_text("You are offline")).to_have_count(0)


async def test_older_posts_come_by_a_button_and_going_back_finds_the_place(tabs: Tabs, new_person: NewPerson) -> None:
    ada, tag = await new_person("Ada"), a_tag()
    for number in range(22):
        await ada.publish(f"Number {number}", tags=(tag,))
    page = await tabs.open(f"/tag/{tag}")
    await expect(page.locator("article")).to_have_count(20)
    await page.get_by_role("button", name="Show older posts").click()
    await expect(page.locator("article")).to_have_count(22)
    # Examples that are still to come would move what stands below them.
    await expect(page.get_by_text(EXAMPLE)).to_have_count(22, timeout=EXAMPLES_MS)

    link = page.get_by_role("link", name="Number 1", exact=True)
    await link.evaluate("link => link.scrollIntoView({block: 'center', behavior: 'instant'})")
    place = await place_of(link)
    assert await page.evaluate("scrollY") > 0
    await link.click()
    await expect(page.get_by_role("heading", level=1, name="Number 1")).to_be_visible()
    await page.go_back()
    await expect(page.locator("article")).to_have_count(22)
    await stands_at(page, link, place)


async def test_going_back_finds_the_post_though_others_above_it_have_gone(tabs: Tabs, new_person: NewPerson) -> None:
    ada, tag = await new_person("Ada"), a_tag()
    posts = [await ada.publish(f"Number {number}", tags=(tag,)) for number in range(12)]
    page = await tabs.open(f"/tag/{tag}")
    await expect(page.get_by_text(EXAMPLE)).to_have_count(12, timeout=EXAMPLES_MS)
    link = page.get_by_role("link", name="Number 2", exact=True)
    await link.evaluate("link => link.scrollIntoView({block: 'center', behavior: 'instant'})")
    place = await place_of(link)
    await link.click()
    await expect(page.get_by_role("heading", level=1, name="Number 2")).to_be_visible()
    for post in posts[-3:]:
        await ada.call("DELETE", f"/api/v1/posts/{post['postId']}")
    await page.go_back()
    await expect(page.locator("article")).to_have_count(9)
    await stands_at(page, link, place)


async def test_going_back_finds_the_place_on_a_page_that_reads_its_list_anew(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    for number in range(12):
        await ada.publish(f"Number {number}")
    page = await tabs.open(f"/people/{ada.user_id}")
    await expect(page.get_by_text(EXAMPLE)).to_have_count(12, timeout=EXAMPLES_MS)
    link = page.get_by_role("link", name="Number 2", exact=True)
    await link.evaluate("link => link.scrollIntoView({block: 'center', behavior: 'instant'})")
    place = await place_of(link)
    await link.click()
    await expect(page.get_by_role("heading", level=1, name="Number 2")).to_be_visible()
    await page.go_back()
    await expect(page.locator("article")).to_have_count(12)
    await stands_at(page, link, place)


async def test_an_empty_tag_says_so_and_a_wrong_one_gets_help(tabs: Tabs) -> None:
    page = await tabs.open(f"/tag/{a_tag()}")
    await expect(page.get_by_role("heading", name=re.compile("No post is tagged"))).to_be_visible()
    await accessible(page)
    await page.goto("/tag/Not a tag")
    await expect(page.get_by_role("alert")).to_contain_text("lower-case")


ATTACKS = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "[click](javascript:alert(1)) ![x](https://example.com/x.png)",
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} %3Cscript%3E",
)


async def test_what_people_write_is_text_and_nothing_else(tabs: Tabs, new_person: NewPerson) -> None:
    eve, tag = await new_person("<b>Eve</b> & 'co'"), a_tag()
    for attack in ATTACKS:
        await eve.publish(attack, attack, tags=(tag,))
    page = await tabs.open("/")
    page.on("dialog", lambda dialog: tabs.problems.append(f"a dialog: {dialog.message}"))
    await page.goto(f"/tag/{tag}")
    await expect(page.locator("article")).to_have_count(len(ATTACKS))

    for attack in ATTACKS:
        await expect(page.get_by_role("heading", name=attack, exact=True)).to_be_visible()
    await expect(page.get_by_role("link", name="<b>Eve</b> & 'co'").first).to_be_visible()
    assert await page.locator("main img, main script, main b, main iframe").count() == 0
    links = await page.locator("main a").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(links) == {"http:"}
