"""Attacks on accounts through the edge: spoofed headers, guessing of passwords and of who is here, other sites' pages,
and links in mails that lead elsewhere. The mesh is one for the public: addresses are proved, a proxy stands before it.

Forged tokens are in test_attacks_tokens.py, other tenants' ids and mass assignment in test_tenants.py.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import grpc
import pytest
import pytest_asyncio
from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1.auth_pb2_grpc import AuthServiceStub

from services.local.data_folder import DataFolder
from services.local.mail_files import CaughtMail, read_mails
from services.local.testing import LocalMesh, local_mesh
from tests.mesh.client import Answer, Client, eventually, open_client
from tests.mesh.conftest import EDGE_WIDE_OPEN
from tests.mesh.errors import fault_of, fault_of_rpc
from tests.mesh.people import PASSWORD, Person
from tests.mesh.test_browser import PROTECTED, at_home, cookie, cookie_of
from tests.mesh.test_factors import set_up

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

ANOTHER, GUESS = "four words of another kind", "a guess of very many"
PER_PLACE, BY_STRANGERS = 4, 9
PUBLIC = {
    "PROMPTMESH_EMAIL_VERIFICATION": "required",
    "PROMPTMESH_LOGINS_PER_ACCOUNT_AND_ADDRESS_MAX": str(PER_PLACE),
    "PROMPTMESH_LOGINS_PER_ACCOUNT_BY_STRANGERS_MAX": str(BY_STRANGERS),
    "PROMPTMESH_PASSWORD_MEMORY_KIB": "64",
    "PROMPTMESH_PASSWORD_PASSES": "1",
}
HOME, AWAY = "198.51.100.7", "198.51.100.200"
#: What tells of a caller's address in some meshes, and in ours only if the edge wrote it.
ADDRESS_HEADERS = (
    "x-envoy-external-address",
    "x_envoy_external_address",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-promptmesh-address",
)
#: What a call is not made of, however it is claimed.
SPOOFED = {
    "x-promptmesh-org-id": "00000000-0000-7000-8000-000000000001",
    "x-promptmesh-plan": "unlimited",
    "x-promptmesh-scopes": "*",
    "x-promptmesh-auth-time": "9999999999",
    "x-promptmesh-roles": "ROLE_ADMIN",
    "x-promptmesh-service": "auth",
    "x_promptmesh_service": "auth",
    "x-forwarded-client-cert": "By=spiffe://mesh/auth;URI=spiffe://mesh/ns/promptmesh/sa/auth",
    "x-ssl-client-verify": "SUCCESS",
    "x-remote-user": "admin",
    "grpc-status": "0",
    "grpc-message": "all is well",
    "grpc-status-details-bin": "AAAA",
    "grpc-previous-rpc-attempts": "1",
    "grpc-trace-bin": "AAAA",
}
_numbers = itertools.count(1)


def at(place: str, *, spoofed: str = "") -> dict[str, str]:
    """The proxy's word for where a call comes from, behind what the caller itself put there."""
    return {"x-forwarded-for": f"{spoofed}, {place}" if spoofed else place}


class World:
    """The mesh, who asks it, and what it mails."""

    def __init__(self, mesh: LocalMesh, client: Client) -> None:
        self.mesh, self.client = mesh, client

    async def person(self, place: str = HOME, *, proved: bool = True) -> str:
        """A new account's address; its owner's place is known where it was proved there."""
        email = f"one-{next(_numbers):05}@example.com"
        body = {"email": email, "password": PASSWORD, "displayName": "Ada"}
        (await self.client.ask("POST", "/api/v1/users", body, headers=at(place))).ok()
        token = await self.token(email, "Confirm your email")
        if proved:
            body = {"token": token, "password": PASSWORD}
            (await self.client.ask("POST", "/api/v1/users:verifyEmail", body, headers=at(place))).ok()
        return email

    async def log_in(
        self, email: str, password: str = PASSWORD, headers: Mapping[str, str] | None = None, **more: object
    ) -> Answer:
        """One try."""
        body = {"email": email, "password": password, **more}
        return await self.client.ask("POST", "/api/v1/sessions", body, headers=headers)

    async def session(self, email: str, place: str = HOME) -> Person:
        """Logged in."""
        said = (await self.log_in(email, headers=at(place))).ok()
        return Person(self.client, said["user"]["userId"], email, said["accessToken"], said["refreshToken"])

    def mails(self, address: str) -> list[CaughtMail]:
        """What came, the oldest first."""
        return [one for one in read_mails(DataFolder(self.mesh.data).mail) if one.recipient == address]

    async def mail(self, address: str, subject: str) -> CaughtMail:
        """The last with a text in its subject, as soon as there is one."""

        async def there() -> CaughtMail | None:
            return next((one for one in reversed(self.mails(address)) if subject in one.subject), None)

        mail: CaughtMail = await eventually(f"a mail to {address}: {subject}", there)
        return mail

    async def token(self, address: str, subject: str) -> str:
        """What the link in it carries."""
        found = re.search(r"#token=(\S+)", (await self.mail(address, subject)).body)
        assert found is not None
        return found[1]


@pytest.fixture(scope="module")
def public_mesh() -> Iterator[LocalMesh]:
    with local_mesh(edge={**EDGE_WIDE_OPEN, "trusted_hops": 1}, environment=PUBLIC) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(public_mesh: LocalMesh) -> AsyncIterator[World]:
    async with open_client(public_mesh.url) as opened:
        yield World(public_mesh, opened)


# Guessing passwords


async def test_a_guesser_is_stopped_and_the_owner_still_gets_in(world: World) -> None:
    email = await world.person()
    for stranger in range(3):
        place = at(f"203.0.113.{stranger}")
        reasons = [fault_of(await world.log_in(email, GUESS, place)).reason for _ in range(PER_PLACE + 1)]
        left = max(0, min(PER_PLACE, BY_STRANGERS - stranger * PER_PLACE))
        assert reasons == ["LOGIN_FAILED"] * left + ["RATE_LIMITED"] * (PER_PLACE + 1 - left)
    # All that strangers have is used up: from a new place even the right password comes to nothing ...
    refused = await world.log_in(email, headers=at(AWAY))
    assert (refused.status, fault_of(refused).reason) == (429, "RATE_LIMITED")
    assert int(refused.headers["retry-after"]) > 0
    # ... but from where the owner is known to be, it counts for nobody else ...
    (await world.log_in(email, headers=at(HOME))).ok()
    # ... and by the mailbox they come in from anywhere.
    (await world.client.ask("POST", "/api/v1/users:requestPasswordReset", {"email": email}, headers=at(AWAY))).ok()
    body = {"token": await world.token(email, "new password"), "newPassword": ANOTHER}
    (await world.client.ask("POST", "/api/v1/users:resetPassword", body, headers=at(AWAY))).ok()
    (await world.log_in(email, ANOTHER, at(AWAY))).ok()


async def test_guesses_at_once_are_no_more_guesses(world: World) -> None:
    email = await world.person()
    answers = await asyncio.gather(*(world.log_in(email, GUESS, at("203.0.113.50")) for _ in range(30)))
    reasons = [fault_of(one).reason for one in answers]
    assert set(reasons) == {"LOGIN_FAILED", "RATE_LIMITED"}
    assert reasons.count("LOGIN_FAILED") <= PER_PLACE


async def test_no_header_makes_a_guesser_somebody_else(world: World) -> None:
    """Each try claims to come from elsewhere, in every header at once: it is the address that the proxy saw."""
    email = await world.person()
    reasons = []
    for number in range(PER_PLACE + 2):
        claimed = f"192.0.2.{number}"
        headers = dict.fromkeys(ADDRESS_HEADERS, claimed) | at("203.0.113.60", spoofed=f"{claimed}, {HOME}")
        headers["forwarded"] = f"for={claimed}"
        reasons.append(fault_of(await world.log_in(email, GUESS, headers)).reason)
    assert reasons == ["LOGIN_FAILED"] * PER_PLACE + ["RATE_LIMITED"] * 2
    # Nor does it make one the owner, whose place is known.
    claims = dict.fromkeys(ADDRESS_HEADERS, HOME) | at("203.0.113.60", spoofed=HOME)
    assert fault_of(await world.log_in(email, headers=claims)).reason == "RATE_LIMITED"


async def test_a_session_says_where_it_was_opened_whatever_was_claimed(world: World) -> None:
    email = await world.person()
    headers = dict.fromkeys(ADDRESS_HEADERS, "192.0.2.1") | at("203.0.113.70", spoofed="192.0.2.1")
    token = (await world.log_in(email, headers=headers)).ok()["accessToken"]
    listed = (await world.client.ask("GET", "/api/v1/sessions", token=token)).ok()["sessions"]
    told = [str(one) for one in listed]
    assert any("203.0.113.0/24" in one for one in told), told
    assert not any("192.0.2." in one for one in told), told


# Claims in headers


async def test_claimed_identities_and_statuses_change_no_answer(world: World, public_mesh: LocalMesh) -> None:
    me = await world.session(await world.person())
    for verb, path, body in (
        ("GET", "/api/v1/users/me", None),
        ("GET", "/api/v1/users", None),  # for administrators
        ("GET", "/api/v1/posts/none", None),
        ("GET", "/api/v1/models", None),
    ):
        plain = await me.ask(verb, path, body)
        claimed = await me.ask(verb, path, body, headers=SPOOFED)
        assert _told(claimed) == _told(plain), path
        nobody = await world.client.ask(verb, path, body, headers=SPOOFED)
        assert _told(nobody) == _told(await world.client.ask(verb, path, body)), path
    assert "ROLE_ADMIN" not in str((await me.ask("GET", "/api/v1/users/me", headers=SPOOFED)).json)


async def test_what_services_ask_each_other_is_closed_to_whoever_claims_to_be_one(public_mesh: LocalMesh) -> None:
    claims = tuple((name, value) for name, value in SPOOFED.items() if not name.startswith("grpc-"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{public_mesh.edge_port}") as channel:
        stub: Any = AuthServiceStub(channel)
        watch = stub.WatchIdentities(auth_pb2.WatchIdentitiesRequest(), metadata=claims, timeout=20.0)
        resolve = stub.ResolveApiKey(auth_pb2.ResolveApiKeyRequest(digest=b"0" * 32), metadata=claims, timeout=20.0)
        for call in (watch.read(), resolve):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert fault_of_rpc(caught.value).reason in ("METHOD_UNKNOWN", "CREDENTIAL_MISSING")


# Who has an account


async def test_no_answer_tells_who_has_an_account(world: World) -> None:
    known, unproved = await world.person(), await world.person(proved=False)
    client = world.client

    async def told(path: str, body: Mapping[str, Any], email: str) -> tuple[Any, ...]:
        place = f"203.0.{next(_numbers) % 200}.80"  # each from a place of its own: no count is used up
        return _told(await client.ask("POST", path, {**body, "email": email}, headers=at(place)), email)

    for path, body in (
        ("/api/v1/users", {"password": ANOTHER, "displayName": "Eve"}),
        ("/api/v1/users", {"password": "password123", "displayName": "Eve"}),
        ("/api/v1/users", {"password": ANOTHER, "displayName": ""}),
        ("/api/v1/sessions", {"password": GUESS}),
        ("/api/v1/sessions", {"password": GUESS, "cookie": True}),
        ("/api/v1/users:requestPasswordReset", {}),
    ):
        answers = [await told(path, body, email) for email in (f"new-{next(_numbers):05}@example.com", known, unproved)]
        assert answers[0] == answers[1] == answers[2], (path, body)
    # An unproved account is none, even to who has its password.
    nobody = f"new-{next(_numbers):05}@example.com"
    answers = [await told("/api/v1/sessions", {"password": PASSWORD}, email) for email in (nobody, unproved)]
    assert answers[0] == answers[1]
    # Who owns the address was told, by mail alone.
    await world.mail(known, "have an account already")


async def test_counts_of_tries_do_not_tell_it_either(world: World) -> None:
    known, nobody = await world.person(), f"new-{next(_numbers):05}@example.com"
    seen = []
    for email, place in ((known, "203.0.113.91"), (nobody, "203.0.113.92")):
        answers = [await world.log_in(email, GUESS, at(place)) for _ in range(PER_PLACE + 2)]
        seen.append([(one.status, fault_of(one).reason, fault_of(one).message) for one in answers])
    assert seen[0] == seen[1]


async def test_a_link_that_is_wrong_says_nothing_of_an_account(world: World) -> None:
    email = await world.person(proved=False)
    token = await world.token(email, "Confirm your email")
    verify = "/api/v1/users:verifyEmail"
    (await world.client.ask("POST", verify, {"token": token, "password": PASSWORD}, headers=at(HOME))).ok()
    other = ("A" if token[0] != "A" else "B") + token[1:]
    for password in (PASSWORD, GUESS):
        used = await world.client.ask("POST", verify, {"token": token, "password": password}, headers=at(HOME))
        made_up = await world.client.ask("POST", verify, {"token": other, "password": password}, headers=at(HOME))
        assert fault_of(used).reason == "LINK_INVALID"
        assert _told(used) == _told(made_up)


# Pages of other sites


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "null"},
        {
            "origin": "https://evil.example",
            "x-promptmesh-authority": "evil.example",
            "x-forwarded-host": "evil.example",
        },
        {"sec-fetch-site": "none"},
    ],
    ids=["nothing", "cross-site", "no origin", "claimed host", "typed address"],
)
async def test_no_other_site_logs_one_in(world: World, headers: dict[str, str]) -> None:
    """Logging somebody in to the attacker's account is an attack too."""
    email = await world.person()
    refused = await world.log_in(email, headers={**headers, **at(HOME)}, cookie=True)
    assert fault_of(refused).brief == ("PERMISSION_DENIED", "CSRF_REFUSED")
    assert "set-cookie" not in refused.headers


async def test_the_cookie_opens_nothing_but_its_refresh(world: World) -> None:
    email = await world.person()
    home = PROTECTED | at_home(world.client)
    token = cookie_of(await world.log_in(email, headers={**home, **at(HOME)}, cookie=True))
    for verb, path, body in (
        ("GET", "/api/v1/users/me", None),
        ("GET", "/api/v1/users/me:export", None),
        ("POST", "/api/v1/apiKeys", {"displayName": "mine"}),
        ("POST", "/api/v1/users/me:changePassword", {"currentPassword": PASSWORD, "newPassword": ANOTHER}),
        ("DELETE", "/api/v1/sessions/current", None),
        ("DELETE", "/api/v1/users/me", None),
        ("POST", "/api/v1/posts", {"title": "A title", "body": "A body."}),
    ):
        answer = await world.client.ask(verb, path, body, headers={**cookie(token), **home})
        assert fault_of(answer).brief == ("UNAUTHENTICATED", "CREDENTIAL_MISSING"), path
        assert "set-cookie" not in answer.headers, path
    # What a form can send is refused for its missing header, whatever type it names.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        answer = await world.client.ask(
            "POST", "/api/v1/sessions:refresh", data=b"{}", headers={**cookie(token), "content-type": kind}
        )
        assert answer.status in (400, 403, 415), kind
        assert "set-cookie" not in answer.headers
    refreshed = await world.client.ask("POST", "/api/v1/sessions:refresh", {}, headers={**cookie(token), **home})
    assert refreshed.ok()["user"]["email"] == email


# Links in mails


async def test_a_reset_does_not_go_past_the_second_factor(world: World) -> None:
    """Who has the mailbox alone has a new password, and is asked for the code all the same."""
    email = await world.person()
    await set_up(await world.session(email))
    (await world.client.ask("POST", "/api/v1/users:requestPasswordReset", {"email": email}, headers=at(AWAY))).ok()
    body = {"token": await world.token(email, "new password"), "newPassword": ANOTHER}
    (await world.client.ask("POST", "/api/v1/users:resetPassword", body, headers=at(AWAY))).ok()
    said = (await world.log_in(email, ANOTHER, at(AWAY))).ok()
    assert said["challenge"]["challengeToken"]
    assert not said["accessToken"]
    assert not said["refreshToken"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:443", "x-forwarded-proto": "https"},
        {"x-forwarded-host": "evil.example", "x-forwarded-prefix": "/evil"},
        {"forwarded": "host=evil.example;proto=https"},
        {"x-original-host": "evil.example", "x-promptmesh-authority": "evil.example", "origin": "https://evil.example"},
        {"referer": "https://evil.example/", "x-original-url": "https://evil.example/"},
    ],
    ids=lambda headers: ",".join(headers),
)
async def test_links_lead_to_the_public_address_alone(world: World, headers: dict[str, str]) -> None:
    email = f"link-{next(_numbers):05}@example.com"
    body = {"email": email, "password": PASSWORD, "displayName": "Ada"}
    place = f"203.0.113.{100 + next(_numbers) % 100}"
    (await world.client.ask("POST", "/api/v1/users", body, headers={**headers, **at(place)})).ok()
    token = await world.token(email, "Confirm your email")
    body = {"token": token, "password": PASSWORD}
    (await world.client.ask("POST", "/api/v1/users:verifyEmail", body, headers={**headers, **at(place)})).ok()
    body = {"email": email}
    (await world.client.ask("POST", "/api/v1/users:requestPasswordReset", body, headers={**headers, **at(place)})).ok()
    await world.mail(email, "new password")
    for mail in world.mails(email):
        assert "evil" not in mail.body, mail.subject
        links = re.findall(r"https?://\S+", mail.body)
        assert links
        assert all(link.startswith(f"{world.mesh.url}/") for link in links), links


def _told(answer: Answer, email: str = "") -> tuple[Any, ...]:
    """All that an answer says but the moment and the id of the request, and the address that was sent."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    request_id, _ = headers.pop("x-request-id"), headers.pop("date", None)
    body = answer.body.replace(request_id.encode(), b"ID")
    return answer.status, headers, body.replace(email.encode(), b"EMAIL") if email else body
