"""Pictures of what is seldom seen: acting for a team, links of mails, what is empty, what failed, what is refused."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from playwright.async_api import Page, Route

from tests.browser.people import Person
from tests.browser.proofs import link_in_mail
from tests.browser.tabs import log_in, settled
from tests.browser.wire import UNAUTHENTICATED, refuse

if TYPE_CHECKING:
    from tests.browser.screenshots import World

INTERNAL = 13
MEMBERS = (("Grace Hopper", "MEMBER_ROLE_ADMIN"), ("Mary Somerville", "MEMBER_ROLE_MEMBER"))
_teams: list[dict[str, Any]] = []


async def visit(page: Page, path: str, person: Person | None = None) -> None:
    if person is not None:
        await log_in(page, person)
    await page.goto(path)
    await settled(page)


async def somebody(world: World, name: str) -> Person:
    """Somebody of whom nothing is there yet."""
    return await asyncio.to_thread(Person.register, world.mesh, name, f"somebody-{uuid.uuid4().hex[:8]}", ())


async def a_team(world: World) -> dict[str, Any]:
    """A team of Ada's with members and a service account; made once."""
    if _teams:
        return _teams[0]
    made = await world.ada.call("POST", "/api/v1/organisations", {"displayName": "Analytical Engines"})
    path = f"/api/v1/organisations/{made['orgId']}"
    await world.ada.call("POST", f"{path}/serviceAccounts", {"displayName": "Nightly reports"})
    await _proved(world, world.ada)
    for name, role in MEMBERS:
        member = await somebody(world, name)
        await _proved(world, member)
        await world.ada.call("POST", f"{path}/invitations", {"email": member.email, "role": role})
        invitation = (await link_in_mail(world.mesh, member.email, "invitation")).split("token=")[1]
        await member.call("POST", "/api/v1/organisations:acceptInvitation", {"token": invitation})
    _teams.append(made)
    return dict(made)


async def _proved(world: World, person: Person) -> None:
    await person.call("POST", "/api/v1/users/me:sendVerification", {})
    proof = (await link_in_mail(world.mesh, person.email, "verify-email")).split("token=")[1]
    await person.call("POST", "/api/v1/users:verifyEmail", {"token": proof, "password": person.password})


async def _team(page: Page, world: World) -> None:
    await visit(page, f"/team?org={(await a_team(world))['orgId']}", world.ada)


async def _invite(page: Page, world: World) -> None:
    await _team(page, world)
    await page.get_by_role("button", name="Invite").click()


async def _delete(page: Page, world: World) -> None:
    await _team(page, world)
    await page.get_by_role("button", name="Delete the team").click()


async def _teams_menu(page: Page, world: World) -> None:
    await a_team(world)
    await visit(page, "/team", world.ada)
    await page.locator("header button[aria-label*='ccount of']:visible").click()
    await page.get_by_role("button", name="Act for yourself").wait_for()


def _acting(path: str) -> Callable[[Page, World], Awaitable[None]]:
    async def take(page: Page, world: World) -> None:
        await a_team(world)
        await visit(page, "/team", world.ada)
        await page.get_by_role("button", name=re.compile("Act for it.*Analytical Engines")).click()
        await page.get_by_role("link", name="You act for Analytical Engines").wait_for()
        await page.goto(path)
        await settled(page)
        await page.get_by_role("link", name="for Analytical Engines", exact=True).wait_for()

    return take


def _linked(path: str) -> Callable[[Page, World], Awaitable[None]]:
    async def take(page: Page, world: World) -> None:
        await visit(page, path)

    return take


async def _link_over(page: Page, world: World) -> None:
    await visit(page, f"/reset-password#token=pml_{'x' * 43}")
    await page.locator("input[name=newPassword]").fill("a long enough password that nobody has")
    await page.get_by_role("button", name="Set the password").click()
    await page.get_by_role("alert").wait_for()


async def _register_proof(page: Page, world: World) -> None:
    await visit(page, "/register")
    await page.route("**/CreateSession", lambda route: refuse(route, UNAUTHENTICATED, "LOGIN_FAILED", "It is wrong."))
    await page.get_by_label("Name").fill("Emmy Noether")
    await page.get_by_label("E-mail").fill(f"emmy-{uuid.uuid4().hex[:6]}@example.com")
    await page.get_by_label("Password", exact=True).fill("a long enough password")
    await page.locator("#main").get_by_role("button", name="Register").click()
    await page.get_by_role("heading", name="Look into your mail").wait_for()


async def _wrong_password(page: Page, world: World) -> None:
    await visit(page, "/log-in")
    await page.get_by_label("E-mail").fill("ada@example.com")
    await page.get_by_label("Password", exact=True).fill("not the password")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").wait_for()


def _empty(path: str) -> Callable[[Page, World], Awaitable[None]]:
    async def take(page: Page, world: World) -> None:
        await visit(page, path, await somebody(world, "Emmy Noether"))

    return take


async def _keys_failed(page: Page, world: World) -> None:
    async def fail(route: Route) -> None:
        await refuse(route, INTERNAL, "INTERNAL", "Something went wrong on our side.")

    await page.route("**/ListApiKeys", fail)
    await log_in(page, world.ada)
    await page.goto("/keys")
    await page.get_by_role("alert").wait_for()


async def _session_over(page: Page, world: World) -> None:
    await visit(page, "/keys", world.ada)
    await page.get_by_role("button", name="Make a key").click()
    await page.get_by_role("dialog").get_by_label("Name").fill("Notebook")
    await page.route("**/RefreshSession", lambda route: refuse(route, UNAUTHENTICATED, "SESSION_ENDED", "It is over."))
    await page.route("**/CreateApiKey", lambda route: refuse(route, UNAUTHENTICATED, "SESSION_ENDED", "It is over."))
    await page.get_by_role("button", name="Make the key").click()
    await page.get_by_role("dialog", name="Log in").wait_for()


async def _not_for_you(page: Page, world: World) -> None:
    await visit(page, "/admin/users", world.ada)


async def _nothing_found(page: Page, world: World) -> None:
    await visit(page, "/admin/audit?action=nothing.such", world.admin)


PAGES: dict[str, Callable[[Page, World], Awaitable[None]]] = {
    "team": _team,
    "team-invite": _invite,
    "team-delete": _delete,
    "teams-menu": _teams_menu,
    "acting-keys": _acting("/keys"),
    "acting-usage": _acting("/usage"),
    "acting-write": _acting("/write"),
    "acting-playground": _acting("/playground"),
    "link-verify": _linked("/verify-email#token=pml_example"),
    "link-confirm": _linked("/confirm-email#token=pml_example"),
    "link-invitation": _linked("/invitation#token=pml_example"),
    "link-missing": _linked("/verify-email"),
    "link-over": _link_over,
    "register-proof": _register_proof,
    "log-in-wrong": _wrong_password,
    "log-in-first": _linked("/keys"),
    "not-for-you": _not_for_you,
    "session-over": _session_over,
    "keys-empty": _empty("/keys"),
    "keys-failed": _keys_failed,
    "usage-empty": _empty("/usage"),
    "teams": _empty("/team"),
    "audit-empty": _nothing_found,
    "profile-missing": _linked("/people/01999999-0000-7000-8000-000000000000"),
}
