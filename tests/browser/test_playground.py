"""The playground: an answer streams in, is stopped, counted, cut, refused, and taken along."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Iterator

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, accessible, settled
from tests.mesh.upstreams import FRAGILE, MODEL_WITH_SLASH, Upstreams, example_call, given_up
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTACK = (
    "<img src=x onerror=\"document.title='owned'\"> <script>document.title='owned'</script> "
    "[press](javascript:document.title='owned') {{7*7}} ${document.title='owned'}"
)


@pytest.fixture
def provider(upstreams: Upstreams) -> Iterator[MisbehavingProvider]:
    """The provider of calls, well-behaved again afterwards."""
    yield upstreams.calls
    upstreams.calls.default = Behaviour()
    upstreams.calls.recover()


async def playground(tabs: Tabs, person: Person, model: str = "", path: str = "/playground") -> Page:
    page = await tabs.open(path, person=person)
    await expect(page.get_by_label("Model", exact=True)).to_be_visible()
    if model:
        await page.get_by_label("Model", exact=True).select_option(model)
    return page


async def ask(page: Page, words: str) -> None:
    await page.get_by_role("textbox", name=re.compile("^(Next m|M)essage$")).fill(words)
    await page.keyboard.press("Control+Enter")


def fact(within: Page | Locator, name: str) -> Locator:
    """The value beside a name."""
    return within.locator("dl > div").filter(has_text=re.compile(f"^{name}")).locator("dd").first


def state(page: Page, words: str) -> Locator:
    return page.get_by_text(words, exact=True).last


async def test_an_answer_is_counted_and_has_a_receipt(
    tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider
) -> None:
    page = await playground(tabs, await new_person("Ada"))
    await expect(page.get_by_text("$1.00 in, $2.00 out per million tokens")).to_be_visible()
    await expect(page.get_by_text("8,192 tokens of context, answers up to 1,024")).to_be_visible()
    await accessible(page)

    provider.then(Behaviour(text="One **two** three four.\n\n- five"))
    await ask(page, "Count, please.")

    await expect(state(page, "Complete")).to_be_visible()
    await expect(page.locator("article strong")).to_have_text("two")
    for name, value in {
        "Ended because": "The model was done",
        "In": "2 tokens",
        "Out": "6 tokens",
        "Cost": "$0.000014",
    }.items():
        await expect(fact(page, name)).to_have_text(value)
    for name in ("First token", "Total"):
        await expect(fact(page, name)).to_have_text(re.compile(r"^[\d.]+ m?s$"))

    await page.get_by_role("button", name="Receipt").click()
    row = page.locator("table tbody tr")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text(re.compile("mock.*calls.*answered"))
    await expect(fact(page, "Answered by")).to_have_text("mock, calls")
    await expect(fact(page, "Cache")).to_have_text("The route has none")
    await expect(fact(page, "Configuration")).to_have_text(re.compile(r"version \d+"))
    await accessible(page)

    await page.get_by_label("Show Markdown").uncheck()
    await expect(page.get_by_text("One **two** three four.")).to_be_visible()


async def test_a_price_that_nobody_knows_is_unknown_and_not_zero(
    tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider
) -> None:
    page = await playground(tabs, await new_person("Ada"), MODEL_WITH_SLASH)
    await expect(page.get_by_text("Price unknown")).to_be_visible()
    provider.then(Behaviour(text="Some words.", fault=Fault.NO_USAGE))
    await ask(page, "Hello.")
    await expect(state(page, "Complete")).to_be_visible()
    await expect(fact(page, "Cost")).to_have_text("unknown")
    await expect(fact(page, "Out")).to_contain_text("estimated")


async def _by_key(page: Page) -> None:
    await page.keyboard.press("Escape")


async def _by_button(page: Page) -> None:
    await page.get_by_role("button", name="Stop").click()


async def _by_leaving(page: Page) -> None:
    await page.get_by_role("link", name="Feed").click()
    await page.get_by_role("link", name="Playground").click()


async def _by_reloading(page: Page) -> None:
    await page.reload()
    await settled(page)


async def test_the_provider_sees_that_an_answer_is_stopped(
    tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider
) -> None:
    page = await playground(tabs, await new_person("Ada"))
    for stop in (_by_key, _by_button, _by_leaving, _by_reloading):
        words = f"Begin {uuid.uuid4().hex}"
        # Two words come, and nothing after them: what is seen came before the end.
        provider.then(Behaviour(text="Once upon a time.", fault=Fault.STALL))
        await ask(page, words)
        await expect(page.locator("article").last).to_contain_text("Once upon")
        await expect(state(page, "Answering")).to_be_visible()
        call = await example_call(provider, words)
        assert not call.ended.is_set()

        await stop(page)

        await given_up(call)
        await expect(state(page, "Stopped, not whole")).to_be_visible()
        await expect(page.locator("article").last).to_contain_text("Once upon")
        # The stream could not tell any more what it took: the receipt does.
        await expect(fact(page.locator("article").last, "Cost")).to_contain_text("estimated")
    await accessible(page)


async def test_only_parameters_that_are_set_are_sent(
    tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider
) -> None:
    page = await playground(tabs, await new_person("Ada"))
    first, second = (f"Say {uuid.uuid4().hex}" for _ in range(2))
    await ask(page, first)
    await expect(state(page, "Complete")).to_be_visible()
    plain = (await example_call(provider, first)).body
    assert not plain.keys() & {"temperature", "top_p", "stop", "seed"}

    await page.get_by_label("Temperature").fill("3")
    await page.get_by_label("Seed").fill("1.5")
    await ask(page, second)
    await expect(page.get_by_label("Temperature")).to_be_focused()
    await expect(page.get_by_text("Enter a number from 0 to 2.")).to_be_visible()
    await expect(page.get_by_text("Enter a whole number of at most 64 bits.")).to_be_visible()

    for label, value in {
        "Temperature": "0",
        "Top p": "0.5",
        "Max tokens": "64",
        "Seed": "9007199254740993",
        "Stop at": "END\n\\n\\n",
    }.items():
        await page.get_by_label(label).fill(value)
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.get_by_role("button", name="Run", exact=True).click()
    await expect(page.locator("article")).to_have_count(4)
    body = (await example_call(provider, second)).body
    assert (body["temperature"], body["top_p"], body["seed"]) == (0, 0.5, 2**53 + 1)
    assert 64 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert body["stop"] == ["END", "\n\n"]
    assert [one["role"] for one in body["messages"]] == ["system", "user", "assistant", "user"]


async def test_a_conversation_is_edited_asked_again_and_kept(
    tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider
) -> None:
    ada = await new_person("Ada")
    page = await playground(tabs, ada)
    await page.keyboard.press("Control+Enter")
    await expect(page.get_by_text("Write a message first.")).to_be_visible()
    provider.then(Behaviour(text="The first answer."), Behaviour(text="The second answer."))
    words = f"Write {uuid.uuid4().hex}"
    await ask(page, "To be changed.")
    await expect(state(page, "Complete")).to_be_visible()

    await page.get_by_role("button", name="Edit").first.click()
    await page.get_by_label("Text of You").fill(words)
    await page.get_by_role("button", name="Done").click()
    await page.get_by_role("button", name="Run again").click()
    await expect(page.get_by_text("The second answer.")).to_be_visible()
    assert (await example_call(provider, words)).body["messages"] == [{"role": "user", "content": words}]

    await page.get_by_role("textbox", name="Next message").fill("Not sent yet")
    await page.reload()
    await settled(page)
    await expect(page.get_by_text("The second answer.")).to_be_visible()
    await expect(page.get_by_role("textbox", name="Next message")).to_have_value("Not sent yet")

    await page.get_by_role("button", name="Remove").last.click()
    await expect(page.locator("article")).to_have_count(1)
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("article")).to_have_count(2)

    # The next one to use the tab finds nothing of it.
    await page.get_by_role("button", name="Account of Ada").click()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("link", name="Register")).to_be_visible()
    other = await new_person("Eve")
    await page.get_by_role("link", name="Log in").click()
    await page.get_by_label("E-mail").fill(other.email)
    await page.get_by_label("Password", exact=True).fill(other.password)
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Playground").click()
    await expect(page.get_by_role("textbox", name="Message")).to_have_value("")
    await expect(page.locator("article")).to_have_count(0)


async def test_a_posts_prompt_is_taken_up(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    post = await ada.publish("To try", body="Write about the number nine hundred.")
    page = await playground(tabs, ada, path=f"/playground?post={post['postId']}")
    await expect(page.get_by_role("textbox", name="Message")).to_have_value("Write about the number nine hundred.")
    await expect(page).to_have_url(re.compile("/playground$"))

    await page.goto(f"/playground?post={uuid.uuid4()}")
    await expect(page.get_by_role("alert")).to_contain_text("The post could not be read")
    await expect(page.get_by_role("textbox", name="Message")).to_have_value("Write about the number nine hundred.")


async def test_what_fails_says_how_and_keeps_what_came(
    tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider
) -> None:
    page = await playground(tabs, await new_person("Ada"), FRAGILE[18])
    provider.then(Behaviour(text="Once upon a time there was.", fault=Fault.CUT, after_chunks=3))
    await ask(page, "Tell me.")
    await expect(state(page, "Cut, not whole")).to_be_visible()
    await expect(page.locator("article").last).to_contain_text("Once upon a")
    await expect(page.get_by_role("alert")).to_contain_text("The provider's answer broke off")
    await accessible(page)

    await page.get_by_label("Model", exact=True).select_option(FRAGILE[19])
    provider.fail("unavailable", times=None)
    await ask(page, "Tell me again.")
    await expect(page.get_by_role("alert").last).to_contain_text("The provider is away")
    await expect(state(page, "Failed")).to_be_visible()
    provider.recover()

    await page.get_by_label("Model", exact=True).select_option("mock")
    provider.fail("policy_openai")
    await ask(page, "Something forbidden.")
    await expect(page.get_by_role("alert").last).to_contain_text("The provider refused the content")

    # An answer that is lost between the edge and the browser: the end of the stream never comes.
    await page.get_by_role("button", name="Clear").click()
    await page.route("**/promptmesh.inference.v1.InferenceService/Generate", _without_its_end)
    provider.then(Behaviour(text="Half of it."))
    await ask(page, "And once more.")
    await expect(state(page, "Cut, not whole")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("The connection broke off")
    await expect(page.locator("article").last).to_contain_text("Half of it.")


async def _without_its_end(route: Route) -> None:
    answer = await route.fetch()
    body, frames = await answer.body(), []
    while body:
        length = 5 + int.from_bytes(body[1:5], "big")
        frames.append(body[:length])
        body = body[length:]
    await route.fulfill(response=answer, body=b"".join(frames[:-2]))  # neither `done` nor the trailers


async def test_a_limit_says_how_long_to_wait(tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider) -> None:
    tabs.allow("429")
    ada = await new_person("Ada")
    path = f"/api/v1/limits/LIMIT_KIND_USER/{ada.user_id}"
    admin = await asyncio.to_thread(ada.mesh.admin_token)
    made = await asyncio.to_thread(ada.mesh.call, "PUT", path, {"requestsPerMinute": "1"}, token=admin)
    assert made.status == 200, made.body

    async def limited() -> bool:
        return bool((await ada.call("GET", "/api/v1/limits:remaining"))["remaining"])

    await _until(limited)
    page = await playground(tabs, ada)
    await ask(page, "The first.")
    await expect(state(page, "Complete")).to_be_visible()
    await ask(page, "The second.")

    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("A limit is reached")
    await expect(alert).to_contain_text(re.compile(r"You can run it again (in (a second|\d+ seconds)|now)\."))
    await expect(page.get_by_text("The second.", exact=True)).to_be_visible()
    await expect(page.get_by_role("button", name="Run again")).to_be_visible()
    await accessible(page)


async def _until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # type: ignore[misc]
            await asyncio.sleep(0.05)


async def test_what_a_model_says_is_only_text(tabs: Tabs, new_person: NewPerson, provider: MisbehavingProvider) -> None:
    page = await playground(tabs, await new_person("Ada"))
    provider.then(Behaviour(text=ATTACK))
    await ask(page, ATTACK)
    await expect(state(page, "Complete")).to_be_visible()
    for article in (page.locator("article").first, page.locator("article").last):
        await expect(article).to_contain_text("<script>document.title='owned'</script>")
    assert await page.locator("#main img, #main script, #main a[href^=javascript]").count() == 0
    await expect(page).to_have_title(re.compile("^Playground"))
