"""What attackers write, in titles, prompts, tags, names and model output: text on every page, and nothing runs."""

from __future__ import annotations

import asyncio
import html
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from playwright.async_api import Page, ViewportSize, expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs
from tests.mesh.upstreams import Upstreams
from tests.support.provider import Behaviour

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE: ViewportSize = {"width": 360, "height": 740}
#: By what they try. Each is sent as title, prompt and model output, where the contract takes it.
ATTACKS = {
    "script": "<script>window.ran = 1</script>",
    "end of the head": "</title></head><body onload=window.ran=1>",
    "end of an attribute": "\"'><img src=x onerror='window.ran=1'>",
    "event handlers": "<svg/onload=window.ran=1><details open ontoggle=window.ran=1><a href=x onclick=ran=1>y</a>",
    "frames": "<iframe srcdoc='<script>parent.ran=1</script>'></iframe><object data='data:text/html,x'></object>",
    "style": "<style>*{display:none}</style><base href=//evil.example/><meta http-equiv=refresh content=0>",
    "links that run": "[press](javascript:window.ran=1) [x](data:text/html,<script>ran=1</script>) [v](vbscript:x)",
    "links that escape": '[a](https://evil.example/"onmouseover="window.ran=1) ![i](https://evil.example/pixel.png)',
    "templates": "{{constructor.constructor('window.ran=1')()}} ${window.ran=1} <%= 1 %> #{1} {% raw %}",
    "character references": "&lt;script&gt;window.ran=1&lt;/script&gt; &#x3c;b&#x3e;",
    "a sheet's formula": "=cmd|'/c calc'!A0 +1+1 @SUM(1) -2+3",
    "a terminal": "\x1b[31mred\x1b]0;title\x07 plain",
    "no width": "zero\u200bwidth\u200djoined\ufeffword",
    "turned around": "invoice\u202egnp.exe and \u2067more\u2069",
    "marks upon marks": "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u0334\u0319\u0324\u031e\u0349 algo",
    "pictures": "👩‍👩‍👧‍👦 🏳️‍🌈 👋🏽 مرحبا שלום 你好",
    "prototype": "__proto__ constructor toString null undefined NaN",
}
TITLE_CANNOT = {"a terminal", "turned around"}  # characters that the contract keeps out of titles and names
NAME = "Eve \"'><img src=x onerror=window.ran=1>{{7*7}}"
MADE = "script:not([src^='/assets/']), #main :is(script, iframe, object, embed, img, base, meta, style, form[action])"
RUNS = (
    "#main :is([onload], [onerror], [onclick], [ontoggle], [onmouseover], [srcdoc], "
    "a[href^='javascript' i], a[href^='data' i], a[href^='vbscript' i])"
)


@dataclass
class Written:
    """A post made of one attack."""

    name: str
    title: str
    text: str
    post_id: str
    example: str = ""  # the model's answer as the mesh gives it out: without what shows nothing or turns text around


async def write(author: Person, moderator: Person, upstreams: Upstreams, name: str, text: str, tag: str) -> Written:
    """Published, by a moderator where the mesh holds it, with the attack for an example."""
    title = f"Title {name}" if name in TITLE_CANNOT else f"T {text}"[:200]
    post = await author.write(title, f"Prompt of {name}: {text}", (tag,))
    async with asyncio.timeout(30):
        while (post := await author.call("GET", f"/api/v1/posts/{post['postId']}"))["state"] == "POST_STATE_PENDING":
            pass
    if post["state"] == "POST_STATE_HELD":
        cases = (await moderator.call("GET", "/api/v1/moderation/cases?pageSize=100"))["cases"]
        (case,) = [one for one in cases if one["postId"] == post["postId"]]
        decision = {"decision": "VERDICT_ALLOW"}
        await moderator.call("POST", f"/api/v1/moderation/cases/{case['caseId']}:resolve", decision)
    await author.until(post, "POST_STATE_PUBLISHED")
    return Written(name, title, text, str(post["postId"]))


async def harmless(page: Page, where: str) -> None:
    """Nothing ran, no element came of it, and the page fits."""
    assert await page.evaluate("window.ran") is None, f"{where}: something ran"
    assert await page.locator(MADE).count() == 0, f"{where}: an element was made"
    assert await page.locator(RUNS).count() == 0, f"{where}: an attribute runs something"
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{where}: the page is {wide} pixels too wide"


def seen(text: str) -> str:
    """As a browser shows it in one line, without what Markdown takes for marks."""
    return " ".join(text.split())


async def test_nothing_that_is_written_runs_anywhere(
    tabs: Tabs, new_person: NewPerson, upstreams: Upstreams, mesh: LocalMesh
) -> None:
    eve, moderator, tag = await new_person(NAME), await new_person("Mo", roles=("ROLE_MODERATOR",)), "attacks"
    posts = []
    for name, text in ATTACKS.items():
        upstreams.examples.default = Behaviour(text=f"Example of {name}: {text}")
        post = await write(eve, moderator, upstreams, name, text, tag)
        async with asyncio.timeout(30):
            while not post.example:
                example = (await eve.call("GET", f"/api/v1/posts/{post.post_id}"))["example"]
                assert "failure" not in example or not example["failure"], example
                post.example = example["text"]
        assert post.example.startswith(f"Example of {name}: ")
        posts.append(post)
    upstreams.examples.default = Behaviour()

    page = await tabs.open("/", person=eve)
    await page.set_viewport_size(PHONE)
    for path in (f"/tag/{tag}", f"/people/{eve.user_id}"):
        await page.goto(path)
        titles = page.locator("article h2")
        await expect(titles).to_have_count(len(posts))
        shown = [seen(title) for title in await titles.all_inner_texts()]
        assert shown == [seen(post.title) for post in reversed(posts)]
        await expect(page.locator("article a").first).to_have_text(NAME)
        await harmless(page, path)
    for post in posts:
        await page.goto(f"/p/{post.post_id}")
        heading = page.get_by_role("heading", level=1)
        await expect(heading).not_to_have_text("Post")
        assert seen(await heading.inner_text()) == seen(post.title), post.name
        assert await page.title() == f"{seen(post.title)} · Promptmesh", post.name
        prompt = page.get_by_role("region", name="Prompt")
        await expect(prompt).to_contain_text(f"Prompt of {post.name}: ")
        if not set(post.text) & set("*_`[]\x1b\x07"):
            await expect(prompt).to_contain_text(seen(post.text))
            example = page.get_by_role("region", name="Example")
            await expect(example).to_contain_text(seen(post.example))
        await harmless(page, post.name)
    await page.goto(f"/p/{posts[0].post_id}")
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("dialog")).to_contain_text(seen(posts[0].title))
    await harmless(page, "deleting")
    await page.goto(f"/p/{posts[0].post_id}/edit")
    await expect(page.get_by_label("Title")).to_have_value(posts[0].title)
    await harmless(page, "editing")

    # What link previews read.
    for post in posts:
        await previewed(mesh, post)


class Head(HTMLParser):
    """Elements of a page, its title, and the values of its metas."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.values: dict[str, str] = {}
        self.odd: list[str] = []
        self.scripts: list[str] = []
        self.title = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.odd += [name for name in given if name.startswith("on") or name in ("style", "srcdoc", "http-equiv")]
        if tag == "script":
            self.scripts.append(given.get("src") or "inline")
        if tag == "meta" and (given.get("property") or given.get("name")):
            self.values[str(given.get("property") or given.get("name"))] = given.get("content") or ""

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "title" and not self.title:
            self.title = data


async def previewed(mesh: LocalMesh, post: Written) -> None:
    answer = await asyncio.to_thread(mesh.call, "GET", f"/p/{post.post_id}", headers={"accept": "text/html"})
    head = Head()
    head.feed(answer.body)
    assert answer.status == 200
    assert head.odd == [], post.name
    assert set(head.tags) <= {"html", "head", "meta", "title", "link", "script", "body", "div", "noscript", "a"}
    assert [src for src in head.scripts if not src.startswith("/assets/")] == [], post.name
    title = post.title.replace("\ufeff", "")
    assert head.values["og:title"] == title, post.name
    assert head.title == f"{title} · Promptmesh", post.name
    assert head.values["og:description"].startswith(f"Prompt of {post.name}: "[:20]), post.name
    assert "<script>window" not in answer.body, html.unescape(answer.body)


async def test_words_without_end_fit_a_phone(tabs: Tabs, new_person: NewPerson, upstreams: Upstreams) -> None:
    word = "".join(f"w{number:04x}" for number in range(2_000))
    ada = await new_person("N" + "o" * 60 + "n")
    upstreams.examples.default = Behaviour(text=word)
    post = await ada.publish(
        word[:200], body=f"{word}\n\n# {word[:900]}\n\n> {word[:900]}\n\n- {word[:900]}", tags=("w" * 32,)
    )
    upstreams.examples.default = Behaviour()
    page = await tabs.open("/", person=ada)
    await page.set_viewport_size(PHONE)
    for path in (f"/p/{post['postId']}", f"/p/{post['postId']}/edit", f"/people/{ada.user_id}", f"/tag/{'w' * 32}"):
        await page.goto(path)
        await expect(page.locator("#main h1")).to_be_visible()
        await expect(page.locator("#main [role=status]:has-text('Loading')")).to_have_count(0)
        await harmless(page, path)


async def test_addresses_that_attack_are_shown_as_nothing(tabs: Tabs) -> None:
    tabs.allow("404|400")
    page = await tabs.open("/log-in")
    for attack in ("<script>window.ran=1</script>", "javascript:window.ran=1", "..%2f..%2fetc", "%00", "a" * 2_000):
        for path in (f"/p/{quote(attack, safe='%')}", f"/people/{quote(attack, safe='%')}"):
            await page.goto(path)
            assert await page.evaluate("window.ran") is None, path
