"""Writing and editing: from the form to the example, and whatever comes between, without losing what was typed."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.people import PASSWORD, NewPerson
from tests.browser.tabs import Tabs, accessible
from tests.browser.wire import RESOURCE_EXHAUSTED, UNAUTHENTICATED, refuse
from tests.mesh.people import CLEAN, DOUBTFUL, FORBIDDEN
from tests.mesh.upstreams import Upstreams
from tests.support.provider import Behaviour

pytestmark = pytest.mark.asyncio(loop_scope="session")

STORY = " ".join(f"The keeper counts ship number {n} and writes it down." for n in range(1, 61))
CREATE = re.compile(r"PostService/CreatePost$")
# What a screen reader is told, in order: states pass too quickly to be waited for one by one.
LISTEN = """() => {
  window.told = [];
  new MutationObserver(() => {
    for (const one of document.querySelectorAll("#main [role=status], #main [aria-busy=true], #main progress")) {
      const said = one.getAttribute("aria-label") || one.textContent;
      if (!window.told.includes(said)) window.told.push(said);
    }
  }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
}"""


async def fill(page: Page, title: str, body: str = CLEAN) -> None:
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("Prompt").fill(body)


async def publish(page: Page) -> None:
    await page.get_by_role("button", name="Publish").click()


async def log_in_again(page: Page) -> None:
    dialog = page.get_by_role("dialog", name="Log in")
    await dialog.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)


async def test_from_registering_to_the_example_streaming_in(tabs: Tabs, upstreams: Upstreams) -> None:
    upstreams.examples.default = Behaviour(text=STORY, pace_s=0.02)
    page = await tabs.open("/register?then=/write")
    await page.get_by_label("Name").fill("Grace")
    await page.get_by_label("E-mail").fill("grace-writes@example.com")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Register").click()
    await expect(page.get_by_role("heading", level=1, name="Write a post")).to_be_visible()
    await accessible(page)
    await page.evaluate(LISTEN)
    await fill(page, "The lighthouse")
    await page.get_by_label("Tags").fill("sea")
    await page.keyboard.press("Enter")
    await page.get_by_label("Tags").fill("Short Story")  # left as it is typed: it counts
    await publish(page)

    await expect(page).to_have_url(re.compile("/p/"))
    await expect(page.get_by_role("button", name="Copy example")).to_be_visible(timeout=90_000)
    await expect(page.get_by_role("region", name="Example").locator("p").first).to_have_text(STORY)
    upstreams.examples.default = Behaviour()
    told = await page.evaluate("window.told")
    order = [
        next(index for index, said in enumerate(told) if said.startswith(words))
        for words in ("Being checked.", "Published. The example is being written", "Being written: ", "Published.")
    ]
    assert order[:3] == sorted(order[:3]), told
    assert any(STORY.startswith(said) and len(said) > 100 for said in told), "the example came whole"
    await expect(page.get_by_role("list", name="Tags").get_by_role("listitem")).to_have_text(["#sea", "#short-story"])

    await page.go_back()  # not into a form that has been sent
    await expect(page.get_by_role("heading", level=1, name="Write a post")).to_have_count(0)


async def test_a_refused_post_says_why_and_an_edit_mends_it(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/write", person=await new_person("Ada"))
    await fill(page, "Plumbing", FORBIDDEN)
    await publish(page)
    await expect(page.get_by_role("list", name="Reasons")).to_contain_text("It cannot be published.")
    await accessible(page)

    await page.get_by_role("link", name="Change it and send it again").click()
    await expect(page.get_by_label("Prompt")).to_have_value(FORBIDDEN)
    await accessible(page)
    await page.get_by_label("Prompt").fill(CLEAN)
    await page.get_by_role("button", name="Save and send").click()
    await expect(page.get_by_text("Published", exact=True)).to_be_visible()
    await expect(page.get_by_text("revision 2")).to_be_visible()
    await expect(page.get_by_role("list", name="Reasons")).to_have_count(0)


async def test_a_held_post_is_published_before_its_authors_eyes(tabs: Tabs, new_person: NewPerson) -> None:
    moderator = await new_person("Mo", roles=("ROLE_MODERATOR",))
    page = await tabs.open("/write", person=await new_person("Ada"))
    await fill(page, "A question", DOUBTFUL)
    await publish(page)
    await expect(page.get_by_text("A moderator decides; you need not wait here.")).to_be_visible()

    post_id = page.url.split("/")[-1]
    cases = (await moderator.call("GET", "/api/v1/moderation/cases?pageSize=100"))["cases"]
    (case,) = [one for one in cases if one["postId"] == post_id]
    await moderator.call("POST", f"/api/v1/moderation/cases/{case['caseId']}:resolve", {"decision": "VERDICT_ALLOW"})
    await expect(page.get_by_text("Published", exact=True)).to_be_visible()
    await expect(page.get_by_role("list", name="Reasons")).to_have_count(0)


async def test_rules_are_told_where_they_are_broken_and_tags_go_by_keyboard(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/write", person=await new_person("Ada"))
    await publish(page)
    await expect(page.get_by_label("Title")).to_be_focused()
    await expect(page.get_by_text("Give it a title.")).to_be_visible()
    await expect(page.get_by_text("Write the prompt.")).to_be_visible()

    await page.get_by_label("Prompt").fill("😀" * 20_001)
    await expect(page.get_by_text("20,001 of 20,000")).to_be_visible()
    await expect(page.get_by_text("Too long by 1 character.")).to_be_visible()

    tags = page.get_by_label("Tags")
    await tags.fill("c++")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("“c++” cannot be a tag")).to_be_visible()
    await expect(tags).to_have_value("c++")
    await accessible(page)
    await tags.fill("one, two ,One")
    await page.keyboard.press("Enter")
    added = page.get_by_role("list", name="Added").get_by_role("listitem")
    await expect(added).to_have_text(["#one", "#two"])
    await page.keyboard.press("Backspace")
    await expect(added).to_have_text(["#one"])
    await page.get_by_role("button", name="Remove tag one").click()
    await expect(added).to_have_count(0)
    await expect(tags).to_be_focused()

    # What only the server knows appears at its field too.
    await fill(page, "Turned \u202e around")
    await publish(page)
    await expect(page.get_by_text("turn the direction of text")).to_be_visible()
    await expect(page.get_by_label("Title")).to_have_value("Turned \u202e around")


async def test_a_draft_outlives_a_reload_and_can_be_dropped_and_taken_back(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/write", person=await new_person("Ada"))
    await fill(page, "Half a thought")
    page.on("dialog", lambda dialog: dialog.accept())  # that leaving a page with changes asks about
    await page.reload()
    await expect(page.get_by_label("Title")).to_have_value("Half a thought")
    await page.get_by_role("button", name="Drop it").click()
    await expect(page.get_by_label("Title")).to_have_value("")
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_label("Title")).to_have_value("Half a thought")
    await expect(page.get_by_label("Prompt")).to_have_value(CLEAN)


async def test_a_session_that_ends_while_one_types_loses_nothing(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/write", person=ada)
    await fill(page, "Typed for an hour")
    await tabs.context.clear_cookies()
    ended = lambda route: refuse(route, UNAUTHENTICATED, "TOKEN_EXPIRED", "The access token has expired.")  # noqa: E731
    await page.route(CREATE, ended)
    await publish(page)
    await expect(page.get_by_role("dialog", name="Log in")).to_contain_text("nothing you typed is lost")
    await page.unroute(CREATE)
    await log_in_again(page)
    await expect(page.get_by_role("heading", level=1, name="Typed for an hour")).to_be_visible()


async def test_an_answer_that_was_lost_makes_one_post(tabs: Tabs, new_person: NewPerson) -> None:
    tabs.allow("ERR_")
    ada = await new_person("Ada")
    page = await tabs.open("/write", person=ada)
    await fill(page, "Only once")
    lost = 0

    async def lose(route: Route) -> None:
        nonlocal lost
        await route.fetch()  # the mesh makes the post, and nobody hears of it
        lost += 1
        await route.abort("connectionreset")

    await page.route(CREATE, lose)
    await publish(page)
    await expect(page.get_by_role("alert")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    await page.reload()
    await page.unroute(CREATE)
    await publish(page)
    await expect(page.get_by_role("heading", level=1, name="Only once")).to_be_visible()
    assert lost >= 1
    posts = (await ada.call("GET", f"/api/v1/posts?authorId={ada.user_id}"))["posts"]
    assert [post["title"] for post in posts] == ["Only once"]


async def test_too_many_at_once_says_how_long_to_wait(tabs: Tabs, new_person: NewPerson) -> None:
    page = await tabs.open("/write", person=await new_person("Ada"))
    await fill(page, "Patience")
    busy = lambda route: refuse(route, RESOURCE_EXHAUSTED, "RATE_LIMITED", "Too many posts at once.", 40)  # noqa: E731
    await page.route(CREATE, busy)
    await publish(page)
    await expect(page.get_by_role("alert")).to_contain_text("Too many posts at once. Try again in 40 seconds.")
    await expect(page.get_by_label("Title")).to_have_value("Patience")
    await page.unroute(CREATE)
    await publish(page)
    await expect(page.get_by_role("heading", level=1, name="Patience")).to_be_visible()


async def test_an_edit_elsewhere_is_shown_beside_ones_own(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("Bridges", body="The old words.", tags=("one",))
    path = f"/p/{post['postId']}"
    page = await tabs.open(f"{path}/edit", person=ada)
    other = await tabs.open(f"{path}/edit")
    await other.get_by_label("Prompt").fill("Words from the other tab.")
    await other.get_by_label("Tags").fill("two")
    await other.get_by_role("button", name="Save and send").click()
    await expect(other.get_by_text("Published", exact=True)).to_be_visible()

    await page.get_by_label("Prompt").fill("My own words.")
    await page.get_by_role("button", name="Save and send").click()
    conflict = page.get_by_role("alert")
    await expect(conflict.get_by_role("group", name="Prompt, as saved")).to_have_text("Words from the other tab.")
    await expect(conflict.get_by_role("group", name="Prompt, as you have it")).to_have_text("My own words.")
    await expect(conflict).to_contain_text("left as it is saved: tags.")
    await accessible(page)

    await conflict.get_by_role("button", name="Take the saved text").click()
    await page.get_by_role("dialog", name="Drop your changes?").get_by_role("button", name="Cancel").click()
    page.on("dialog", lambda dialog: dialog.accept())
    await page.reload()  # the draft knows what it was begun from
    await expect(conflict.get_by_role("group", name="Prompt, as you have it")).to_have_text("My own words.")
    await conflict.get_by_role("button", name="Save mine instead").click()
    await expect(page.get_by_role("region", name="Prompt")).to_contain_text("My own words.")
    await expect(page.get_by_role("list", name="Tags").get_by_role("listitem")).to_have_text(["#one", "#two"])


async def test_a_verdict_that_comes_while_one_edits_is_no_conflict(tabs: Tabs, new_person: NewPerson) -> None:
    moderator = await new_person("Mo", roles=("ROLE_MODERATOR",))
    ada = await new_person("Ada")
    post = await ada.until(await ada.write("A question", DOUBTFUL), "POST_STATE_HELD")
    tabs.allow("404")
    page = await tabs.open(f"/p/{post['postId']}/edit", person=ada)
    await page.get_by_label("Title").fill("A better question")
    cases = (await moderator.call("GET", "/api/v1/moderation/cases?pageSize=100"))["cases"]
    (case,) = [one for one in cases if one["postId"] == post["postId"]]
    await moderator.call("POST", f"/api/v1/moderation/cases/{case['caseId']}:resolve", {"decision": "VERDICT_ALLOW"})
    await ada.until(post, "POST_STATE_PUBLISHED")
    await page.get_by_role("button", name="Save and send").click()
    await expect(page.get_by_role("heading", level=1, name="A better question")).to_be_visible()


async def test_a_post_that_is_deleted_under_an_edit_can_be_published_anew(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("Short-lived", body=CLEAN)
    page = await tabs.open(f"/p/{post['postId']}/edit", person=ada)
    await page.get_by_label("Title").fill("Long-lived")
    await ada.call("DELETE", f"/api/v1/posts/{post['postId']}")
    await page.get_by_role("button", name="Save and send").click()
    await expect(page.get_by_text("This post has been deleted")).to_be_visible()
    await page.get_by_role("button", name="Publish it as a new post").click()
    await expect(page.get_by_role("heading", level=1, name="Long-lived")).to_be_visible()


async def test_nobody_edits_what_is_not_theirs(tabs: Tabs, new_person: NewPerson) -> None:
    post = await (await new_person("Ada")).publish("Not yours")
    page = await tabs.open(f"/p/{post['postId']}/edit", person=await new_person("Bob"))
    await expect(page.get_by_role("heading", name="Only its author can edit a post")).to_be_visible()
    await page.goto("/p/01999999-0000-7000-8000-000000000000/edit")
    await expect(page.get_by_role("heading", name="There is no such post")).to_be_visible()
    await accessible(page)
