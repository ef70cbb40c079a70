"""A session in a browser: it ends in the middle of typing, comes back after a reload, and no other site gets at it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, Request, expect

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, settled

pytestmark = pytest.mark.asyncio(loop_scope="session")

COOKIE = "__Host-promptmesh"
EVERYTHING_KEPT = """async () => {
  const databases = (await indexedDB.databases()).map((one) => one.name);
  const caches_ = "caches" in window ? await caches.keys() : [];
  return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, databases, caches_, window.name,
                         history.state, document.documentElement.outerHTML]);
}"""


class Tokens:
    """Access tokens that the tabs of a context send."""

    def __init__(self, context: BrowserContext) -> None:
        self.seen: list[str] = []
        context.on("request", self._look)

    def _look(self, request: Request) -> None:
        said = request.headers.get("authorization", "")
        if said.startswith("Bearer "):
            self.seen.append(said.removeprefix("Bearer "))


async def end_session(mesh: LocalMesh, token: str) -> None:
    """Ends the session at the mesh, behind the tabs' back, and waits until every service knows."""
    answer = await asyncio.to_thread(mesh.call, "DELETE", "/api/v1/sessions/current", token=token)
    assert answer.status == 200
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(mesh.call, "GET", "/api/v1/apiKeys", token=token)).status != 401:
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(loop_scope="session")
async def evil(mesh: LocalMesh) -> AsyncIterator[str]:
    """A page of another origin but the same site (another port of the same host): its cookies do come along."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        page = b"<!doctype html><title>Another origin</title><p>Nothing to see.</p>"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(page)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + page)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_session_that_ends_while_one_types_loses_nothing(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    tabs.allow("401")
    ada: Person = await new_person("Ada")
    tokens = Tokens(tabs.context)
    page = await tabs.open("/keys", person=ada)
    await page.get_by_role("button", name="Make a key").click()
    form = page.get_by_role("dialog", name="Make an API key")
    await form.get_by_label("Name").fill("Typed before the end")
    await form.get_by_role("checkbox", name="Read usage").check()
    await end_session(mesh, tokens.seen[-1])

    await form.get_by_role("button", name="Make the key").click()
    dialog = page.get_by_role("dialog", name="Log in")
    await expect(dialog).to_contain_text("nothing you typed is lost")
    await expect(dialog.get_by_label("E-mail")).to_have_value(ada.email)
    await expect(page).to_have_url(f"{mesh.url}/keys")

    # Closed without logging in: nothing was sent, all that was typed stands.
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(form.get_by_label("Name")).to_have_value("Typed before the end")
    await expect(form.get_by_role("checkbox", name="Read usage")).to_be_checked()

    await form.get_by_role("button", name="Make the key").click()
    await dialog.get_by_label("Password", exact=True).fill("wrong at first")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_role("alert")).to_be_visible()
    await dialog.get_by_label("Password", exact=True).fill(ada.password)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Store the secret of “Typed before the end” now")).to_be_visible()
    keys = (await ada.call("GET", "/api/v1/apiKeys"))["apiKeys"]
    assert [(one["displayName"], "usage:read" in one["scopes"]) for one in keys] == [("Typed before the end", True)]


async def test_a_post_that_is_being_written_goes_through_after_the_session_has_ended(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    tabs.allow("401")
    ada = await new_person("Ada")
    tokens = Tokens(tabs.context)
    page = await tabs.open("/account", person=ada)
    await page.goto("/write")
    await page.get_by_label("Title").fill("Begun in time")
    await page.get_by_label("Prompt").fill("Write a short poem about a door that closes.")
    await end_session(mesh, tokens.seen[-1])
    await page.get_by_role("button", name="Publish").click()
    dialog = page.get_by_role("dialog", name="Log in")
    await expect(page.get_by_label("Title")).to_have_value("Begun in time")
    await dialog.get_by_label("Password", exact=True).fill(ada.password)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/p/"))
    await expect(page.get_by_role("heading", name="Begun in time")).to_be_visible()
    posts = (await ada.call("GET", f"/api/v1/posts?authorId={ada.user_id}"))["posts"]
    assert [one["title"] for one in posts] == ["Begun in time"]


async def test_a_page_that_is_read_after_the_session_has_ended_asks_and_goes_on(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    tabs.allow("401")
    ada = await new_person("Ada")
    tokens = Tokens(tabs.context)
    page = await tabs.open("/keys", person=ada)
    await end_session(mesh, tokens.seen[-1])
    await page.get_by_role("button", name="Account of Ada").click()
    await page.get_by_role("link", name="Usage").click()
    dialog = page.get_by_role("dialog", name="Log in")
    await expect(dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("alert").first).to_contain_text("Your session has ended")
    await page.get_by_role("button", name="Try again").first.click()
    await dialog.get_by_label("Password", exact=True).fill(ada.password)
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("heading", name="No calls in")).to_be_visible()


async def test_logging_out_in_one_tab_leaves_nothing_in_the_other(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    first = await tabs.open("/account", person=ada)
    second = await tabs.open("/keys")
    await second.get_by_role("button", name="Make a key").click()
    await second.get_by_role("dialog").get_by_label("Name").fill("half typed")
    assert "half typed" in await second.evaluate("JSON.stringify({...sessionStorage})")

    await first.locator("#main").get_by_role("button", name="Log out", exact=True).click()
    await expect(second.get_by_role("heading", name="Log in first")).to_be_visible()
    await expect(second.get_by_role("dialog")).to_have_count(0)
    assert "half typed" not in await second.evaluate("JSON.stringify({...sessionStorage})")
    await second.reload()
    await expect(second.get_by_role("heading", name="Log in first")).to_be_visible()
    assert [one for one in await tabs.context.cookies() if one.get("name") == COOKIE] == []


async def test_a_reload_restores_the_session_by_the_cookie_alone(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    await page.evaluate("localStorage.clear(); sessionStorage.clear()")
    for _ in range(3):
        await page.reload()
        await settled(page)
        await expect(page.get_by_role("heading", name="Ada")).to_be_visible()
    await tabs.context.clear_cookies()
    await page.reload()
    await expect(page.get_by_role("heading", name="Log in first")).to_be_visible()


async def test_no_script_can_read_a_token_where_the_browser_keeps_things(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    tokens = Tokens(tabs.context)
    page = await tabs.open("/usage", person=ada)
    await page.reload()
    await settled(page)
    await page.get_by_role("heading", name="No calls in").wait_for()
    refresh = await _cookie(tabs.context)
    assert tokens.seen
    assert refresh.startswith("pmr_")
    kept = await page.evaluate(EVERYTHING_KEPT)
    for secret in {*tokens.seen, refresh}:
        assert secret not in kept
    assert "eyJ" not in kept  # nor any other JWT
    assert json.loads(kept)[3] == []  # no database at all

    (cookie,) = [one for one in await tabs.context.cookies() if one.get("name") == COOKIE]
    assert cookie.get("httpOnly") is True
    assert cookie.get("sameSite") == "Strict"
    assert cookie.get("path") == "/"
    assert cookie.get("domain") == "localhost"  # of this host alone: without a dot before it
    assert cookie.get("secure") is True  # browsers hold this machine's own addresses for safe enough without TLS


async def test_a_page_of_another_origin_cannot_use_or_read_the_session(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh, evil: str
) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/account", person=ada)
    refresh = f"{mesh.url}/api/v1/sessions:refresh"
    grpc_web = f"{mesh.url}/promptmesh.auth.v1.AuthService/RefreshSession"
    answers: dict[str, int] = {}
    tabs.context.on("response", lambda one: answers.__setitem__(f"{one.request.method} {one.url}", one.status))
    other = await tabs.context.new_page()  # what it logs is its own business
    await other.goto(evil)

    # Without the header the request does go out, with the cookie, and is refused; with it, the browser asks first.
    assert await _fetch(other, refresh, {"method": "POST", "mode": "no-cors", "body": "{}"}) == "opaque"
    assert answers[f"POST {refresh}"] == 403
    for url in (refresh, grpc_web):
        plain = {"method": "POST", "body": "{}", "headers": {"content-type": "text/plain"}}
        assert await _fetch(other, url, plain) == "TypeError"
        protected = {"method": "POST", "body": "{}", "headers": {"x-csrf-protection": "1"}}
        assert await _fetch(other, url, protected) == "TypeError"
    assert await _fetch(other, f"{mesh.url}/api/v1/users/me", {}) == "TypeError"
    assert await _fetch(other, f"{mesh.url}/api/v1/sessions/current", {"method": "DELETE"}) == "TypeError"

    # A form sends the cookie as a fetch does, and its answer would be a page.
    async with other.expect_navigation():
        await other.evaluate(
            """(url) => {
                 const form = document.body.appendChild(document.createElement("form"));
                 form.method = "POST"; form.enctype = "text/plain"; form.action = url;
                 const field = form.appendChild(document.createElement("input"));
                 field.name = '{"refreshToken":""'; field.value = '"}';
                 form.submit();
               }""",
            refresh,
        )
    assert answers[f"POST {refresh}"] in (400, 403, 415)
    assert "accessToken" not in await other.content()

    # Nor in a frame, nor by the window that opened it.
    await other.goto(evil)
    await other.evaluate(
        "(url) => new Promise((done) => { const frame = document.createElement('iframe'); frame.onload = done;"
        " frame.src = url; document.body.append(frame); })",
        f"{mesh.url}/account",
    )
    (frame,) = other.frames[1:]
    assert frame.url.startswith("chrome-error:")
    assert await frame.locator("h1", has_text="Account").count() == 0
    async with tabs.context.expect_page() as popup:
        await other.evaluate("(url) => { window.grabbed = window.open(url) }", f"{mesh.url}/account")
    await expect((await popup.value).get_by_role("heading", name="Ada")).to_be_visible()
    assert await other.evaluate("grabbed.closed || !('document' in grabbed)") is True
    await (await popup.value).close()

    # All that has changed nothing: the cookie still does what it did.
    await page.bring_to_front()
    await page.reload()
    await expect(page.get_by_role("heading", name="Ada")).to_be_visible()


async def _fetch(page: Page, url: str, options: Mapping[str, object]) -> str:
    """What a script gets: the type of the answer, or the name of the error."""
    said = await page.evaluate(
        """([url, options]) => fetch(url, {credentials: "include", ...options}).then((r) => r.type, (e) => e.name)""",
        [url, options],
    )
    return str(said)


async def _cookie(context: BrowserContext) -> str:
    (value,) = [str(one.get("value")) for one in await context.cookies() if one.get("name") == COOKIE]
    return value
