"""Pictures of every page, in light, dark and on a phone, into out/screenshots.

`python -m tests.browser.screenshots [NAME…]`. A page stands here as a coroutine that brings a tab to it; names given on
the command line choose among them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from services.local.testing import LocalMesh, local_mesh
from tests.browser import pictures_of_accounts, pictures_of_posts, pictures_of_states, pictures_of_tools
from tests.browser.admin_pages import fill_admin_pages
from tests.browser.people import PATIENCE_S, POLL_S, Person
from tests.browser.tabs import log_in, settled
from tests.mesh.upstreams import Upstreams, models_yaml, running_upstreams
from tests.support.provider import Behaviour
from tools.chromium import CHROMIUM, FLAGS

OUT = Path("out") / "screenshots"
READY = "EXAMPLE_STATE_READY"
DESK: ViewportSize = {"width": 1200, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
LOOKS: dict[str, tuple[ViewportSize, Any]] = {
    "light": (DESK, "light"),
    "dark": (DESK, "dark"),
    "phone": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}


@dataclass
class World:
    """What the pages show."""

    mesh: LocalMesh
    upstreams: Upstreams
    ada: Person
    posts: list[dict[str, Any]]
    admin: Person


#: What the model answers to each of POSTS.
EXAMPLES = (
    "You lend Ben your bicycle **until Friday**. Ben gives you two comics today, and fills the tyres before he brings "
    "it back. If it breaks meanwhile, Ben pays.",
    "Late light on the code:\n*one small name is spelt aright,*\nand the tests are green.",
    "1. **An empty list gives zero.** It told us that nobody had thought of no orders.\n2. **One order gives its own "
    "price.** It told us that the sum began at one.\n3. **Order does not matter.**",
    "## Fried rice with cabbage\n\n1. Cut the cabbage into ribbons.\n2. Fry it hard until it browns.\n3. Add the rice.",
)
#: Pages longer than a screen that are worth seeing whole.
WHOLE = frozenset({"account", "account-secured", "status", "keys", "key-made", "team", "usage"})
POSTS = (
    (
        "Explain a contract to a ten-year-old",
        ("law", "plain-language"),
        "Read the contract below and explain it as you would to a curious ten-year-old. Keep every obligation; name "
        "who owes what to whom, and by when.",
    ),
    (
        "Haiku from a commit message",
        ("poetry", "git"),
        "Turn the commit message into a haiku of 5, 7 and 5 syllables. Keep what changed; leave out who changed it.",
    ),
    (
        "Three tests that would have caught it",
        ("testing", "code-review"),
        "Here is a bug report and the fix. Write three tests, smallest first, each of which fails before the fix and "
        "passes after it. Say in a sentence what each would have told us.",
    ),
    (
        "Recipe for what is left",
        ("cooking",),
        "I have these leftovers:\n- half a cabbage\n- two eggs\n- yesterday's rice\n\nGive me one dinner, in "
        "five steps.",
    ),
)


async def visit(page: Page, path: str) -> None:
    await page.goto(path)
    await settled(page)


async def _feed(page: Page, world: World) -> None:
    await visit(page, "/")


async def _feed_in(page: Page, world: World) -> None:
    await log_in(page, world.ada)
    await visit(page, "/")


async def _feed_news(page: Page, world: World) -> None:
    await visit(page, "/")
    await world.ada.publish("Something new", "Write what is new in one sentence.", ("news",))
    await page.get_by_role("button", name="1 new post").wait_for()


async def _feed_loading(page: Page, world: World) -> None:
    await page.route("**/ListPosts", lambda route: None)
    await page.goto("/")
    await page.get_by_text("Loading posts").first.wait_for()


async def _feed_failed(page: Page, world: World) -> None:
    await page.route("**/ListPosts", lambda route: route.abort())
    await page.goto("/")
    await page.get_by_role("alert").wait_for()


async def _account_menu(page: Page, world: World) -> None:
    await _feed_in(page, world)
    await page.locator("header button[aria-label*='ccount of']:visible").click()


async def _tag_empty(page: Page, world: World) -> None:
    await visit(page, "/tag/nothing-yet")


async def _log_in(page: Page, world: World) -> None:
    await visit(page, "/log-in")


async def _register_errors(page: Page, world: World) -> None:
    await visit(page, "/register")
    await page.get_by_role("button", name="Register").click()


async def _like_dialog(page: Page, world: World) -> None:
    await visit(page, "/")
    await page.locator("article button").first.click()
    await page.get_by_role("dialog").wait_for()


async def _offline(page: Page, world: World) -> None:
    await visit(page, "/")
    await page.context.set_offline(True)
    await page.get_by_text("You are offline").wait_for()


async def _not_found(page: Page, world: World) -> None:
    await visit(page, "/no-such-page")


async def _keys(page: Page, world: World) -> None:
    await log_in(page, world.ada)
    await visit(page, "/keys")


async def _key_form(page: Page, world: World) -> None:
    await _keys(page, world)
    await page.get_by_role("button", name="Make a key").click()


async def _key_made(page: Page, world: World) -> None:
    await _key_form(page, world)
    await page.get_by_role("dialog").get_by_label("Name").fill("Notebook")
    await page.get_by_role("button", name="Make the key").click()
    await page.get_by_role("heading", name="Store the secret").wait_for()


async def _key_revoke(page: Page, world: World) -> None:
    await _keys(page, world)
    await page.get_by_role("button", name="Revoke Build server").first.click()


async def _account(page: Page, world: World) -> None:
    await log_in(page, world.ada)
    await visit(page, "/account")


async def _users(page: Page, world: World) -> None:
    await log_in(page, world.admin)
    await visit(page, "/admin/users")


async def _roles(page: Page, world: World) -> None:
    await _users(page, world)
    await page.get_by_role("button", name="Roles of Ada Lovelace").click()
    await page.get_by_role("checkbox", name="Moderator").check()


async def _roles_confirm(page: Page, world: World) -> None:
    await _roles(page, world)
    await page.get_by_role("button", name="Continue").click()


async def _status(page: Page, world: World) -> None:
    await log_in(page, world.admin)
    await visit(page, "/admin/status")


async def _status_back(page: Page, world: World) -> None:
    await _status(page, world)
    await page.get_by_role("button", name="Go back to version 1").click()


PAGES: dict[str, Callable[[Page, World], Awaitable[object]]] = {
    "feed": _feed,
    "feed-logged-in": _feed_in,
    "feed-news": _feed_news,
    "feed-loading": _feed_loading,
    "feed-failed": _feed_failed,
    "account-menu": _account_menu,
    "tag-empty": _tag_empty,
    "log-in": _log_in,
    "register-errors": _register_errors,
    "log-in-dialog": _like_dialog,
    "offline": _offline,
    "not-found": _not_found,
    "keys": _keys,
    "key-form": _key_form,
    "key-made": _key_made,
    "key-revoke": _key_revoke,
    "account": _account,
    "users": _users,
    "roles": _roles,
    "roles-confirm": _roles_confirm,
    "status": _status,
    "status-go-back": _status_back,
    **pictures_of_accounts.PAGES,
    **pictures_of_posts.PAGES,
    **pictures_of_states.PAGES,
    **pictures_of_tools.PAGES,
}


#: Each picture logs in anew, most as the same person; the first log-in is still needed for the last picture.
MANY_SESSIONS = {"PROMPTMESH_SESSIONS_PER_USER_MAX": "1000"}


async def _world(mesh: LocalMesh, upstreams: Upstreams) -> World:
    ada = await asyncio.to_thread(Person.register, mesh, "Ada Lovelace", "ada", ())
    posts = []
    for (title, tags, body), example in zip(POSTS, EXAMPLES, strict=True):
        upstreams.examples.default = Behaviour(text=example)
        posts.append(await _with_example(ada, await ada.publish(title, body, tags)))
    upstreams.examples.default = Behaviour()
    for post in posts[:2]:
        await ada.call("POST", f"/api/v1/posts/{post['postId']}:like", {})
    admin = await asyncio.to_thread(Person.admin, mesh)
    await fill_admin_pages(mesh, ada, admin)
    return World(mesh, upstreams, ada, posts, admin)


async def _with_example(author: Person, post: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while (post := await author.call("GET", f"/api/v1/posts/{post['postId']}"))["example"]["state"] != READY:
            await asyncio.sleep(POLL_S)
    return post


async def _take(browser: Browser, world: World, name: str, look: str) -> None:
    viewport, scheme = LOOKS[look]
    context = await browser.new_context(
        base_url=world.mesh.url,
        viewport=viewport,
        color_scheme=scheme,
        locale="en-GB",
        reduced_motion="reduce",
        is_mobile=viewport is PHONE,
    )
    page = await context.new_page()
    await PAGES[name](page, world)
    await page.screenshot(path=OUT / f"{name}.{look}.png", full_page=name in WHOLE)
    await page.unroute_all(behavior="ignoreErrors")
    await context.close()


async def main(names: list[str]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    async with running_upstreams() as upstreams, async_playwright() as playwright:
        with local_mesh(models_yaml=models_yaml(upstreams), environment=MANY_SESSIONS) as mesh:
            world = await _world(mesh, upstreams)
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
            for name in names or PAGES:
                for look in LOOKS:
                    await _take(browser, world, name, look)
                print(name)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
