"""A post's page: what it shows to whom, liking, sharing, deleting, and finding one's way back."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.async_api import expect

from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, accessible, copied, place_of, scrolled_to, stands_at
from tests.browser.wire import UNAUTHENTICATED, refuse
from tests.mesh.people import DOUBTFUL, FORBIDDEN
from tests.mesh.upstreams import Upstreams
from tests.support.provider import Behaviour

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_ID = "01999999-0000-7000-8000-000000000000"


async def held(author: Person, title: str = "Doubtful") -> dict[str, object]:
    return await author.until(await author.write(title, DOUBTFUL), "POST_STATE_HELD")


async def changed(author: Person, post: dict[str, object], **fields: object) -> None:
    await author.call("PATCH", f"/api/v1/posts/{post['postId']}?updateMask={','.join(fields)}", fields)


async def test_everyone_sees_the_prompt_its_example_and_what_it_took(
    tabs: Tabs, new_person: NewPerson, upstreams: Upstreams
) -> None:
    upstreams.examples.default = Behaviour(text="Dark **waves** under the moon.")
    ada = await new_person("Ada")
    post = await ada.publish("A poem", body="Write a *poem*.\n\n- short\n- sad", tags=("sea",))
    page = await tabs.open(f"/p/{post['postId']}")

    await expect(page.get_by_role("heading", level=1, name="A poem")).to_be_visible()
    await expect(page).to_have_title("A poem · Promptmesh")
    await expect(page.get_by_role("region", name="Prompt").get_by_role("listitem").first).to_have_text("short")
    await expect(page.get_by_role("link", name="Ada", exact=True)).to_have_attribute("href", f"/people/{ada.user_id}")
    await expect(page.get_by_role("link", name="sea")).to_have_attribute("href", "/tag/sea")
    example = page.get_by_role("region", name="Example")
    await expect(example.get_by_text("Dark waves under the moon.")).to_be_visible()
    await expect(example).to_contain_text("writer")
    await expect(example).to_contain_text("5 out")
    await expect(example).to_contain_text("Cost$0")
    await expect(page.get_by_role("link", name="Try in the playground")).to_have_attribute(
        "href", f"/playground?post={post['postId']}"
    )
    await expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    await expect(page.get_by_text("Published", exact=True)).to_have_count(0)
    await accessible(page)


async def test_the_prompt_and_the_link_can_be_copied(tabs: Tabs, new_person: NewPerson) -> None:
    await tabs.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ada = await new_person("Ada")
    post = await ada.publish("To be copied", body="Line one\n**two**")
    page = await tabs.open(f"/p/{post['postId']}")
    assert await copied(page, page.get_by_role("button", name="Copy prompt")) == "Line one\n**two**"
    assert await copied(page, page.get_by_role("button", name="Copy link")) == page.url


async def test_an_example_that_nobody_could_write_or_that_was_withheld_says_so(
    tabs: Tabs, new_person: NewPerson, upstreams: Upstreams
) -> None:
    ada = await new_person("Ada")
    upstreams.examples.default = Behaviour(text=" ")
    empty = await ada.publish("Nothing comes of it")
    page = await tabs.open(f"/p/{empty['postId']}")
    await expect(page.get_by_text("There is no example")).to_be_visible()
    await expect(page.get_by_text("The model answered nothing.")).to_be_visible()
    await accessible(page)

    upstreams.examples.default = Behaviour(text=FORBIDDEN)
    withheld = await ada.publish("Something bad comes of it", body="Ask a question.")
    page = await tabs.open(f"/p/{withheld['postId']}")
    await expect(page.get_by_text("The example was withheld")).to_be_visible()
    upstreams.examples.default = Behaviour()


async def test_an_author_sees_what_is_in_review_and_what_others_see(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("The first title", body="The first body.")
    await changed(ada, post, title="The second title", body=DOUBTFUL)
    await ada.until(post, "POST_STATE_HELD")

    own = await tabs.open(f"/p/{post['postId']}", person=ada)
    await expect(own.get_by_role("heading", level=1, name="The second title")).to_be_visible()
    await expect(own.get_by_text("Held for a moderator").first).to_be_visible()
    await expect(own.get_by_role("list", name="Reasons")).to_contain_text("override a model's instructions")
    await own.get_by_role("button", name="Show what others see").click()
    published = own.get_by_role("region", name="as others see it")
    await expect(published).to_contain_text("The first body.")
    await expect(published).not_to_contain_text(DOUBTFUL)
    await expect(own.get_by_role("heading", name="Example of revision 1")).to_be_visible()
    await accessible(own)


async def test_a_moderator_sees_what_is_held_and_the_way_to_the_queue(tabs: Tabs, new_person: NewPerson) -> None:
    tabs.allow("404")
    post = await held(await new_person("Ada"))
    page = await tabs.open(f"/p/{post['postId']}", person=await new_person("Mo", roles=("ROLE_MODERATOR",)))
    await expect(page.get_by_role("heading", level=1, name="Doubtful")).to_be_visible()
    await expect(page.get_by_role("list", name="Reasons")).to_be_visible()
    await expect(page.get_by_role("link", name="To the moderation queue")).to_have_attribute("href", "/moderation")
    await expect(page.get_by_role("link", name="Edit")).to_have_count(0)


async def test_strangers_see_the_published_revision_alone(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("The first title", body="The first body.")
    await changed(ada, post, title="The second title", body=DOUBTFUL)
    await ada.until(post, "POST_STATE_HELD")
    page = await tabs.open(f"/p/{post['postId']}")
    await expect(page.get_by_role("heading", level=1, name="The first title")).to_be_visible()
    await expect(page.locator("#main")).not_to_contain_text("Held")
    await expect(page.locator("#main")).not_to_contain_text(DOUBTFUL)


async def test_what_is_not_there_or_not_published_says_so(tabs: Tabs, new_person: NewPerson) -> None:
    tabs.allow("404")
    unseen = await held(await new_person("Ada"))
    for path in (f"/p/{NO_ID}", "/p/no-id-at-all", f"/p/{unseen['postId']}"):
        page = await tabs.open(path)
        await expect(page.get_by_role("heading", name="There is no such post")).to_be_visible()
        await expect(page.locator("#main").get_by_role("link", name="Log in")).to_be_visible()
        await page.close()
    page = await tabs.open(f"/people/{NO_ID}")
    await expect(page.get_by_role("heading", name="Nothing is published here")).to_be_visible()
    await accessible(page)
    await page.goto("/people/no-id")
    await expect(page.get_by_role("heading", name="Nothing is published here")).to_be_visible()


async def test_a_like_shows_on_every_tab_and_page(tabs: Tabs, new_person: NewPerson) -> None:
    ada, tag = await new_person("Ada"), f"t-{uuid.uuid4().hex[:12]}"
    post = await ada.publish("Likeable", tags=(tag,))
    first = await tabs.open(f"/p/{post['postId']}", person=ada)
    second = await tabs.open(f"/p/{post['postId']}")
    feed = await tabs.open(f"/tag/{tag}")
    button = first.get_by_role("button", name=re.compile("^Like "))
    await button.click()
    for page in (first, second, feed):
        shown = page.get_by_role("button", name=re.compile("^Like "))
        await expect(shown).to_have_attribute("aria-pressed", "true")
        await expect(shown).to_have_text("1")
    await second.get_by_role("button", name=re.compile("^Like ")).click()
    await expect(button).to_have_attribute("aria-pressed", "false")
    await expect(button).to_have_text("0")


async def test_a_session_that_ends_takes_nothing_away_and_comes_back(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("Stays here")
    page = await tabs.open(f"/p/{post['postId']}", person=ada)
    heart = page.get_by_role("button", name=re.compile("^Like "))
    await expect(heart).to_be_visible()
    await tabs.context.clear_cookies()
    liking = re.compile("PostService/LikePost$")
    await page.route(liking, lambda route: refuse(route, UNAUTHENTICATED, "TOKEN_EXPIRED", "The token has expired."))
    await heart.click()
    dialog = page.get_by_role("dialog", name="Log in")
    await expect(dialog).to_be_visible()
    await expect(page.locator("#main").get_by_text("Your session has ended")).to_be_visible()
    await expect(page.locator("h1")).to_have_text("Stays here")
    await page.unroute(liking)
    await dialog.get_by_label("Password", exact=True).fill(ada.password)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Your session has ended")).to_have_count(0)
    await expect(heart).to_have_attribute("aria-pressed", "true")
    await expect(heart).to_have_text("1")


async def test_deleting_asks_first_and_other_tabs_see_it(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("Short-lived")
    page = await tabs.open(f"/p/{post['postId']}", person=ada)
    other = await tabs.open(f"/p/{post['postId']}")
    await expect(other.get_by_role("heading", level=1, name="Short-lived")).to_be_visible()

    await page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete this post?")
    await accessible(page)
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("button", name="Delete")).to_be_focused()

    await page.get_by_role("button", name="Delete").click()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(page).to_have_url(re.compile(f"/people/{ada.user_id}$"))
    await expect(page.get_by_role("log")).to_contain_text("The post was deleted.")
    await expect(page.get_by_text("You have written nothing yet")).to_be_visible()
    await expect(other.get_by_role("heading", name="This post is no longer here")).to_be_visible()
    await expect(other.locator("#main")).not_to_contain_text("Short-lived")


async def test_back_and_forward_keep_place_and_scroll(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    lines = "\n\n".join(f"Paragraph {number} of a long prompt." for number in range(80))
    post = await ada.publish("A long read", body=lines, tags=("sea",))
    page = await tabs.open(f"/p/{post['postId']}")
    await expect(page.get_by_role("button", name="Copy example")).to_be_visible()  # nothing grows any more
    link = page.get_by_role("link", name="sea")
    await link.evaluate("link => link.scrollIntoView({block: 'center', behavior: 'instant'})")
    place = await place_of(link)
    assert await page.evaluate("scrollY") > 0
    await link.click()
    await expect(page.get_by_role("heading", level=1, name="#sea")).to_be_visible()
    await scrolled_to(page, 0)

    await page.go_back()
    await expect(page.get_by_role("heading", level=1, name="A long read")).to_be_visible()
    await stands_at(page, link, place)
    await page.go_forward()
    await expect(page.get_by_role("heading", level=1, name="#sea")).to_be_visible()

    await page.go_back()
    await page.reload()
    await expect(page.get_by_role("heading", level=1, name="A long read")).to_be_visible()


async def test_a_profile_counts_what_is_published_and_shows_its_owner_the_rest(
    tabs: Tabs, new_person: NewPerson
) -> None:
    tabs.allow("404")
    ada = await new_person("Ada")
    post = await ada.publish("In the open")
    await ada.call("POST", f"/api/v1/posts/{post['postId']}:like", {})
    await ada.until(await ada.write("Refused", FORBIDDEN), "POST_STATE_REJECTED")
    await held(ada)

    page = await tabs.open(f"/people/{ada.user_id}")
    await expect(page.get_by_role("heading", level=1, name="Ada")).to_be_visible()
    await expect(page.get_by_text("1 post published · 1 like")).to_be_visible()
    await expect(page.locator("article h2")).to_have_text(["In the open"])
    await expect(page.get_by_role("tab")).to_have_count(0)
    await accessible(page)

    page = await tabs.open(f"/people/{ada.user_id}", person=ada)
    await expect(page.locator("article h2")).to_have_text(["Doubtful", "Refused", "In the open"])
    await page.get_by_role("tab", name="Rejected").click()
    await expect(page.locator("article h2")).to_have_text(["Refused"])
    await page.keyboard.press("ArrowLeft")
    await expect(page.locator("article h2")).to_have_text(["Doubtful"])
    await accessible(page)
    await page.get_by_role("link", name="Doubtful").click()
    await expect(page.get_by_role("list", name="Reasons")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("tab", name="In review")).to_have_attribute("aria-selected", "true")
    await expect(page.locator("article h2")).to_have_text(["Doubtful"])


async def test_a_long_profile_comes_in_pages(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    for number in range(21):
        await ada.write(f"Number {number}")
    page = await tabs.open(f"/people/{ada.user_id}", person=ada)
    await expect(page.locator("article")).to_have_count(20)
    await page.get_by_role("button", name="Show older posts").click()
    await expect(page.locator("article")).to_have_count(21)
    await expect(page.get_by_role("button", name="Show older posts")).to_have_count(0)
