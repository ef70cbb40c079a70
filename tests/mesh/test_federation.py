"""A log-in elsewhere through the edge: button, the provider's own form, our page, a session in a cookie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
import pytest_asyncio

from services.local.testing import LocalMesh, local_mesh
from tests.mesh.client import Answer, Client, open_client
from tests.mesh.errors import fault_of
from tests.support.oidc_provider import SECRET, RealProvider, running_provider

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

BEGIN = "/api/v1/identityProviders/acme:begin"
COMPLETE = "/api/v1/identityProviders:complete"


@pytest.fixture(scope="module")
def provider() -> Iterator[RealProvider]:
    with running_provider() as running:
        yield running


@pytest.fixture(scope="module")
def mesh(provider: RealProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    file = provider.settings_file(tmp_path_factory.mktemp("oidc"))
    with local_mesh(environment={"PROMPTMESH_OIDC_FILE": str(file)}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(mesh: LocalMesh) -> AsyncIterator[Client]:
    async with open_client(mesh.url) as opened:
        yield opened


class Page:
    """A page of the web app, with the browser's cookies."""

    def __init__(self, client: Client) -> None:
        self.client, self.jar = client, dict[str, str]()

    async def ask(self, path: str, body: object, **headers: str) -> Answer:
        """A fetch of the page's, as a browser sends it."""
        sent = {"sec-fetch-site": "same-origin", "origin": self.client.url, **headers}
        if self.jar:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        answer = await self.client.ask("POST", path, body, headers=sent)
        said: Any = answer.headers
        for one in said.getall("set-cookie", []):
            for name, morsel in SimpleCookie(one).items():
                assert morsel["httponly"]
                assert morsel["samesite"] == "Strict"
                self.jar[name] = morsel.value
        self.jar = {name: value for name, value in self.jar.items() if value}
        return answer


def body_of(query: dict[str, str]) -> dict[str, object]:
    return {"state": query["state"], "code": query["code"], "issuer": query["iss"], "cookie": True}


async def test_from_the_button_to_a_session_in_a_cookie(
    client: Client, provider: RealProvider, mesh: LocalMesh
) -> None:
    listed = (await client.ask("GET", "/api/v1/identityProviders")).ok()
    assert listed == {"providers": [{"provider": "acme", "displayName": "Acme"}]}
    page = Page(client)
    begun = (await page.ask(BEGIN, {})).ok()
    assert list(page.jar) == ["__Host-promptmesh-oidc"]
    query = await provider.log_in(begun["authorizationUrl"], "edge")
    session = (await page.ask(COMPLETE, body_of(query))).ok()["session"]
    assert session["user"]["email"] == "edge@people.example"
    assert session["refreshToken"] == ""
    assert list(page.jar) == ["__Host-promptmesh"]
    refreshed = (await page.ask("/api/v1/sessions:refresh", {}, **{"x-csrf-protection": "1"})).ok()
    identities = (await client.ask("GET", "/api/v1/identities", token=refreshed["accessToken"])).ok()["identities"]
    assert [one["email"] for one in identities] == ["edge@people.example"]
    said = "".join(mesh.log(process) for process in mesh.processes())
    for secret in (query["code"], query["state"], SECRET, session["accessToken"], page.jar["__Host-promptmesh"]):
        assert secret not in said


async def test_another_browser_and_another_site_finish_nothing(client: Client, provider: RealProvider) -> None:
    page = Page(client)
    query = await provider.log_in((await page.ask(BEGIN, {})).ok()["authorizationUrl"], "edge")
    other = Page(client)
    await other.ask(BEGIN, {})
    assert fault_of(await other.ask(COMPLETE, body_of(query))).reason == "LINK_INVALID"
    evil = {"origin": "https://evil.example"}
    assert fault_of(await page.ask(COMPLETE, body_of(query), **evil)).reason == "CSRF_REFUSED"
    assert fault_of(await page.ask(BEGIN, {}, **{"sec-fetch-site": "cross-site"})).reason == "CSRF_REFUSED"
    assert (await page.ask(COMPLETE, body_of(query))).ok()["session"]["accessToken"]


async def test_a_provider_and_a_state_that_there_are_not(client: Client) -> None:
    answer = await Page(client).ask("/api/v1/identityProviders/other:begin", {})
    assert (answer.status, fault_of(answer).reason) == (404, "IDENTITY_PROVIDER_NOT_FOUND")
    answer = await Page(client).ask(COMPLETE, {"state": "x", "code": "y"})
    assert (answer.status, fault_of(answer).reason) == (400, "LINK_INVALID")
