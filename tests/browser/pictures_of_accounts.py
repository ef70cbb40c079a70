"""Pictures of accounts: getting in, second factors, teams, usage, the trail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from playwright.async_api import Page

from tests.browser.people import Person
from tests.browser.proofs import App
from tests.browser.tabs import log_in, settled
from tests.browser.wire import refuse

if TYPE_CHECKING:
    from tests.browser.screenshots import World

PERMISSION_DENIED = 7


async def _visit(page: Page, path: str) -> None:
    await page.goto(path)
    await settled(page)


async def _account(page: Page, world: World) -> Person:
    """Somebody with an app, on the account's page."""
    person = await asyncio.to_thread(Person.register, world.mesh, "Katherine Johnson", f"katherine-{id(page)}", ())
    await log_in(page, person)
    await _visit(page, "/account")
    return person


async def _app(page: Page, world: World) -> None:
    await _account(page, world)
    await page.get_by_role("button", name="Set up an app").click()
    await page.get_by_role("img", name="QR code").wait_for()


async def _codes(page: Page, world: World) -> None:
    await _app(page, world)
    app = App(await page.locator("[data-secret]").inner_text())
    await page.get_by_label("Code that the app shows").fill(await app.code())
    await page.get_by_role("button", name="Turn it on").click()
    await page.get_by_role("dialog", name="Store your recovery codes").wait_for()


async def _secured(page: Page, world: World) -> None:
    await _codes(page, world)
    await page.get_by_role("button", name="I have stored them").click()
    await page.get_by_role("list", name="Second factors").wait_for()
    await page.evaluate("scrollTo(0, 0)")


async def _second_step(page: Page, world: World) -> None:
    person = await _account(page, world)
    await page.get_by_role("button", name="Set up an app").click()
    app = App(await page.locator("[data-secret]").inner_text())
    await page.get_by_label("Code that the app shows").fill(await app.code())
    await page.get_by_role("button", name="Turn it on").click()
    await page.get_by_role("button", name="I have stored them").click()
    await page.context.clear_cookies()
    await _visit(page, "/log-in")
    await page.get_by_label("E-mail").fill(person.email)
    await page.get_by_label("Password", exact=True).fill(person.password)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="One more step").wait_for()


async def _passkey_log_in(page: Page, world: World) -> None:
    await _visit(page, f"http://localhost:{world.mesh.edge_port}/log-in")


async def _step_up(page: Page, world: World) -> None:
    await log_in(page, world.ada)
    await _visit(page, "/keys")
    await page.route(
        "**/CreateApiKey", lambda route: refuse(route, PERMISSION_DENIED, "STEP_UP_REQUIRED", "Confirm the session.")
    )
    await page.get_by_role("button", name="Make a key").click()
    await page.get_by_role("dialog").get_by_label("Name").fill("Notebook")
    await page.get_by_role("button", name="Make the key").click()
    await page.get_by_role("dialog", name="Confirm that it is you").get_by_label("Password", exact=True).wait_for()


async def _forgot(page: Page, world: World) -> None:
    await _visit(page, "/forgot-password")
    await page.get_by_label("E-mail").fill("ada@example.com")
    await page.get_by_role("button", name="Send the link").click()
    await page.get_by_role("heading", name="A link is on its way").wait_for()


async def _reset(page: Page, world: World) -> None:
    await _visit(page, "/reset-password#token=pml_example")


async def _usage(page: Page, world: World) -> None:
    await log_in(page, world.ada)
    await _visit(page, "/usage")


async def _suspend(page: Page, world: World) -> None:
    await log_in(page, world.admin)
    await _visit(page, "/admin/users")
    await page.get_by_role("button", name="More for Alan Turing").click()


async def _suspending(page: Page, world: World) -> None:
    await _suspend(page, world)
    await page.get_by_role("button", name="Suspend").click()


async def _audit(page: Page, world: World) -> None:
    await log_in(page, world.admin)
    await _visit(page, "/admin/audit")
    await page.get_by_role("list", name="Records").locator("summary").first.click()


async def _verify(page: Page, world: World) -> None:
    await _audit(page, world)
    await page.get_by_role("button", name="Verify").click()
    await page.get_by_role("dialog").get_by_role("button", name="Verify").click()
    await page.get_by_text("The chain holds").wait_for()


async def _rotate(page: Page, world: World) -> None:
    await log_in(page, world.ada)
    await _visit(page, "/keys")
    await page.get_by_role("button", name="Rotate Build server").first.click()


PAGES: dict[str, Callable[[Page, World], Awaitable[object]]] = {
    "account-secured": _secured,
    "account-app": _app,
    "account-codes": _codes,
    "log-in-second-step": _second_step,
    "log-in-passkey": _passkey_log_in,
    "step-up": _step_up,
    "forgot-password": _forgot,
    "reset-password": _reset,
    "usage": _usage,
    "users-menu": _suspend,
    "user-suspend": _suspending,
    "audit": _audit,
    "audit-verify": _verify,
    "key-rotate": _rotate,
}
