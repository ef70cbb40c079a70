"""Logging in by another provider: what the app does with answers of the mesh, which are made up here."""

from __future__ import annotations

import asyncio
import re

import pytest
from google.protobuf import json_format
from playwright.async_api import Page, Route, expect
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import federation_pb2 as pb

from services.local.testing import LocalMesh
from tests.browser.people import NewPerson, Person
from tests.browser.tabs import Tabs, accessible
from tests.browser.test_second_factors import age_sessions
from tests.browser.wire import answer, refuse

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAILED_PRECONDITION, UNAVAILABLE = 9, 14
PROVIDERS = pb.ListIdentityProvidersResponse(
    providers=[pb.IdentityProvider(provider="acme", display_name="<b>Acme</b>")]
)


async def made_up(page: Page, method: str, message: object) -> None:
    async def fulfil(route: Route) -> None:
        await answer(route, message)  # type: ignore[arg-type]

    await page.route(f"**/{method}", fulfil)


async def session_of(mesh: LocalMesh, person: Person) -> auth_pb2.Session:
    said = await asyncio.to_thread(
        mesh.call, "POST", "/api/v1/sessions", {"email": person.email, "password": person.password}
    )
    return json_format.ParseDict(said.body, auth_pb2.Session())


async def test_without_providers_there_are_no_buttons(tabs: Tabs) -> None:
    page = await tabs.open("/log-in")
    await expect(page.get_by_role("button", name="Log in", exact=True)).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("Log in with (?!a passkey)"))).to_have_count(0)
    await page.goto("/log-in/callback")
    await expect(page.get_by_role("heading", name="Nothing to finish here")).to_be_visible()
    await accessible(page)


async def test_one_is_sent_to_the_provider_and_comes_back_logged_in(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/")
    await made_up(page, "ListIdentityProviders", PROVIDERS)
    url = f"{mesh.url}/log-in/callback?state=s1&code=c1&iss=https%3A%2F%2Facme.example"
    await made_up(page, "BeginFederatedLogin", pb.BeginFederatedLoginResponse(authorization_url=url))
    session = await session_of(mesh, ada)
    await made_up(page, "CompleteFederatedLogin", pb.CompleteFederatedLoginResponse(session=session))
    await page.goto("/log-in?then=/write")
    await accessible(page)
    async with page.expect_request("**/CompleteFederatedLogin") as asked:
        await page.get_by_role("button", name="Log in with <b>Acme</b>").click()
    sent = pb.CompleteFederatedLoginRequest.FromString((await asked.value).post_data_buffer[5:])
    assert (sent.state, sent.code, sent.issuer, sent.cookie) == ("s1", "c1", "https://acme.example", True)
    await expect(page).to_have_url(re.compile(r"\d/write$"))
    await expect(page.get_by_role("link", name="Write", exact=True)).to_be_visible()


async def test_an_account_with_the_address_is_logged_in_to_first(tabs: Tabs, new_person: NewPerson) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/")
    await made_up(page, "CompleteFederatedLogin", pb.CompleteFederatedLoginResponse(link_token="pml_example"))
    await made_up(page, "LinkIdentity", pb.LinkedIdentity(provider="acme"))
    await page.goto("/log-in/callback?state=s1&code=c1")
    dialog = page.get_by_role("dialog", name="Log in")
    await expect(dialog).to_contain_text("An account has this address already.")
    await expect(page).to_have_url(re.compile("/log-in/callback$"))
    await accessible(page)
    await dialog.get_by_label("E-mail").fill(ada.email)
    await dialog.get_by_label("Password", exact=True).fill(ada.password)
    await dialog.get_by_role("button", name="Log in", exact=True).click()
    await expect(page.get_by_text("from now on you can log in with it too")).to_be_visible()


async def test_what_the_provider_refused_is_told_with_the_way_back(tabs: Tabs) -> None:
    page = await tabs.open("/")

    async def fail(route: Route) -> None:
        await refuse(route, FAILED_PRECONDITION, "IDENTITY_PROVIDER_FAILED", "Acme refused the log-in.")

    await page.route("**/CompleteFederatedLogin", fail)
    await page.goto("/log-in/callback?state=s1&error=access_denied")
    await expect(page.get_by_role("alert")).to_contain_text("Acme refused the log-in.")
    await accessible(page)
    await page.get_by_role("link", name="Back to the log-in").click()
    await expect(page.get_by_role("heading", name="Log in")).to_be_visible()


async def test_who_has_no_password_confirms_where_they_log_in(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/keys", person=ada)
    await made_up(page, "ListIdentityProviders", PROVIDERS)
    linked = pb.LinkedIdentity(identity_id="0198c3a5-0000-7000-8000-000000000000", provider="acme")
    await made_up(page, "ListIdentities", pb.ListIdentitiesResponse(identities=[linked]))
    back = f"{mesh.url}/log-in/callback?state=s1&code=c1"
    await made_up(page, "BeginFederatedLogin", pb.BeginFederatedLoginResponse(authorization_url=back))
    session = await session_of(mesh, ada)
    await made_up(page, "CompleteFederatedLogin", pb.CompleteFederatedLoginResponse(session=session))
    await age_sessions(mesh, ada)
    await page.reload()
    await page.get_by_role("button", name="Make a key").click()
    making = page.get_by_role("dialog", name="Make an API key")
    await making.get_by_label("Name").fill("Build server")
    await making.get_by_role("button", name="Make the key").click()

    asking = page.get_by_role("dialog", name="Confirm that it is you")
    await expect(asking).to_contain_text("If you never set a password")
    await accessible(page)
    await asking.get_by_role("button", name="Log in again with <b>Acme</b>").click()
    await expect(page).to_have_url(re.compile(r"\d/keys$"))


async def test_where_other_log_ins_cannot_be_told_a_password_confirms(
    tabs: Tabs, new_person: NewPerson, mesh: LocalMesh
) -> None:
    ada = await new_person("Ada")
    page = await tabs.open("/keys", person=ada)

    async def fail(route: Route) -> None:
        await refuse(route, UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", "The database is away.")

    await page.route("**/ListIdentities", fail)
    await age_sessions(mesh, ada)
    await page.reload()
    await page.get_by_role("button", name="Make a key").click()
    making = page.get_by_role("dialog", name="Make an API key")
    await making.get_by_label("Name").fill("Build server")
    await making.get_by_role("button", name="Make the key").click()

    asking = page.get_by_role("dialog", name="Confirm that it is you")
    await asking.get_by_label("Password", exact=True).fill(ada.password)
    await accessible(page)
    await asking.get_by_role("button", name="Confirm", exact=True).click()
    await expect(page.get_by_role("heading", name="Store the secret of “Build server” now")).to_be_visible()
