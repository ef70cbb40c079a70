"""Who may not pass: forged and expired tokens, spoofed identities, revoked keys, and credentials made for less."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import grpc
import pytest
import pytest_asyncio

from services.local.testing import LocalMesh
from tests.mesh.client import Client, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of, fault_of_rpc
from tests.mesh.forgery import Forger
from tests.mesh.people import CLEAN, PASSWORD, Person

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

#: One way into each service, each of which checks callers by itself.
WAYS: list[tuple[str, str, object]] = [
    ("GET", "/api/v1/users/me", None),
    ("POST", "/api/v1/posts", {"title": "A title", "body": CLEAN}),
    ("GET", "/api/v1/posts", None),
    ("POST", "/api/v1/moderation:screen", {"text": CLEAN}),
    ("GET", "/api/v1/models", None),
]
NATIVE_WAYS = [
    "/promptmesh.auth.v1.AuthService/GetMe",
    "/promptmesh.prompts.v1.PostService/ListPosts",
    "/promptmesh.moderation.v1.ModerationService/ListCases",
    "/promptmesh.inference.v1.InferenceService/ListModels",
]
SPOOFED = {
    "x-promptmesh-user-id": "00000000-0000-7000-8000-000000000001",
    "x-promptmesh-subject": "admin",
    "x-promptmesh-roles": "ROLE_ADMIN",
    "X-Promptmesh-Service": "auth",
    "x_promptmesh_subject": "admin",
    "x-forwarded-user": "admin",
    "x-forwarded-for": "10.0.0.1",
    "x-real-ip": "10.0.0.1",
    "x-envoy-internal": "true",
    "x-jwt-payload": "e30",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def forger(mesh: LocalMesh, someone: Person) -> Forger:
    return Forger(mesh.data, someone.token)


async def test_what_is_signed_with_the_key_and_right_is_taken(client: Client, forger: Forger) -> None:
    for verb, path, body in WAYS:
        (await client.ask(verb, path, body, token=forger.good())).ok()


async def test_forged_and_expired_tokens_are_refused_by_every_service(client: Client, forger: Forger) -> None:
    for what, (token, reason) in forger.all().items():
        for verb, path, body in WAYS:
            answer = await client.ask(verb, path, body, token=token)
            fault = fault_of(answer)
            assert fault.brief == ("UNAUTHENTICATED", reason), f"{what} at {path}: {fault}"
            assert token not in str(answer.json)


async def test_forged_and_expired_tokens_are_refused_natively(channel: grpc.aio.Channel, forger: Forger) -> None:
    for what, (token, reason) in forger.all().items():
        for path in NATIVE_WAYS:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(b"", metadata=(("authorization", f"Bearer {token}"),))
            assert fault_of_rpc(caught.value).brief == ("UNAUTHENTICATED", reason), f"{what} at {path}"


async def test_forged_and_expired_tokens_open_no_stream(client: Client, forger: Forger) -> None:
    for token, reason in forger.all().values():
        for path in ("/api/v1/feed:watch", "/api/v1/posts/00000000-0000-7000-8000-000000000001:watch"):
            assert fault_of(await client.ask("GET", path, token=token)).reason == reason


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", "Basic YTpi", "bearer", "Token abc", "Bearer a b", "Bearer \u00e4", "Bearer pm_x"],
)
async def test_other_forms_of_credentials_are_refused(client: Client, value: str) -> None:
    for verb, path, body in WAYS:
        answer = await client.ask(verb, path, body, headers={"authorization": value})
        if value == "" and answer.status == 200:
            continue  # an empty header is none
        assert fault_of(answer).reason in ("CREDENTIAL_INVALID", "CREDENTIAL_MISSING"), path


async def test_two_credentials_are_refused(client: Client, someone: Person) -> None:
    answer = await client.ask("GET", "/api/v1/users/me", token=someone.token, headers={"x-api-key": "pm_x"})

    assert fault_of(answer).brief == ("UNAUTHENTICATED", "CREDENTIAL_INVALID")


async def test_no_credential_is_refused_where_one_is_needed(client: Client) -> None:
    for verb, path, body in WAYS:
        answer = await client.ask(verb, path, body)
        if path != "/api/v1/posts" or verb != "GET":
            assert fault_of(answer).brief == ("UNAUTHENTICATED", "CREDENTIAL_MISSING"), path


async def test_identity_headers_from_outside_mean_nothing(client: Client, someone: Person) -> None:
    for verb, path, body in WAYS:
        if path == "/api/v1/posts" and verb == "GET":
            continue
        assert fault_of(await client.ask(verb, path, body, headers=SPOOFED)).reason == "CREDENTIAL_MISSING"
    me = (await someone.ask("GET", "/api/v1/users/me", headers=SPOOFED)).ok()
    assert (me["userId"], me["roles"]) == (someone.user_id, ["ROLE_USER"])
    cases = await someone.ask("GET", "/api/v1/moderation/cases", headers=SPOOFED)
    assert fault_of(cases).reason == "ROLE_MISSING"


async def test_identity_headers_mean_nothing_natively(channel: grpc.aio.Channel) -> None:
    metadata = tuple((name.lower(), value) for name, value in SPOOFED.items())
    for path in NATIVE_WAYS:
        if path.endswith("ListPosts"):
            continue
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"", metadata=metadata)
        assert fault_of_rpc(caught.value).reason == "CREDENTIAL_MISSING"


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("POST", "/api/v1/users/00000000-0000-7000-8000-000000000001:setRoles", {"roles": ["ROLE_ADMIN"]}),
        ("GET", "/api/v1/moderation/cases", None),
        ("GET", "/api/v1/moderation/cases/00000000-0000-7000-8000-000000000001", None),
        (
            "POST",
            "/api/v1/moderation/cases/00000000-0000-7000-8000-000000000001:resolve",
            {"decision": "VERDICT_ALLOW"},
        ),
        ("GET", "/api/v1/moderation/policy", None),
        ("POST", "/api/v1/moderation/policy:apply", {"yaml": "# none", "validateOnly": True}),
        ("GET", "/api/v1/config", None),
        ("POST", "/api/v1/config:apply", {"yaml": "# none", "validateOnly": True}),
    ],
)
async def test_who_has_not_the_role_is_refused(someone: Person, verb: str, path: str, body: object) -> None:
    fault = fault_of(await someone.ask(verb, path, body))

    assert fault.brief == ("PERMISSION_DENIED", "ROLE_MISSING")
    assert fault.metadata["roles"]


async def test_an_api_key_is_no_session(someone: Person, client: Client) -> None:
    key = await someone.api_key()
    assert (await client.ask("GET", "/api/v1/users/me", token=key)).ok()["userId"] == someone.user_id
    for verb, path, body in (
        ("POST", "/api/v1/apiKeys", {"displayName": "more"}),
        ("GET", "/api/v1/apiKeys", None),
        ("DELETE", "/api/v1/sessions/current", None),
    ):
        assert fault_of(await client.ask(verb, path, body, token=key)).brief == (
            "PERMISSION_DENIED",
            "AUDIENCE_MISMATCH",
        )


@pytest.mark.parametrize(
    ("verb", "path", "body", "scope"),
    [
        ("POST", "/api/v1/posts", {"title": "A title", "body": CLEAN}, "posts:write"),
        ("GET", "/api/v1/posts", None, "posts:read"),
        ("GET", "/api/v1/models", None, "inference:invoke"),
        ("POST", "/api/v1/moderation:screen", {"text": CLEAN}, "moderation:screen"),
    ],
)
async def test_a_key_carries_its_scopes_and_no_more(
    someone: Person, client: Client, verb: str, path: str, body: object, scope: str
) -> None:
    scopes = ["posts:read", "posts:write", "inference:invoke", "moderation:screen"]
    right = await someone.api_key(scope)
    wrong = await someone.api_key(*[one for one in scopes if one != scope])

    (await client.ask(verb, path, body, token=right)).ok()
    fault = fault_of(await client.ask(verb, path, body, token=wrong))

    assert fault.brief == ("PERMISSION_DENIED", "SCOPE_MISSING")
    assert scope in fault.metadata["scopes"]


async def test_a_revoked_key_is_refused_by_every_service(new_person: NewPerson, client: Client) -> None:
    owner = await new_person()
    scopes = ["posts:read", "posts:write", "inference:invoke", "moderation:screen"]
    made = (await owner.ask("POST", "/api/v1/apiKeys", {"displayName": "short", "scopes": scopes})).ok()
    for verb, path, body in WAYS:
        (await client.ask(verb, path, body, token=made["secret"])).ok()

    for _ in range(2):
        revoked = (await owner.ask("DELETE", f"/api/v1/apiKeys/{made['apiKey']['apiKeyId']}")).ok()
        assert revoked["revokeTime"]

    async def refused_everywhere() -> bool:
        answers = [await client.ask(verb, path, body, token=made["secret"]) for verb, path, body in WAYS]
        return all(answer.status == 401 for answer in answers)

    await eventually("the key is refused everywhere", refused_everywhere)
    for verb, path, body in WAYS:
        assert fault_of(await client.ask(verb, path, body, token=made["secret"])).reason == "CREDENTIAL_REVOKED"


async def test_an_ended_session_is_refused_by_every_service(new_person: NewPerson, client: Client) -> None:
    person = await new_person()
    (await person.ask("DELETE", "/api/v1/sessions/current")).ok()

    async def refused_everywhere() -> bool:
        answers = [await person.ask(verb, path, body) for verb, path, body in WAYS]
        return all(answer.status == 401 for answer in answers)

    await eventually("the session is refused everywhere", refused_everywhere)
    for verb, path, body in WAYS:
        assert fault_of(await person.ask(verb, path, body)).reason == "CREDENTIAL_REVOKED"
    refreshed = await client.ask("POST", "/api/v1/sessions:refresh", {"refreshToken": person.refresh_token})
    assert fault_of(refreshed).reason == "CREDENTIAL_REVOKED"


async def test_a_refresh_token_is_good_once(new_person: NewPerson, client: Client, mesh: LocalMesh) -> None:
    person = await new_person()
    refresh = {"refreshToken": person.refresh_token}

    first = (await client.ask("POST", "/api/v1/sessions:refresh", refresh)).ok()
    await _refreshed_long_ago(mesh, first["sessionId"])
    again = await client.ask("POST", "/api/v1/sessions:refresh", refresh)
    after = await client.ask("POST", "/api/v1/sessions:refresh", {"refreshToken": first["refreshToken"]})

    assert fault_of(again).brief == ("UNAUTHENTICATED", "CREDENTIAL_REVOKED")
    assert fault_of(after).reason == "CREDENTIAL_REVOKED", "whoever stole it kept the session"


async def test_a_race_for_a_refresh_token_has_one_successor(new_person: NewPerson, client: Client) -> None:
    person = await new_person()
    refresh = {"refreshToken": person.refresh_token}

    answers = await asyncio.gather(*(client.ask("POST", "/api/v1/sessions:refresh", refresh) for _ in range(6)))

    assert len({answer.ok()["refreshToken"] for answer in answers}) == 1


async def _refreshed_long_ago(mesh: LocalMesh, session_id: str) -> None:
    """As if the window were over in which a refresh is answered again."""
    connection = await asyncpg.connect(await asyncio.to_thread(mesh.database_url))
    try:
        await connection.execute(
            "UPDATE auth.sessions SET rotate_time = rotate_time - interval '1 min' WHERE session_id = $1", session_id
        )
    finally:
        await connection.close()


async def test_a_failed_login_does_not_say_which_was_wrong(someone: Person, client: Client) -> None:
    def told(answer: Any) -> tuple[Any, ...]:
        fault = fault_of(answer)
        return fault.brief, fault.message, fault.fields, fault.metadata

    wrong = await client.ask("POST", "/api/v1/sessions", {"email": someone.email, "password": "not the password"})
    nobody = await client.ask("POST", "/api/v1/sessions", {"email": "nobody@example.com", "password": PASSWORD})

    assert told(wrong) == told(nobody)
    assert told(wrong)[0] == ("UNAUTHENTICATED", "LOGIN_FAILED")


async def test_an_email_is_registered_once_however_it_is_written(someone: Person, client: Client) -> None:
    body = {"email": someone.email.upper(), "password": PASSWORD, "displayName": "Twin"}

    assert fault_of(await client.ask("POST", "/api/v1/users", body)).brief == ("ALREADY_EXISTS", "EMAIL_TAKEN")


async def test_the_last_admin_stays_one(admin: Person) -> None:
    answer = await admin.ask("POST", f"/api/v1/users/{admin.user_id}:setRoles", {"roles": ["ROLE_USER"]})

    assert fault_of(answer).brief == ("FAILED_PRECONDITION", "LAST_ADMIN")
