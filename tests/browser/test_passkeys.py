"""Passkeys end to end: Chromium's own virtual authenticator, a page of the app's origin, the mesh behind its edge.

The mesh runs on this machine, whose addresses are no domains: passkeys belong to `localhost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, CDPSession, Page

from services.local.testing import LocalMesh
from tests.browser.cable import laid_cable
from tests.browser.people import PASSWORD, NewPerson, Person

pytestmark = pytest.mark.asyncio(loop_scope="session")

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
# Runs in the page, so that the browser itself says the origin.
CREATE = """async (options) => {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(options));
  return JSON.stringify((await navigator.credentials.create({publicKey})).toJSON());
}"""
GET = """async (options) => {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(options));
  try {
    return JSON.stringify((await navigator.credentials.get({publicKey})).toJSON());
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}"""
CALL = """async ([path, body, token]) => {
  const headers = {"content-type": "application/json", "x-csrf-protection": "1"};
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(path, {method: "POST", headers, body: JSON.stringify(body)});
  return [answer.status, await answer.json()];
}"""


@dataclass
class Browser:
    """A page at home on `localhost`, with an authenticator in it."""

    page: Page
    cdp: CDPSession
    authenticator: str

    async def call(self, path: str, body: object = None, token: str = "") -> Any:
        """One call that the page makes; its answer must be 200."""
        status, answer = await self.page.evaluate(CALL, [f"/api/v1/{path}", body or {}, token])
        assert status == 200, f"{path} answered {status}: {answer}"
        return answer

    async def refused(self, path: str, body: object, token: str = "") -> str:
        """The reason for which a call is refused."""
        status, answer = await self.page.evaluate(CALL, [f"/api/v1/{path}", body, token])
        assert status != 200, f"{path} was to be refused, but answered {answer}"
        [info] = [one for one in answer["details"] if one["@type"].endswith("ErrorInfo")]
        return str(info["reason"])

    async def register(self, person: Person) -> Any:
        """A passkey of the person's."""
        begun = await self.call("factors:beginPasskey", token=person.token)
        credential = await self.page.evaluate(CREATE, begun["options"])
        body = {"setupToken": begun["setupToken"], "credential": credential, "displayName": "This browser"}
        return await self.call("factors/passkeys", body, person.token)

    async def get(self, options: str) -> str:
        """The browser's answer, or the name of its error."""
        return str(await self.page.evaluate(GET, options))

    async def begin(self, token: str = "") -> tuple[str, str]:
        """Challenge token and the browser's answer to it."""
        begun = await self.call("factors:beginPasskeyProof", token=token)
        return begun["challengeToken"], await self.get(begun["options"])


@pytest_asyncio.fixture(loop_scope="session")
async def browser_at_home(context: BrowserContext, mesh: LocalMesh) -> AsyncIterator[Browser]:
    page = await context.new_page()
    await page.goto(mesh.url)
    cdp = await context.new_cdp_session(page)
    await cdp.send("WebAuthn.enable")
    made = await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    yield Browser(page, cdp, made["authenticatorId"])


async def test_a_passkey_is_registered_and_asked_for_at_the_log_in(
    browser_at_home: Browser, new_person: NewPerson
) -> None:
    person = await new_person("Ada")
    made = await browser_at_home.register(person)
    assert made["factor"]["kind"] == "FACTOR_KIND_PASSKEY"
    assert made["factor"]["displayName"] == "This browser"
    assert len(made["recoveryCodes"]) == 10

    answer = await browser_at_home.call("sessions", {"email": person.email, "password": PASSWORD})
    assert not answer.get("accessToken")
    challenge = answer["challenge"]
    assert "FACTOR_KIND_PASSKEY" in challenge["factors"]
    credential = await browser_at_home.get(challenge["passkeyOptions"])
    body = {"challengeToken": challenge["challengeToken"], "proof": {"passkey": credential}}
    session = await browser_at_home.call("sessions:complete", body)
    assert session["user"]["userId"] == person.user_id
    assert session["user"]["secondFactor"] is True
    assert await browser_at_home.refused("sessions:complete", body) == "LINK_INVALID"  # good once


async def test_a_passkey_alone_logs_the_app_in(browser_at_home: Browser, new_person: NewPerson) -> None:
    person = await new_person("Grace")
    await browser_at_home.register(person)
    challenge_token, credential = await browser_at_home.begin()
    body = {"challengeToken": challenge_token, "proof": {"passkey": credential}, "cookie": True}
    session = await browser_at_home.call("sessions:complete", body)
    assert not session.get("refreshToken")  # it is in the cookie, with which the app goes on
    refreshed = await browser_at_home.call("sessions:refresh")
    assert refreshed["user"]["userId"] == person.user_id


async def test_a_passkey_confirms_a_session(browser_at_home: Browser, new_person: NewPerson) -> None:
    person = await new_person("Mary")
    await browser_at_home.register(person)
    assert (
        await browser_at_home.refused("sessions/current:confirm", {"proof": {"password": PASSWORD}}, person.token)
        == "PROOF_WRONG"
    )  # right, and not enough any more
    challenge_token, credential = await browser_at_home.begin(person.token)
    body = {"challengeToken": challenge_token, "proof": {"passkey": credential}}
    session = await browser_at_home.call("sessions/current:confirm", body, person.token)
    assert session["accessToken"] != person.token
    assert await browser_at_home.refused("sessions:complete", body) == "LINK_INVALID"


async def test_a_copied_passkey_is_found_out(browser_at_home: Browser, new_person: NewPerson) -> None:
    person = await new_person("Joan")
    await browser_at_home.register(person)
    named = {"authenticatorId": browser_at_home.authenticator}
    [copy] = (await browser_at_home.cdp.send("WebAuthn.getCredentials", named))["credentials"]
    for _ in range(2):
        challenge_token, credential = await browser_at_home.begin()
        body = {"challengeToken": challenge_token, "proof": {"passkey": credential}}
        await browser_at_home.call("sessions:complete", body)
    await browser_at_home.cdp.send("WebAuthn.removeCredential", {**named, "credentialId": copy["credentialId"]})
    await browser_at_home.cdp.send("WebAuthn.addCredential", {**named, "credential": copy})
    challenge_token, credential = await browser_at_home.begin()
    body = {"challengeToken": challenge_token, "proof": {"passkey": credential}}
    assert await browser_at_home.refused("sessions:complete", body) == "PROOF_WRONG"


async def test_without_the_persons_finger_there_is_no_proof(browser_at_home: Browser, new_person: NewPerson) -> None:
    person = await new_person("Hedy")
    await browser_at_home.register(person)
    await browser_at_home.cdp.send(
        "WebAuthn.setUserVerified", {"authenticatorId": browser_at_home.authenticator, "isUserVerified": False}
    )
    _, said = await browser_at_home.begin()
    assert said.startswith("NotAllowedError")


async def test_no_other_origin_gets_a_proof(browser_at_home: Browser, mesh: LocalMesh, new_person: NewPerson) -> None:
    person = await new_person("Edith")
    await browser_at_home.register(person)
    begun = await asyncio.to_thread(mesh.call, "POST", "/api/v1/factors:beginPasskeyProof", {})
    async with laid_cable(mesh.edge_port) as cable:  # the same server, another origin
        await browser_at_home.page.goto(f"http://127.0.0.1:{cable.port}")
        assert (await browser_at_home.get(begun.body["options"])).startswith("SecurityError")
