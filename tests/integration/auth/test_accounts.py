"""Register, GetMe, and what a caller is told of a wrong request."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2 as pb

from tests.integration.auth.world import PASSWORD, Client, reason_of, refusal_of


async def test_a_person_registers_and_logs_in(client: Client, rows: asyncpg.Connection) -> None:
    user = await client.register("Ada.Lovelace@Example.TEST")
    assert user.email == "ada.lovelace@example.test"
    assert list(user.roles) == [Role.ROLE_USER]
    session = await client.log_in("ADA.lovelace@example.test")
    assert session.user == user
    assert await client.bearing(session.access_token)("GetMe", pb.GetMeRequest()) == user
    assert await rows.fetchval("SELECT display_name FROM organisations WHERE org_id = $1", user.org_id) == "Ada"
    stored = await rows.fetchval("SELECT password_hash FROM users WHERE user_id = $1", user.user_id)
    assert stored.startswith("$argon2id$")
    events = await rows.fetch("SELECT type FROM outbox WHERE aggregate_id = $1", user.user_id)
    assert [row["type"] for row in events] == ["promptmesh.auth.v1.UserRegistered"]


async def test_an_email_is_registered_once_without_regard_to_case(client: Client, rows: asyncpg.Connection) -> None:
    await client.register("once@example.test")
    before = await rows.fetchval("SELECT count(*) FROM organisations")
    assert await reason_of(client.register("ONCE@example.test")) == "EMAIL_TAKEN"
    assert await rows.fetchval("SELECT count(*) FROM organisations") == before


async def test_of_many_at_once_one_gets_the_email(client: Client) -> None:
    results = await asyncio.gather(*(client.register("race@example.test") for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, pb.User) for one in results) == 1
    assert {one.reason for one in results if not isinstance(one, pb.User)} == {"EMAIL_TAKEN"}


@pytest.mark.parametrize(
    ("field", "value", "good"),
    [
        ("email", "a@b.co", True),
        ("email", "a" * 64 + "@" + "b" * 60 + "." + "c" * 60 + "." + "d" * 60 + ".test", True),
        ("email", "a@" + ".".join(["b" * 63] * 3) + "." + "c" * 61, False),
        ("email", "", False),
        ("email", "no-at.example", False),
        ("email", "two@at@example.test", False),
        ("email", "nul\0@example.test", False),
        ("password", "k7 qZ-mR2x", True),
        ("password", "012345678", False),
        ("password", "né là ôù" * 32, True),
        ("password", "né là ôù" * 32 + "é", False),
        ("password", "\0" * 10, False),
        ("display_name", "A", True),
        ("display_name", "𝄞" * 64, True),
        ("display_name", "x" * 65, False),
        ("display_name", "", False),
        ("display_name", "   ", False),
        ("display_name", "two\nlines", False),
        ("display_name", "nul\0", False),
        ("display_name", "\u200b\u200d", False),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_limits_of_registering(client: Client, field: str, value: str, good: bool) -> None:
    request = pb.RegisterRequest(email=f"limit-{abs(hash((field, value)))}@example.test", password=PASSWORD)
    request.display_name = "Limit"
    setattr(request, field, value)
    if good:
        user = await client("Register", request)
        if field == "password":
            assert (await client.log_in(user.email, value)).user == user
        return
    refused = await refusal_of(client("Register", request))
    assert refused.reason == "INVALID_FIELD"
    assert {one.field for one in refused.violations} == {field}
    assert PASSWORD not in refused.message


async def test_all_that_is_wrong_is_named_at_once(client: Client) -> None:
    refused = await refusal_of(client("Register", pb.RegisterRequest(email="x", password="short")))
    assert {one.field for one in refused.violations} == {"email", "password", "display_name"}


async def test_a_password_is_the_same_however_it_was_composed(client: Client) -> None:
    user = await client.register(password="caf\u00e9 au lait")
    assert (await client.log_in(user.email, "cafe\u0301 au lait")).user == user


@pytest.mark.parametrize("credential", ["", "x", "pm_x", "a.b.c"])
async def test_who_calls_has_to_be_known(client: Client, credential: str) -> None:
    expected = "CREDENTIAL_INVALID" if credential else "CREDENTIAL_MISSING"
    assert await reason_of(client.bearing(credential)("GetMe", pb.GetMeRequest())) == expected


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ResolveApiKey", pb.ResolveApiKeyRequest(digest=bytes(32))),
        ("SetRoles", pb.SetRolesRequest(user_id="0190b5d0-0000-7000-8000-000000000000")),
    ],
)
async def test_what_people_may_not_do(client: Client, method: str, request_: object) -> None:
    _, person = await client.somebody()
    assert await reason_of(person(method, request_)) in {"AUDIENCE_MISMATCH", "ROLE_MISSING"}
    assert await reason_of(client(method, request_)) == "CREDENTIAL_MISSING"
