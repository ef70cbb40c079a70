"""Tabs that are watched: an error in the console, an uncaught exception or a violated policy fails the test."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.browser.people import Person
from tests.mesh.client import eventually

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "gateway" / "web" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")


async def scrolled_to(page: Page, place: float) -> None:
    """Waits until the page stands there. `wait_for_function` looks again by eval, which the app's policy forbids."""

    async def there() -> bool:
        return abs(float(await page.evaluate("scrollY")) - place) < 2

    await eventually(f"the page stands at {place}", there)


async def stands_at(page: Page, what: Locator, place: float) -> None:
    """Waits until it is so many pixels below the window's upper edge."""

    async def there() -> bool:
        return abs(await place_of(what) - place) < 2

    await eventually(f"it stands {place} pixels from the top", there)


async def place_of(what: Locator) -> float:
    """How far it is below the window's upper edge."""
    return float(await what.evaluate("one => one.getBoundingClientRect().top"))


class Tabs:
    """The tabs of one browser context."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.problems: list[str] = []
        self._allowed: list[re.Pattern[str]] = []

    async def open(self, path: str = "/", *, person: Person | None = None) -> Page:
        """A new tab at a path, once the page stands; logged in as the person, if one is named."""
        page = await self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        if person is not None:
            await log_in(page, person)
        await page.goto(path)
        await settled(page)
        return page

    def allow(self, pattern: str) -> None:
        """What a test brings about on purpose: a lost network, a refused call."""
        self._allowed.append(re.compile(pattern))

    def check(self) -> None:
        """Fails with everything that was logged and not allowed."""
        unexpected = [one for one in self.problems if not any(allowed.search(one) for allowed in self._allowed)]
        assert not unexpected, "the page logged:\n" + "\n".join(unexpected)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")


async def answered(page: Page, method: str, press: Locator) -> None:
    """Presses, and waits for the mesh's answer: what is shown before it may still be taken back."""
    async with page.expect_response(lambda answer: answer.url.endswith(f"/{method}")):
        await press.click()


async def copied(page: Page, press: Locator) -> str:
    """What a button that copies puts into the clipboard, which it does in its own time."""
    await page.evaluate("navigator.clipboard.writeText('')")
    await press.click()
    return str(await eventually("something is copied", lambda: page.evaluate("navigator.clipboard.readText()")))


async def settled(page: Page) -> None:
    """Once the page has its heading and shows nothing that loads."""
    await expect(page.locator("#main h1").first).to_be_visible()
    await expect(page.locator("#main [role=status]:has-text('Loading')")).to_have_count(0)


async def log_in(page: Page, person: Person) -> None:
    """Logs in by the form."""
    await page.goto("/log-in")
    await page.get_by_label("E-mail").fill(person.email)
    await page.get_by_label("Password", exact=True).fill(person.password)
    await page.locator("#main").get_by_role("button", name="Log in", exact=True).click()
    await expect(page.get_by_role("link", name="Write", exact=True)).to_be_visible()
    await expect(page).not_to_have_url(re.compile("/log-in"))  # it goes on from there by itself


async def accessible(page: Page) -> None:
    """Fails where axe finds a serious or critical violation, in light or in dark."""
    serious = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        serious += [f"{scheme}: {one}" for one in await _violations(page)]
    await page.emulate_media(color_scheme="null")
    assert not serious, f"{page.url}\n" + "\n".join(serious)


#: Colours on their way from one scheme to the other are neither's; what turns for ever has no end to wait for.
_STILL = """Promise.allSettled(document.getAnimations()
  .filter((one) => Number.isFinite(one.effect?.getComputedTiming().endTime))
  .map((one) => one.finished)).then(() => true)"""


async def _violations(page: Page) -> list[str]:
    """What axe finds of the page as it is. It runs in a world of its own, which no policy binds."""
    session = await page.context.new_cdp_session(page)
    frame = (await session.send("Page.getFrameTree"))["frameTree"]["frame"]["id"]
    world = (await session.send("Page.createIsolatedWorld", {"frameId": frame}))["executionContextId"]
    await _run(session, world, _STILL)
    await _run(session, world, AXE.read_text() + "; true")
    found = await _run(
        session, world, "axe.run(document, {resultTypes: ['violations']}).then((r) => JSON.stringify(r.violations))"
    )
    serious = [
        f"{one['id']} ({one['impact']}): {one['help']}\n"
        + "\n".join(f"    {n['html']}\n    {n['failureSummary']}" for n in one["nodes"])
        for one in json.loads(found)
        if one["impact"] in SERIOUS
    ]
    await session.detach()
    return serious


async def _run(session: Any, world: int, expression: str) -> Any:
    answer = await session.send(
        "Runtime.evaluate",
        {"expression": expression, "contextId": world, "awaitPromise": True, "returnByValue": True},
    )
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    return answer["result"].get("value")
